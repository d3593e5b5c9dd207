//! Between Python's values and ours: one table.

use crate::names;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};
use std::os::fd::RawFd;
use tepal_sys::socket::{Address, ipv6_text};

/// A socket address as the `socket` module shows it.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn address<'py>(py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
    match address {
        Address::V4(host, port) => (host.to_string(), *port).into_bound_py_any(py),
        Address::V6(host, port, flow, scope) => {
            (ipv6_text(host), *port, *flow, *scope).into_bound_py_any(py)
        }
        // Paths are decoded as the file system's, so that os.unlink() takes them back.
        Address::Path(path) => py
            .import("os")?
            .call_method1("fsdecode", (PyBytes::new(py, path),)),
        Address::Abstract(name) => Ok(PyBytes::new(py, name).into_any()),
        Address::Unnamed => Ok(PyString::new(py, "").into_any()),
    }
}

/// The descriptor of a number or of an object with `fileno()`.
///
/// # Errors
///
/// ValueError, as the `selectors` module has it, for anything else and for negative numbers.
pub(crate) fn descriptor(object: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    let fd: i64 = if object.is_instance_of::<PyInt>() {
        object.extract()?
    } else {
        match object.call_method0("fileno").and_then(|fd| fd.extract()) {
            Ok(fd) => fd,
            Err(_) => {
                let shown = object.repr()?;
                return Err(PyValueError::new_err(format!(
                    "Invalid file object: {shown}"
                )));
            }
        }
    };
    match RawFd::try_from(fd) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(PyValueError::new_err(format!(
            "Invalid file descriptor: {fd}"
        ))),
    }
}

/// The bytes that a transport was given to write: `bytes` as they are, mutable buffers as a snapshot.
///
/// # Errors
///
/// TypeError with asyncio's words for anything else.
pub(crate) fn written<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let py = data.py();
    let is_buffer = data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<pyo3::types::PyByteArray>()
        || data.is_instance_of::<pyo3::types::PyMemoryView>();
    if !is_buffer {
        let kind = data.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "data argument must be a bytes-like object, not '{kind}'"
        )));
    }
    Ok(py.get_type::<PyBytes>().call1((data,))?.cast_into()?)
}

/// Gives a future its result unless somebody was faster.
///
/// # Errors
///
/// What a foreign future raises.
pub(crate) fn set_result_unless_done(
    future: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(names::done(py))?.is_truthy()? {
        future.call_method1(names::set_result(py), (value,))?;
    }
    Ok(())
}

/// Gives a future an exception unless somebody was faster.
///
/// # Errors
///
/// What a foreign future raises.
pub(crate) fn set_exception_unless_done(
    future: &Bound<'_, PyAny>,
    error: &Bound<'_, pyo3::exceptions::PyBaseException>,
) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(names::done(py))?.is_truthy()? {
        future.call_method1(names::set_exception(py), (error,))?;
    }
    Ok(())
}
