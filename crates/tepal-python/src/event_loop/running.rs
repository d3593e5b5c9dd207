//! Which loop of ours runs in this thread: asked at each wait, so it must cost next to nothing.

use super::{Loop, from_raw};
use crate::raw::Object;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::Cell;
use std::ptr::null_mut;

thread_local! {
    /// Borrowed from the driver that runs, which holds its loop; null when none does.
    static RUNNING: Cell<Object> = const { Cell::new(null_mut()) };
}

/// A run of a loop in this thread, until it is dropped.
pub(super) struct Running {
    outer: Object,
}

impl Running {
    pub(super) fn enter(event_loop: &Bound<'_, Loop>) -> Self {
        Self {
            outer: RUNNING.replace(event_loop.as_ptr()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(self.outer);
    }
}

/// The loop of ours that runs in this thread.
///
/// # Errors
///
/// RuntimeError when none does, which says whether another kind of loop does.
#[inline]
pub(crate) fn running(py: Python<'_>) -> PyResult<Bound<'_, Loop>> {
    running_opt(py).ok_or_else(|| not_running(py))
}

/// The loop of ours that runs in this thread, if one does.
#[inline]
pub(crate) fn running_opt(py: Python<'_>) -> Option<Bound<'_, Loop>> {
    let running = RUNNING.get();
    if running.is_null() {
        return None;
    }
    // SAFETY: the driver holds it as long as it is there.
    Some(unsafe { from_raw(py, &running) }.clone())
}

#[cold]
fn not_running(py: Python<'_>) -> PyErr {
    let foreign = py
        .import("asyncio")
        .and_then(|asyncio| asyncio.call_method0("_get_running_loop"));
    match foreign {
        Ok(foreign) if foreign.is_none() => PyRuntimeError::new_err("no running event loop"),
        Ok(foreign) => PyRuntimeError::new_err(format!(
            "tepal's primitives wait on tepal's event loops only, and {} runs here: run the program by tepal.run(), or \
             use asyncio's own",
            foreign
        )),
        Err(error) => error,
    }
}
