//! Pipes: making transports over the file objects that Python hands over.

use super::Loop;
use crate::pipe::{self, Role};
use pyo3::prelude::*;
use pyo3::types::PyDict;

#[pymethods]
impl Loop {
    /// Makes a transport that reads; `connect_read_pipe` calls this, as asyncio's does.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_read_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let transport = pipe::open(slf, Role::Read, pipe, protocol, waiter)?;
        with_extra(transport, pipe, extra)
    }

    /// Makes a transport that writes; `connect_write_pipe` calls this, as asyncio's does.
    #[pyo3(signature = (pipe, protocol, waiter=None, extra=None))]
    fn _make_write_pipe_transport<'py>(
        slf: &Bound<'py, Self>,
        pipe: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let transport = pipe::open(slf, Role::Write, pipe, protocol, waiter)?;
        with_extra(transport, pipe, extra)
    }
}

/// The transport with what `get_extra_info` knows of it.
fn with_extra<'py>(
    transport: Bound<'py, PyAny>,
    pipe: &Bound<'py, PyAny>,
    extra: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let known = PyDict::new(pipe.py());
    if let Some(extra) = extra {
        known.update(extra.cast()?)?;
    }
    known.set_item("pipe", pipe)?;
    transport.setattr("_extra", known)?;
    Ok(transport)
}
