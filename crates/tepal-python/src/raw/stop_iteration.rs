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
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr::null_mut;

/// Ends an iterator: what `tp_iternext` returns.
#[inline]
pub(crate) fn stop_with(value: Bound<'_, PyAny>) -> Object {
    if value.is_none() {
        return null_mut(); // without an exception it means None
    }
    raise(value);
    null_mut()
}

/// Raises StopIteration with this value.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
#[inline]
fn raise(value: Bound<'_, PyAny>) {
    use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
    static KEPT: AtomicPtr<ffi::PyStopIterationObject> = AtomicPtr::new(null_mut());
    let kept = KEPT.load(Relaxed);
    // SAFETY: rule 1. `KEPT` holds a strong reference to a StopIteration, or null. With a count of one nobody else can see it.
    unsafe {
        let free = !kept.is_null()
            && ffi::Py_REFCNT(kept.cast()) == 1
            && (*kept).dict.is_null()
            && (*kept).notes.is_null()
            && (*kept).traceback.is_null()
            && (*kept).context.is_null()
            && (*kept).cause.is_null();
        if !free {
            return replace(&KEPT, value);
        }
        let old = std::mem::replace(&mut (*kept).value, value.into_ptr());
        ffi::PyErr_SetRaisedException(ffi::Py_NewRef(kept.cast()));
        ffi::Py_XDECREF(old);
    }
}

/// Makes the one that is kept, or another in its place, and raises it.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
#[cold]
fn replace(
    kept: &std::sync::atomic::AtomicPtr<ffi::PyStopIterationObject>,
    value: Bound<'_, PyAny>,
) {
    use std::sync::atomic::Ordering::Relaxed;
    // SAFETY: rule 1; a StopIteration has the layout of its name.
    unsafe {
        let made =
            ffi::PyObject_CallNoArgs(ffi::PyExc_StopIteration).cast::<ffi::PyStopIterationObject>();
        if made.is_null() {
            return; // MemoryError is set, and raised in its place
        }
        let old = std::mem::replace(&mut (*made).value, value.into_ptr());
        ffi::Py_XDECREF(old);
        ffi::PyErr_SetRaisedException(ffi::Py_NewRef(made.cast()));
        ffi::Py_XDECREF(kept.swap(made, Relaxed).cast());
    }
}

/// Raises StopIteration with this value.
#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
fn raise(value: Bound<'_, PyAny>) {
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
