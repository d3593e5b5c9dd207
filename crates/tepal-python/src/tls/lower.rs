//! The transport below: one of our streams, or anybody's.

use crate::errors;
use crate::stream;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyErr, PyResult, Python, intern};

/// What carries the records.
pub(super) enum Lower {
    /// A stream of ours, whose methods nobody overrides.
    Stream(Py<PyAny>),
    /// Another transport: TLS again, a program's own, one of another loop's making.
    Foreign(Py<PyAny>),
}

impl Lower {
    pub(super) fn of(transport: &Bound<'_, PyAny>) -> PyResult<Self> {
        let object = transport.clone().unbind();
        Ok(if stream::is_plain(transport)? {
            Self::Stream(object)
        } else {
            Self::Foreign(object)
        })
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Stream(object) | Self::Foreign(object) => object,
        }
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Stream(object) => Self::Stream(object.clone_ref(py)),
            Self::Foreign(object) => Self::Foreign(object.clone_ref(py)),
        }
    }

    /// Sends records. What is left in `output` is its memory, for the next ones.
    ///
    /// # Errors
    ///
    /// What the transport's `write` raises.
    pub(super) fn send(&self, py: Python<'_>, output: &mut Vec<u8>) -> PyResult<()> {
        match self {
            Self::Stream(stream) => stream::send(stream.bind(py), output),
            Self::Foreign(transport) => {
                let bytes = PyBytes::new(py, output);
                output.clear();
                let write = intern!(py, "write");
                transport.bind(py).call_method1(write, (bytes,)).map(drop)
            }
        }
    }

    /// Lets records leave with whatever else the running job sends.
    ///
    /// # Errors
    ///
    /// As [`Lower::send`].
    pub(super) fn gather(&self, py: Python<'_>, output: &mut Vec<u8>) -> PyResult<()> {
        match self {
            Self::Stream(stream) => stream::gather(stream.bind(py), std::mem::take(output)),
            Self::Foreign(_) => self.send(py, output),
        }
    }

    /// Drops the connection.
    ///
    /// # Errors
    ///
    /// What a foreign transport's methods raise.
    pub(super) fn force_close(&self, py: Python<'_>, error: Option<PyErr>) -> PyResult<()> {
        match self {
            Self::Stream(stream) => {
                stream::abort(stream.bind(py), error);
                Ok(())
            }
            Self::Foreign(transport) => {
                let transport = transport.bind(py);
                let force_close = intern!(py, "_force_close");
                if transport.hasattr(force_close)? {
                    let error = error.map(|error| error.into_value(py));
                    transport.call_method1(force_close, (error,)).map(drop)
                } else {
                    transport.call_method0(intern!(py, "abort")).map(drop)
                }
            }
        }
    }

    /// Reports what raised to the loop, in asyncio's manner, and drops the connection.
    ///
    /// # Errors
    ///
    /// What an exception handler lets out.
    pub(super) fn fail(
        &self,
        event_loop: &Bound<'_, crate::event_loop::Loop>,
        layer: &Bound<'_, PyAny>,
        error: PyErr,
        message: &str,
    ) -> PyResult<()> {
        let py = event_loop.py();
        let closed = self.force_close(py, Some(error.clone_ref(py)));
        let quiet = error.is_instance_of::<pyo3::exceptions::PyOSError>(py)
            || error.is_instance_of::<pyo3::exceptions::asyncio::CancelledError>(py);
        if quiet {
            if event_loop.get().debug() {
                errors::log_debug(layer, message, &error)?;
            }
            return closed;
        }
        let details = [("transport", self.object().bind(py)), ("protocol", layer)];
        closed.and(errors::report(event_loop, message, &error, &details))
    }
}
