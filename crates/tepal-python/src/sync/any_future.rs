//! Futures of any kind, as those see them who look after several: ours without a call, others by asyncio's protocol.

use crate::event_loop::Loop;
use crate::raw::create_task::spawn;
use crate::raw::future::{FutureRef, Status};
use crate::raw::task;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// How a future has ended.
pub(crate) enum End<'py> {
    Returned(Bound<'py, PyAny>),
    Raised(Bound<'py, PyAny>),
    Cancelled,
}

/// How a future has ended, which it has. An exception counts as seen.
///
/// # Errors
///
/// What a foreign future raises when it is asked; InvalidStateError when it has not ended.
pub(crate) fn end<'py>(future: &Bound<'py, PyAny>) -> PyResult<End<'py>> {
    let py = future.py();
    if let Some(future) = FutureRef::exact(future) {
        return Ok(match future.status() {
            Status::Cancelled => End::Cancelled,
            Status::Raised => End::Raised(future.exception()?),
            Status::Returned | Status::Pending => End::Returned(future.result()?),
        });
    }
    if future
        .call_method0(pyo3::intern!(py, "cancelled"))?
        .is_truthy()?
    {
        return Ok(End::Cancelled);
    }
    let exception = future.call_method0(pyo3::intern!(py, "exception"))?;
    if exception.is_none() {
        return Ok(End::Returned(
            future.call_method0(pyo3::intern!(py, "result"))?,
        ));
    }
    Ok(End::Raised(exception))
}

/// Looks at how a future has ended, so that its exception counts as seen.
///
/// # Errors
///
/// As [`end`].
pub(crate) fn look(future: &Bound<'_, PyAny>) -> PyResult<()> {
    end(future).map(drop)
}

/// Whether it has ended.
///
/// # Errors
///
/// What a foreign `done` raises.
pub(crate) fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match FutureRef::exact(future) {
        Some(future) => Ok(future.status() != Status::Pending),
        None => future
            .call_method0(pyo3::intern!(future.py(), "done"))?
            .is_truthy(),
    }
}

/// The CancelledError of a cancelled future.
///
/// # Errors
///
/// What making it raises.
pub(crate) fn cancelled_error<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match FutureRef::exact(future) {
        Some(future) => future.make_cancelled_error(),
        None => future.call_method0(pyo3::intern!(future.py(), "_make_cancelled_error")),
    }
}

/// Whether asyncio takes this for a future (`asyncio.isfuture`).
///
/// # Errors
///
/// What a foreign attribute raises.
#[inline]
pub(crate) fn is_future(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if FutureRef::exact(object).is_some() {
        return Ok(true);
    }
    let name = pyo3::intern!(object.py(), "_asyncio_future_blocking");
    if object.get_type().getattr_opt(name)?.is_none() {
        return Ok(false);
    }
    Ok(!object.getattr(name)?.is_none())
}

/// The loop of a future.
///
/// # Errors
///
/// What a foreign `get_loop` raises.
pub(crate) fn loop_of<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if let Some(future) = FutureRef::exact(future) {
        return future.event_loop();
    }
    match future.getattr_opt(pyo3::intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0(),
        None => future.getattr(pyo3::intern!(py, "_loop")),
    }
}

/// A future for something that can be awaited (`asyncio.ensure_future`): itself if it is one, else a task.
///
/// # Errors
///
/// TypeError for what cannot be awaited, ValueError for a future of another loop, and what `create_task` raises.
#[inline]
pub(crate) fn ensure<'py>(
    awaitable: &Bound<'py, PyAny>,
    event_loop: &Bound<'py, Loop>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = awaitable.py();
    // (Asked first: to find out that a coroutine is no future takes a search through its type.)
    if task::is_plain_coroutine(awaitable) {
        return begin(awaitable, event_loop);
    }
    if is_future(awaitable)? {
        if !loop_of(awaitable)?.is(event_loop) {
            return Err(PyValueError::new_err(
                "The future belongs to a different loop than the one specified as the loop argument",
            ));
        }
        return Ok(awaitable.clone());
    }
    if task::is_coroutine(awaitable)? {
        return begin(awaitable, event_loop);
    }
    static ENSURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let keywords = PyDict::new(py);
    keywords.set_item(pyo3::intern!(py, "loop"), event_loop)?;
    ENSURE
        .import(py, "asyncio.tasks", "ensure_future")?
        .call((awaitable,), Some(&keywords))
}

/// A task of a coroutine, which is closed if there can be none.
#[inline]
fn begin<'py>(
    coro: &Bound<'py, PyAny>,
    event_loop: &Bound<'py, Loop>,
) -> PyResult<Bound<'py, PyAny>> {
    let made = spawn(event_loop, coro);
    match made {
        Err(error) if error.is_instance_of::<PyRuntimeError>(coro.py()) => {
            coro.call_method0(pyo3::intern!(coro.py(), "close"))?;
            Err(error)
        }
        made => made,
    }
}
