//! Context variables: the context that the loop has entered.
//!
//! Entering and leaving a context costs about as much as a small callback, and successive jobs of one task share
//! one. So the loop leaves lazily: only when the next job runs in another context, and always before it waits,
//! stops or raises.

use super::{Object, fetch};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::{PyErr, PyResult, Python, ffi};
use std::ptr::null_mut;

/// The context that a running loop has entered, or none. Left when dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    context: Object,
}

impl Entered {
    pub(crate) const fn none() -> Self {
        Self {
            context: null_mut(),
        }
    }

    /// Makes `context` (borrowed) the current one.
    ///
    /// # Errors
    ///
    /// RuntimeError when somebody else has entered it.
    ///
    /// # Safety
    ///
    /// `context` points to a live `contextvars.Context`.
    #[inline]
    pub(crate) unsafe fn enter(&mut self, py: Python<'_>, context: Object) -> PyResult<()> {
        if self.context == context {
            return Ok(());
        }
        self.leave(py)?;
        // SAFETY: rule 1, and the caller's promise; the field takes a reference of its own.
        unsafe {
            if ffi::PyContext_Enter(context) < 0 {
                return Err(fetch(py));
            }
            ffi::Py_INCREF(context);
        }
        self.context = context;
        Ok(())
    }

    /// Goes back to the context in which the loop was started.
    ///
    /// # Errors
    ///
    /// RuntimeError when a callback left a context entered: its bug, and nothing that we can mend.
    #[inline]
    pub(crate) fn leave(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.context.is_null() {
            return Ok(());
        }
        let context = std::mem::replace(&mut self.context, null_mut());
        // SAFETY: rule 1; the field's reference keeps the context alive until it is given up here.
        let left = unsafe {
            let left = ffi::PyContext_Exit(context);
            ffi::Py_DECREF(context);
            left
        };
        if left < 0 {
            Err(PyErr::fetch(py))
        } else {
            Ok(())
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.context.is_null() {
            super::attached(|py| {
                if let Err(error) = self.leave(py) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

/// Acts with `context` entered.
///
/// # Errors
///
/// RuntimeError when it is entered already, and what `act` raises.
pub(crate) fn inside<T>(
    context: &Bound<'_, PyAny>,
    act: impl FnOnce() -> PyResult<T>,
) -> PyResult<T> {
    let py = context.py();
    let mut entered = Entered::none();
    check(context)?;
    // SAFETY: just checked, and alive through the call.
    unsafe { entered.enter(py, context.as_ptr())? };
    let outcome = act();
    let left = entered.leave(py);
    outcome.and_then(|value| left.map(|()| value))
}

/// A copy of the current context (strong).
///
/// # Errors
///
/// MemoryError.
#[inline]
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Object> {
    // SAFETY: rule 1.
    let context = unsafe { ffi::PyContext_CopyCurrent() };
    if context.is_null() {
        Err(fetch(py))
    } else {
        Ok(context)
    }
}

/// The context that was given, or a copy of the current one.
///
/// # Errors
///
/// TypeError for what is not a `contextvars.Context`.
pub(crate) fn given_or_current<'py>(
    py: Python<'py>,
    given: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(given) = given else {
        // SAFETY: `copy_current` gives a strong reference.
        return Ok(unsafe { Bound::from_owned_ptr(py, copy_current(py)?) });
    };
    check(&given)?;
    Ok(given)
}

/// TypeError unless `context` is a `contextvars.Context`.
///
/// # Errors
///
/// That.
#[inline]
pub(crate) fn check(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: rule 1.
    if unsafe { ffi::PyContext_CheckExact(context.as_ptr()) } != 0 {
        return Ok(());
    }
    let kind = context.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "context must be a contextvars.Context, not '{kind}'"
    )))
}
