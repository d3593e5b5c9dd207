//! What a transport tells its protocol and the loop, apart from data: when to pause, and what went wrong.

use crate::errors;
use crate::event_loop::Loop;
use crate::names;
use crate::raw::call;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tepal_core::transport::FlowEvent;

/// Calls `pause_writing` or `resume_writing`; what they raise goes to the loop's exception handler.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn tell_flow(
    event_loop: &Bound<'_, Loop>,
    transport: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    event: FlowEvent,
) -> PyResult<()> {
    let py = transport.py();
    let (method, message) = match event {
        FlowEvent::None => return Ok(()),
        FlowEvent::Pause => (names::pause_writing(py), "protocol.pause_writing() failed"),
        FlowEvent::Resume => (
            names::resume_writing(py),
            "protocol.resume_writing() failed",
        ),
    };
    match call::method0(protocol, method) {
        Ok(_) => Ok(()),
        Err(error) if errors::ends_the_loop(py, &error) => Err(error),
        Err(error) => errors::report(
            event_loop,
            message,
            &error,
            &[("transport", transport), ("protocol", protocol)],
        ),
    }
}

/// Tells the loop that a protocol's method raised where asyncio calls it from a callback of its own.
///
/// # Errors
///
/// As [`errors::report_protocol`].
#[cold]
pub(crate) fn report(
    event_loop: &Bound<'_, Loop>,
    transport: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    error: PyErr,
) -> PyResult<()> {
    let method = protocol.getattr(name).unwrap_or_else(|_| protocol.clone());
    errors::report_protocol(event_loop, &method, transport, protocol, error)
}

/// Tells of an error that ends a transport. An OSError is the world's and is told to the protocol alone, in
/// `connection_lost` (and logged in debug mode); any other is a bug and told to the loop's exception handler too.
///
/// # Errors
///
/// What an exception handler lets out.
#[cold]
pub(crate) fn report_fatal(
    event_loop: &Bound<'_, Loop>,
    transport: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    message: &str,
    error: &PyErr,
) -> PyResult<()> {
    let py = transport.py();
    if !error.is_instance_of::<PyOSError>(py) {
        let details = [("transport", transport), ("protocol", protocol)];
        return errors::report(event_loop, message, error, &details);
    }
    if event_loop.get().debug() {
        return errors::log_debug(transport, message, error);
    }
    Ok(())
}
