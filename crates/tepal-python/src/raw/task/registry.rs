//! What asyncio knows of our tasks: which one runs, and which there are.
//!
//! **Which runs.** asyncio keeps the current task of each loop (in the thread's state from 3.14 on, in a dict before). To tell it at each
//! step's beginning and end would cost as much as the step. So the driver tells it when another task runs than the one it told last,
//! and, before anything that is no task's step, that none does ([`Current`]).
//!
//! **Which there are.** `asyncio.all_tasks()` reads lists of asyncio's. From 3.14 on they cost little and external tools walk them in the
//! process's memory, so our tasks are entered like any. Before, a list is a WeakSet, in which a task costs four times what all else of
//! it does: there our loops' tasks are shown to whoever iterates that set (`python/tepal/_tasks.py`), and stand in no list.

use super::{Kept, TaskRef, published};
use crate::event_loop::Loop;
use crate::raw::Object;
use crate::raw::future::FutureRef;
use crate::scope::CancelScope;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{PyResult, Python};
use std::cell::Cell;
use std::ptr::null_mut;

/// Where asyncio keeps the functions that are asked here.
const ASYNCIO: &str = "_asyncio";

/// Puts a task among those that are pending.
///
/// # Errors
///
/// What asyncio's register raises.
#[inline]
pub(super) fn keep(task: TaskRef<'_, '_>) -> PyResult<()> {
    let py = task.py();
    let native = task.future.with(|state| state.native);
    let kept = if native {
        let event_loop = task.future.event_loop()?;
        // SAFETY: noted with the loop.
        let event_loop = unsafe { event_loop.cast_unchecked::<Loop>() };
        Kept::ByLoop(event_loop.get().keep(py, task.object().clone().unbind()))
    } else {
        Kept::ByAsyncio
    };
    task.with(|state| state.kept = kept);
    if native {
        return register(task);
    }
    register_by_asyncio(task)
}

/// Puts a task of a loop of ours into asyncio's list, where it has one for such.
///
/// # Errors
///
/// As [`keep`].
#[inline]
pub(super) fn register(task: TaskRef<'_, '_>) -> PyResult<()> {
    if cfg!(Py_3_14) {
        register_by_asyncio(task)
    } else {
        Ok(())
    }
}

fn register_by_asyncio(task: TaskRef<'_, '_>) -> PyResult<()> {
    static REGISTER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    REGISTER
        .import(task.py(), ASYNCIO, "_register_task")?
        .call1((task.object(),))
        .map(drop)
}

/// Takes a task that is done, or goes, from among those that are pending.
///
/// # Errors
///
/// What asyncio's register raises.
#[inline]
pub(super) fn forget(task: TaskRef<'_, '_>) -> PyResult<()> {
    let py = task.py();
    let (kept, member, scope) = task.with(|state| {
        let kept = std::mem::replace(&mut state.kept, Kept::Nowhere);
        (kept, state.scoped.member.take(), state.scoped.scope.take())
    });
    match kept {
        Kept::Nowhere => return Ok(()),
        Kept::ByLoop(key) => {
            let event_loop = task.future.event_loop()?;
            // SAFETY: only tasks of our loops are kept by their loops.
            let event_loop = unsafe { event_loop.cast_unchecked::<Loop>() };
            let held = event_loop.get().release(py, key, member);
            drop(held.map(|held| held.into_bound(py)));
            if let Some(scope) = scope {
                CancelScope::abandon_all(scope.bind(py), task.object());
            }
            if !cfg!(Py_3_14) {
                return Ok(());
            }
        }
        Kept::ByAsyncio => {}
    }
    static UNREGISTER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    UNREGISTER
        .import(py, ASYNCIO, "_unregister_task")?
        .call1((task.object(),))?;
    Ok(())
}

/// Makes a task (or none) the loop's current one, and says which was.
///
/// # Errors
///
/// RuntimeError when the loop does not run in this thread.
#[cfg(Py_3_14)]
pub(super) fn swap<'py>(
    event_loop: &Bound<'py, PyAny>,
    task: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    static SWAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = event_loop.py();
    let before = SWAP
        .import(py, ASYNCIO, "_swap_current_task")?
        .call1((event_loop, task))?;
    Ok(Some(before).filter(|before| !before.is_none()))
}

/// As above, with the dict that is behind asyncio's functions up to 3.13.
#[cfg(not(Py_3_14))]
pub(super) fn swap<'py>(
    event_loop: &Bound<'py, PyAny>,
    task: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let before = current_tasks(event_loop.py())?.get_item(event_loop)?;
    if task.is_some() || before.is_some() {
        tell(event_loop, task)?;
    }
    Ok(before)
}

/// Makes a task (or none, when one was) the loop's current one.
///
/// # Errors
///
/// As [`swap`].
#[inline]
fn tell(event_loop: &Bound<'_, PyAny>, task: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    #[cfg(Py_3_14)]
    return swap(event_loop, task).map(drop);
    #[cfg(not(Py_3_14))]
    match task {
        Some(task) => current_tasks(event_loop.py())?.set_item(event_loop, task),
        // (Asked first: a program that plays with asyncio's private functions may have taken it out.)
        None if current_tasks(event_loop.py())?.contains(event_loop)? => {
            current_tasks(event_loop.py())?.del_item(event_loop)
        }
        None => Ok(()),
    }
}

#[cfg(not(Py_3_14))]
#[inline]
fn current_tasks(py: Python<'_>) -> PyResult<&Bound<'_, pyo3::types::PyDict>> {
    static CURRENT: PyOnceLock<Py<pyo3::types::PyDict>> = PyOnceLock::new();
    CURRENT.import(py, ASYNCIO, "_current_tasks")
}

/// Enters a task by asyncio's own rule, which refuses while another runs.
///
/// # Errors
///
/// RuntimeError then.
pub(super) fn enter(task: TaskRef<'_, '_>) -> PyResult<()> {
    static ENTER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = task.future.event_loop()?;
    ENTER
        .import(task.py(), ASYNCIO, "_enter_task")?
        .call1((event_loop, task.object()))
        .map(drop)
}

/// Undoes [`enter`].
///
/// # Errors
///
/// RuntimeError when another task is current.
pub(super) fn leave(task: TaskRef<'_, '_>) -> PyResult<()> {
    static LEAVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = task.future.event_loop()?;
    LEAVE
        .import(task.py(), ASYNCIO, "_leave_task")?
        .call1((event_loop, task.object()))
        .map(drop)
}

/// Notes on a future which task awaits it, for the call graph and for external tools (3.14 and newer).
///
/// # Errors
///
/// What asyncio's function raises.
#[inline]
pub(crate) fn note_wait(awaited: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> PyResult<()> {
    if !cfg!(Py_3_14) {
        return Ok(());
    }
    if FutureRef::exact(awaited).is_some() {
        // SAFETY: just looked at.
        return unsafe { published::note_wait(awaited, task) };
    }
    add_to_awaited_by(awaited, task)
}

/// Undoes [`note_wait`].
///
/// # Errors
///
/// As that.
#[inline]
pub(crate) fn note_end_of_wait(
    awaited: &Bound<'_, PyAny>,
    task: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if !cfg!(Py_3_14) {
        return Ok(());
    }
    if FutureRef::exact(awaited).is_some() {
        // SAFETY: just looked at.
        return unsafe { published::note_end_of_wait(awaited, task) };
    }
    discard_from_awaited_by(awaited, task)
}

/// asyncio's own way to note it.
///
/// # Errors
///
/// What asyncio's function raises.
#[cold]
pub(super) fn add_to_awaited_by(
    awaited: &Bound<'_, PyAny>,
    task: &Bound<'_, PyAny>,
) -> PyResult<()> {
    static ADD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ADD.import(task.py(), ASYNCIO, "future_add_to_awaited_by")?
        .call1((awaited, task))?;
    Ok(())
}

/// Undoes [`add_to_awaited_by`].
///
/// # Errors
///
/// As that.
#[cold]
pub(super) fn discard_from_awaited_by(
    awaited: &Bound<'_, PyAny>,
    task: &Bound<'_, PyAny>,
) -> PyResult<()> {
    static DISCARD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    DISCARD
        .import(task.py(), ASYNCIO, "future_discard_from_awaited_by")?
        .call1((awaited, task))?;
    Ok(())
}

thread_local! {
    /// The task of ours that runs in this thread, borrowed from whoever steps it; null when none does.
    static RUNNING: Cell<Object> = const { Cell::new(null_mut()) };
}

/// The task that runs in this thread, of whatever kind.
///
/// # Errors
///
/// RuntimeError when no loop runs.
#[inline]
pub(crate) fn current(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let running = RUNNING.get();
    if !running.is_null() {
        // SAFETY: whoever steps it holds it, and says so when it does not any more.
        return Ok(Some(unsafe { Bound::from_borrowed_ptr(py, running) }));
    }
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = CURRENT
        .import(py, "asyncio.tasks", "current_task")?
        .call0()?;
    Ok(Some(found).filter(|found| !found.is_none()))
}

/// A task of ours is stepped in this thread, until this is dropped.
pub(super) struct Stepping {
    outer: Object,
}

impl Stepping {
    #[inline]
    pub(super) fn enter(task: &Bound<'_, PyAny>) -> Self {
        Self {
            outer: RUNNING.replace(task.as_ptr()),
        }
    }
}

impl Drop for Stepping {
    #[inline]
    fn drop(&mut self) {
        RUNNING.set(self.outer);
    }
}

/// What the driver told asyncio last: the task that runs, or that none does.
///
/// The pointer is borrowed from asyncio, which holds its current task, so it can be compared but is never followed.
pub(crate) struct Current {
    task: Object,
}

impl Current {
    pub(crate) const fn none() -> Self {
        Self { task: null_mut() }
    }

    /// Makes `task` the current one.
    ///
    /// # Errors
    ///
    /// As [`swap`].
    #[inline]
    pub(crate) fn set(
        &mut self,
        event_loop: &Bound<'_, Loop>,
        task: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.task != task.as_ptr() {
            tell(event_loop.as_any(), Some(task))?;
            self.task = task.as_ptr();
        }
        Ok(())
    }

    /// Says that no task runs.
    ///
    /// # Errors
    ///
    /// As [`swap`].
    #[inline]
    pub(crate) fn clear(&mut self, event_loop: &Bound<'_, Loop>) -> PyResult<()> {
        if self.task.is_null() {
            return Ok(());
        }
        self.task = null_mut();
        tell(event_loop.as_any(), None)
    }
}
