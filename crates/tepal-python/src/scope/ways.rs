//! The functions that make a cancel scope, and those that ask for the running task's.

use super::cancel_scope::{CancelScope, Options, checked};
use crate::event_loop;
use crate::raw::task::{self, Seat};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

const NEVER: f64 = f64::INFINITY;

/// Seconds from now on; `None` for no limit.
fn seconds(seconds: Option<f64>) -> PyResult<f64> {
    let seconds = checked("timeout", seconds.unwrap_or(NEVER))?;
    if seconds < 0.0 {
        return Err(PyValueError::new_err("timeout must be non-negative"));
    }
    Ok(seconds)
}

/// A cancel scope that ends a block after a time.
///
/// `with tepal.move_on_after(seconds) as scope:` cancels the block when the time is over, and goes on behind it; `scope.cancelled_caught`
/// says whether it did. Entering and leaving the block are no checkpoints.
///
/// Args:
///     seconds: From when the block is entered; None for no limit.
///     shield: What cancels the scopes around it does not reach the block.
///
/// Raises:
///     ValueError: The time is negative, or NaN.
#[pyfunction]
#[pyo3(signature = (seconds, *, shield = false))]
fn move_on_after(seconds: Option<f64>, shield: bool) -> PyResult<CancelScope> {
    Ok(CancelScope::from(&Options {
        relative: self::seconds(seconds)?,
        shielded: shield,
        ..Options::plain()
    }))
}

/// As `move_on_after`, with a time on the clock of `loop.time()`.
///
/// Args:
///     deadline: Seconds on that clock.
///     shield: What cancels the scopes around it does not reach the block.
///
/// Raises:
///     ValueError: The time is NaN.
#[pyfunction]
#[pyo3(signature = (deadline, *, shield = false))]
fn move_on_at(deadline: f64, shield: bool) -> PyResult<CancelScope> {
    Ok(CancelScope::from(&Options {
        deadline: checked("deadline", deadline)?,
        shielded: shield,
        ..Options::plain()
    }))
}

/// A cancel scope that ends a block after a time, with an error.
///
/// As `move_on_after`; but a block that was left because the time was over raises TimeoutError.
///
/// Args:
///     seconds: From when the block is entered; None for no limit.
///     shield: What cancels the scopes around it does not reach the block.
///
/// Raises:
///     ValueError: The time is negative, or NaN.
///     TimeoutError: At the end of the block, when the time was over.
#[pyfunction]
#[pyo3(signature = (seconds, *, shield = false))]
fn fail_after(seconds: Option<f64>, shield: bool) -> PyResult<CancelScope> {
    Ok(CancelScope::from(&Options {
        relative: self::seconds(seconds)?,
        shielded: shield,
        fails: true,
        ..Options::plain()
    }))
}

/// As `fail_after`, with a time on the clock of `loop.time()`.
///
/// Args:
///     deadline: Seconds on that clock.
///     shield: What cancels the scopes around it does not reach the block.
///
/// Raises:
///     ValueError: The time is NaN.
///     TimeoutError: At the end of the block, when the time was over.
#[pyfunction]
#[pyo3(signature = (deadline, *, shield = false))]
fn fail_at(deadline: f64, shield: bool) -> PyResult<CancelScope> {
    Ok(CancelScope::from(&Options {
        deadline: checked("deadline", deadline)?,
        shielded: shield,
        fails: true,
        ..Options::plain()
    }))
}

/// The innermost cancel scope that the running task is in.
///
/// Returns:
///     The scope, a nursery's for a task of one; None in no scope.
///
/// Raises:
///     RuntimeError: No loop of tepal's runs in this thread.
///
/// Not a checkpoint.
#[pyfunction]
fn current_scope(py: Python<'_>) -> PyResult<Option<Py<CancelScope>>> {
    let event_loop = event_loop::running(py)?;
    let Some(task) = task::current(py)? else {
        return Ok(None);
    };
    let seat = Seat::of(&event_loop, &task);
    Ok(seat.with(|scoped| scoped.scope.as_ref().map(|scope| scope.clone_ref(py))))
}

/// When the running task will be cancelled by a scope that it is in, if nobody cancels one before.
///
/// Returns:
///     Seconds on the clock of `loop.time()`; infinity for never, minus infinity when it is cancelled.
///
/// Raises:
///     RuntimeError: No loop of tepal's runs in this thread.
///
/// Not a checkpoint.
#[pyfunction]
fn current_effective_deadline(py: Python<'_>) -> PyResult<f64> {
    let event_loop = event_loop::running(py)?;
    let Some(task) = task::current(py)? else {
        return Ok(NEVER);
    };
    let member = Seat::of(&event_loop, &task).with(|scoped| scoped.member);
    Ok(event_loop.get().with(py, |state| {
        member.map_or(NEVER, |member| {
            let scope = state.scopes.scope_of(member);
            state.scopes.effective_deadline(scope)
        })
    }))
}

/// Puts the functions into the module.
///
/// # Errors
///
/// MemoryError.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(move_on_after, module)?)?;
    module.add_function(wrap_pyfunction!(move_on_at, module)?)?;
    module.add_function(wrap_pyfunction!(fail_after, module)?)?;
    module.add_function(wrap_pyfunction!(fail_at, module)?)?;
    module.add_function(wrap_pyfunction!(current_scope, module)?)?;
    module.add_function(wrap_pyfunction!(current_effective_deadline, module)?)
}
