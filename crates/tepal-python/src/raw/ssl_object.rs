//! The session inside Python's `ssl.SSLObject`.
//!
//! `_ssl._SSLSocket` keeps its `SSL*` as the second word behind the object's head and its context as the third;
//! `_ssl._SSLContext` keeps its `SSL_CTX*` as the first. So it has been from CPython 3.7 on, and it is checked for
//! each object: the third word must be the very context that Python names, and the library must find that context's
//! `SSL_CTX*` in the session. On a build where that does not hold there is no session here, and Python does the work.

use super::Object;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{PyResult, ffi, intern};
use std::ffi::{CString, c_void};
use tepal_sys::libssl::{Library, Session};

/// The session of an `ssl.SSLObject`, on a wire of ours; `None` where it cannot be reached.
///
/// # Errors
///
/// What importing `_ssl` and looking at the object raises.
pub(crate) fn session(ssl_object: &Bound<'_, PyAny>) -> PyResult<Option<Session>> {
    static KIND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static LIBRARY: PyOnceLock<Option<&'static Library>> = PyOnceLock::new();
    let py = ssl_object.py();
    let library = LIBRARY.get_or_try_init(py, || -> PyResult<_> {
        let Ok(file) = py.import("_ssl")?.getattr("__file__") else {
            return Ok(None); // Built into the interpreter.
        };
        let path = CString::new(file.extract::<String>()?)?;
        Ok(Library::behind(&path))
    })?;
    let Some(library) = *library else {
        return Ok(None);
    };
    let inner = ssl_object.getattr(intern!(py, "_sslobj"))?;
    let context = inner.getattr(intern!(py, "context"))?;
    let kind = KIND.import(py, "_ssl", "_SSLSocket")?;
    let base = py.import("_ssl")?.getattr("_SSLContext")?;
    if !inner.get_type().is(kind) || !context.is_instance(&base)? {
        return Ok(None);
    }
    // SAFETY: the objects are of the two types, which are at least so large on every CPython (basicsize is checked);
    // `ssl` is used only when the word behind it is the context, so that the layout is the one described above, and
    // `belongs_to` asks the library about a pointer which that layout says is an `SSL*`. The engine keeps the
    // `SSLObject`, which keeps the session; the loop's thread is attached whenever it uses it.
    unsafe {
        let (Some(ssl), Some(owner), Some(raw_context)) = (
            word(inner.as_ptr(), 1),
            word(inner.as_ptr(), 2),
            word(context.as_ptr(), 0),
        ) else {
            return Ok(None);
        };
        if owner != context.as_ptr().cast()
            || ssl.is_null()
            || !library.belongs_to(ssl, raw_context)
        {
            return Ok(None);
        }
        Ok(Session::attach(library, ssl))
    }
}

/// A word behind an object's head; `None` when the object is not as large.
///
/// # Safety
///
/// `object` is live.
unsafe fn word(object: Object, index: usize) -> Option<*mut c_void> {
    let offset = size_of::<ffi::PyObject>() + index * size_of::<*mut c_void>();
    // SAFETY: the caller's promise; the size is asked before the word is read.
    unsafe {
        let size = (*ffi::Py_TYPE(object)).tp_basicsize as usize;
        (offset + size_of::<*mut c_void>() <= size)
            .then(|| object.cast::<u8>().add(offset).cast::<*mut c_void>().read())
    }
}
