//! Tasks that are asyncio's own, in cancel scopes.
//!
//! Nothing of ours runs when such a task parks. So one whose scope is cancelled is looked at in every turn that has jobs, until it has left
//! the scope: it cannot have parked without a job having run. While the loop sleeps nobody looks (`Turn::schedule_looker`).

use crate::event_loop::{Job, Loop};
use crate::raw::task::{self, Scoped};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use std::collections::HashMap;

/// The places among the scopes of a loop's strangers, by their addresses: the loop keeps them as long as they stand here.
#[derive(Default)]
pub(crate) struct Strangers(HashMap<usize, Stranger>);

struct Stranger {
    scoped: Scoped,
    /// Under which the loop keeps the task.
    key: usize,
    /// Requests for its cancellation that were ours, and are taken back when it has heard of them.
    owed: u32,
    /// It stands in the queue to be looked at.
    watched: bool,
}

impl Strangers {
    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut scopes = self.0.values().map(|stranger| &stranger.scoped.scope);
        scopes.try_for_each(|scope| visit.call(scope))
    }
}

fn address(task: &Bound<'_, PyAny>) -> usize {
    task.as_ptr() as usize
}

/// Borrows a stranger's place; one that is in no scope has none that would last.
pub(crate) fn with<R>(
    event_loop: &Bound<'_, Loop>,
    task: &Bound<'_, PyAny>,
    act: impl FnOnce(&mut Scoped) -> R,
) -> R {
    event_loop.get().with(event_loop.py(), |state| {
        match state.strangers.0.get_mut(&address(task)) {
            Some(stranger) => act(&mut stranger.scoped),
            None => act(&mut Scoped::none()),
        }
    })
}

/// Keeps a stranger, which is about to be in a scope; under which key.
pub(crate) fn keep(event_loop: &Bound<'_, Loop>, task: &Bound<'_, PyAny>) -> usize {
    let py = event_loop.py();
    let this = event_loop.get();
    let known = this.with(py, |state| {
        let known = state.strangers.0.get(&address(task));
        known.map(|stranger| stranger.key)
    });
    if let Some(key) = known {
        return key;
    }
    let key = this.keep(py, task.clone().unbind());
    let stranger = Stranger {
        scoped: Scoped::none(),
        key,
        owed: 0,
        watched: false,
    };
    this.with(py, |state| {
        state.strangers.0.insert(address(task), stranger)
    });
    key
}

/// A stranger is in no scope any more.
pub(crate) fn forget(event_loop: &Bound<'_, Loop>, task: &Bound<'_, PyAny>) {
    let py = event_loop.py();
    let this = event_loop.get();
    let gone = this.with(py, |state| state.strangers.0.remove(&address(task)));
    let Some(gone) = gone else { return };
    let kept = this.release(py, gone.key, gone.scoped.member);
    // It may have been cancelled a moment ago for a scope that it has left: the count is its own again.
    for _ in 0..gone.owed {
        if let Err(error) = task::withdraw(task) {
            error.write_unraisable(py, Some(task));
        }
    }
    drop((kept, gone.scoped.scope));
}

/// A stranger's scope was cancelled, or is not any more.
///
/// # Errors
///
/// As [`look`].
pub(crate) fn tell(
    event_loop: &Bound<'_, Loop>,
    task: &Bound<'_, PyAny>,
    cancelled: bool,
) -> PyResult<()> {
    with(event_loop, task, |scoped| scoped.set_cancelled(cancelled));
    if cancelled {
        break_off(event_loop, task)?;
        watch(event_loop, task);
    }
    Ok(())
}

/// Does a stranger's job: it is told again if it has parked again.
///
/// # Errors
///
/// What its attributes raise.
pub(crate) fn look(event_loop: &Bound<'_, Loop>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    let stands = event_loop.get().with(py, |state| {
        let stranger = state.strangers.0.get_mut(&address(task))?;
        stranger.watched = false;
        Some((
            stranger.scoped.cancelled,
            std::mem::take(&mut stranger.owed),
        ))
    });
    let Some((cancelled, owed)) = stands else {
        return Ok(());
    };
    for _ in 0..owed {
        task::withdraw(task)?;
    }
    if task.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
        forget(event_loop, task);
        return Ok(());
    }
    if cancelled {
        break_off(event_loop, task)?;
        watch(event_loop, task);
    }
    Ok(())
}

fn watch(event_loop: &Bound<'_, Loop>, task: &Bound<'_, PyAny>) {
    let job = Job::Look(task.clone().unbind());
    let twice = event_loop.get().with(event_loop.py(), |state| {
        match state.strangers.0.get_mut(&address(task)) {
            Some(stranger) if !stranger.watched => {
                stranger.watched = true;
                state.turn.schedule_looker(job);
                None
            }
            _ => Some(job),
        }
    });
    drop(twice);
}

/// Breaks off what it waits for.
fn break_off(event_loop: &Bound<'_, Loop>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    if with(event_loop, task, |scoped| scoped.deaf) {
        return Ok(());
    }
    if task::current(py)?.is_some_and(|current| current.is(task)) {
        return Ok(());
    }
    let waiter = task.getattr_opt(pyo3::intern!(py, "_fut_waiter"))?;
    if let Some(waiter) = waiter.filter(|waiter| !waiter.is_none()) {
        task::cancel_awaited(&waiter, None)?;
        return Ok(());
    }
    // It is about to be stepped: from a bare yield, which an ordinary request breaks off, or for the first time, which nothing does.
    let coro = task.call_method0(pyo3::intern!(py, "get_coro"))?;
    let awaits = coro.getattr_opt(pyo3::intern!(py, "cr_await"))?;
    if awaits.is_none_or(|awaits| awaits.is_none()) {
        return Ok(());
    }
    task::request_cancel(task)?;
    event_loop.get().with(py, |state| {
        if let Some(stranger) = state.strangers.0.get_mut(&address(task)) {
            stranger.owed += 1;
        }
    });
    Ok(())
}
