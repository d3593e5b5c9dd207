//! Errors at the border: one table from the kernel's to Python's, and the ways by which an exception arrives.

use crate::event_loop::Loop;
use crate::names;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::io;

/// The OSError (of the subclass that its number calls for) of a failed system call.
#[cold]
pub(crate) fn from_io(py: Python<'_>, error: &io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return PyOSError::new_err(error.to_string());
    };
    let text = py
        .import("os")
        .and_then(|os| os.call_method1("strerror", (number,)))
        .and_then(|text| text.extract::<String>());
    match text {
        Ok(text) => PyOSError::new_err((number, text)),
        Err(error) => error,
    }
}

/// Whether asyncio lets this exception out of the loop instead of reporting it.
pub(crate) fn ends_the_loop(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Tells the loop's exception handler.
///
/// # Errors
///
/// SystemExit, KeyboardInterrupt, and what a patched `call_exception_handler` raises.
#[cold]
pub(crate) fn report(
    event_loop: &Bound<'_, Loop>,
    message: &str,
    error: &PyErr,
    details: &[(&str, &Bound<'_, PyAny>)],
) -> PyResult<()> {
    let py = event_loop.py();
    let context = PyDict::new(py);
    context.set_item("message", message)?;
    context.set_item("exception", error.value(py))?;
    for (name, value) in details {
        context.set_item(*name, *value)?;
    }
    event_loop
        .as_any()
        .call_method1(names::call_exception_handler(py), (context,))?;
    Ok(())
}

/// Tells the loop that a handle's callback raised, in asyncio's words; lets SystemExit and KeyboardInterrupt out.
///
/// # Errors
///
/// Those two, and what the exception handler lets out.
#[cold]
pub(crate) fn report_callback(
    event_loop: &Bound<'_, Loop>,
    handle: &Bound<'_, PyAny>,
    error: PyErr,
) -> PyResult<()> {
    let py = handle.py();
    if ends_the_loop(py, &error) {
        return Err(error);
    }
    let source = py.import("asyncio.format_helpers")?.call_method1(
        "_format_callback_source",
        (handle.getattr("_callback")?, handle.getattr("_args")?),
    )?;
    let traceback = handle.getattr("_source_traceback")?;
    let mut details = vec![("handle", handle)];
    if traceback.is_truthy()? {
        details.push(("source_traceback", &traceback));
    }
    report(
        event_loop,
        &format!("Exception in callback {source}"),
        &error,
        &details,
    )
}

/// Tells the loop that a protocol's method raised where asyncio calls it as a callback of its own
/// (`connection_made`, `connection_lost`).
///
/// # Errors
///
/// As [`report_callback`].
#[cold]
pub(crate) fn report_protocol(
    event_loop: &Bound<'_, Loop>,
    method: &Bound<'_, PyAny>,
    transport: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    error: PyErr,
) -> PyResult<()> {
    let py = transport.py();
    if ends_the_loop(py, &error) {
        return Err(error);
    }
    let source = py
        .import("asyncio.format_helpers")?
        .call_method1("_format_callback_source", (method, PyTuple::empty(py)))?;
    report(
        event_loop,
        &format!("Exception in callback {source}"),
        &error,
        &[("transport", transport), ("protocol", protocol)],
    )
}

/// Debug mode's word of an error that is the network's and not the program's.
///
/// # Errors
///
/// What the logging module raises.
#[cold]
pub(crate) fn log_debug(subject: &Bound<'_, PyAny>, message: &str, error: &PyErr) -> PyResult<()> {
    let py = subject.py();
    let text = format!("{}: {message}", subject.repr()?);
    let keywords = PyDict::new(py);
    keywords.set_item("exc_info", error.value(py))?;
    let logger = py.import("asyncio.log")?.getattr("logger")?;
    logger
        .call_method("debug", ("%s", text), Some(&keywords))
        .map(drop)
}
