//! How an iterator written in C ends with a value.
//!
//! The interpreter's `await` drives an iterator by `tp_iternext`, which ends by an exception: StopIteration with the value. Making that
//! exception costs more than all else in awaiting what is done (on 3.12 and newer, where an exception is always an object: 135 ns with
//! it, 57 without). So one is kept and used again, as long as nobody else has laid hands on it: it is ours alone (a count of one), and
//! nothing was hung on it. Its `args` stay empty; its `value`, by which the interpreter reads it, is right. (Python code that drives the
//! iterator by its `send` gets one of its own.)
//!
//! Only under a GIL: without one a count of one proves nothing.

use super::Object;
use pyo3::prelude::*;
use std::ptr::null_mut;

/// Ends an iterator: what `tp_iternext` returns.
#[inline]
pub(crate) fn stop_with(value: Bound<'_, PyAny>) -> Object {
    if value.is_none() {
        return null_mut(); // without an exception it means None
    }
    kept::raise(value);
    null_mut()
}

#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
mod kept {
    use crate::raw::Object;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

    /// A strong reference to a StopIteration, or null.
    static KEPT: AtomicPtr<ffi::PyStopIterationObject> = AtomicPtr::new(null_mut());

    #[inline]
    pub(super) fn raise(value: Bound<'_, PyAny>) {
        let kept = KEPT.load(Relaxed);
        // SAFETY: rule 1. With a count of one nobody else can see what `KEPT` holds.
        unsafe {
            if kept.is_null() || !is_free(kept) {
                return replace(value);
            }
            let old = std::mem::replace(&mut (*kept).value, value.into_ptr());
            ffi::PyErr_SetRaisedException(ffi::Py_NewRef(kept.cast()));
            ffi::Py_XDECREF(old);
        }
    }

    /// Lets go of the value that was handed over last: it is not ours to keep alive.
    #[inline]
    pub(crate) fn release() {
        let kept = KEPT.load(Relaxed);
        // SAFETY: as above.
        unsafe {
            if !kept.is_null() && !(*kept).value.is_null() && ffi::Py_REFCNT(kept.cast()) == 1 {
                let value: Object = std::mem::replace(&mut (*kept).value, null_mut());
                ffi::Py_DECREF(value);
            }
        }
    }

    /// # Safety
    ///
    /// A live StopIteration.
    #[inline]
    unsafe fn is_free(kept: *mut ffi::PyStopIterationObject) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            ffi::Py_REFCNT(kept.cast()) == 1
                && (*kept).dict.is_null()
                && (*kept).notes.is_null()
                && (*kept).traceback.is_null()
                && (*kept).context.is_null()
                && (*kept).cause.is_null()
        }
    }

    /// Makes the one that is kept, or another in its place, and raises it.
    #[cold]
    fn replace(value: Bound<'_, PyAny>) {
        // SAFETY: rule 1; a StopIteration has the layout of its name.
        unsafe {
            let made = ffi::PyObject_CallNoArgs(ffi::PyExc_StopIteration);
            let made = made.cast::<ffi::PyStopIterationObject>();
            if made.is_null() {
                return; // MemoryError is set, and raised in its place
            }
            let old = std::mem::replace(&mut (*made).value, value.into_ptr());
            ffi::Py_XDECREF(old);
            ffi::PyErr_SetRaisedException(ffi::Py_NewRef(made.cast()));
            ffi::Py_XDECREF(KEPT.swap(made, Relaxed).cast());
        }
    }
}

#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
mod kept {
    use pyo3::ffi;
    use pyo3::prelude::*;

    pub(super) fn raise(value: Bound<'_, PyAny>) {
        // An instance made here, and not left to the interpreter, which would take a tuple for arguments and an exception for itself.
        // SAFETY: rule 1.
        unsafe {
            let made = ffi::PyObject_CallOneArg(ffi::PyExc_StopIteration, value.as_ptr());
            if !made.is_null() {
                ffi::PyErr_SetObject(ffi::PyExc_StopIteration, made);
                ffi::Py_DECREF(made);
            }
        }
    }

    pub(crate) fn release() {}
}

pub(crate) use kept::release;
