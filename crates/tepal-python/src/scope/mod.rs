//! Cancel scopes: blocks of a task that can be cancelled as a whole, at any depth and again and again.
//!
//! Which scope is inside which, and whom a cancellation reaches, is the core's (`tepal_core::scope`). `cancel_scope.rs` is the class, which
//! enters the forest and leaves it, and decides at the end of the block whose cancellation it was; `ways.rs` has the functions that
//! make one; `strangers.rs` looks after tasks that are asyncio's own. How a task of ours hears of it is a task's affair
//! (`raw/task/scoped.rs`).

mod cancel_scope;
mod strangers;
mod ways;

pub(crate) use cancel_scope::{
    CancelScope, Collapse, Options, Source, cancelled_error, end, is_scopes,
};
pub(crate) use strangers::{
    Strangers, forget as forget_stranger, keep as keep_stranger, look as look_at_stranger,
    tell as tell_stranger, with as with_stranger,
};

use crate::event_loop::Loop;
use crate::raw::task::Seat;
use pyo3::prelude::*;
use tepal_core::scope::Change;

/// Tells tasks that their scopes are cancelled, or are not any more.
///
/// # Errors
///
/// The first of what cancelling something foreign raises; everybody is told all the same.
pub(crate) fn tell(event_loop: &Bound<'_, Loop>, changes: Vec<Change<usize>>) -> PyResult<()> {
    let py = event_loop.py();
    let mut outcome = Ok(());
    for (key, cancelled) in changes {
        let task = event_loop.get().with(py, |state| {
            let task = state.tasks.get(key);
            task.map(|task| task.clone_ref(py))
        });
        if let Some(task) = task {
            outcome = outcome.and(Seat::of(event_loop, task.bind(py)).tell(cancelled));
        }
    }
    outcome
}

/// Puts the classes and functions into the module.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CancelScope>()?;
    ways::register(module)
}
