//! Calls into Python without tuples: vectorcall with borrowed arguments.

use super::{Object, fetch};
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{Bound, PyResult, Python, ffi};

/// `receiver.name()`.
///
/// # Errors
///
/// What the method raises, and AttributeError.
#[inline]
pub(crate) fn method0<'py>(
    receiver: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: rule 1; all pointers are live for the call.
    unsafe {
        owned(
            receiver.py(),
            ffi::PyObject_CallMethodNoArgs(receiver.as_ptr(), name.as_ptr()),
        )
    }
}

/// `receiver.name(argument)`.
///
/// # Errors
///
/// What the method raises, and AttributeError.
#[inline]
pub(crate) fn method1<'py>(
    receiver: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: rule 1; all pointers are live for the call.
    unsafe {
        owned(
            receiver.py(),
            ffi::PyObject_CallMethodOneArg(receiver.as_ptr(), name.as_ptr(), argument.as_ptr()),
        )
    }
}

/// `receiver.name(first, second)`.
///
/// # Errors
///
/// What the method raises, and AttributeError.
#[inline]
pub(crate) fn method2<'py>(
    receiver: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = [receiver.as_ptr(), first.as_ptr(), second.as_ptr()];
    // SAFETY: rule 1; all pointers are live for the call, which counts the receiver as an argument.
    unsafe {
        owned(
            receiver.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                arguments.as_ptr(),
                arguments.len(),
                std::ptr::null_mut(),
            ),
        )
    }
}

/// A new reference from C, or the exception that C set.
///
/// # Safety
///
/// `object` is a new strong reference, or null with an exception set.
#[inline]
pub(crate) unsafe fn owned<'py>(py: Python<'py>, object: Object) -> PyResult<Bound<'py, PyAny>> {
    if object.is_null() {
        return Err(fetch(py));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { Bound::from_owned_ptr(py, object) })
}
