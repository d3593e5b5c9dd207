//! How a datagram socket becomes a transport.

use super::{Job, Loop};
use crate::datagram::{self, Kind, Parts};
use crate::raw::context;
use pyo3::prelude::*;
use std::os::fd::RawFd;

#[pymethods]
impl Loop {
    /// Makes a transport for a datagram socket; `connection_made` is called in a coming turn, then the waiter is done.
    /// `kind` is "inet", "inet6" or "unix" for a socket that may be used by its descriptor.
    #[pyo3(signature = (sock, protocol, kind, address, connected, waiter, context))]
    #[allow(clippy::too_many_arguments)] // called in one place, in Python, by name
    fn _adopt_datagram_socket<'py>(
        slf: &Bound<'py, Self>,
        sock: Bound<'py, PyAny>,
        protocol: Bound<'py, PyAny>,
        kind: Option<&str>,
        address: Option<Bound<'py, PyAny>>,
        connected: bool,
        waiter: Option<Bound<'py, PyAny>>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        slf.get().check_open()?;
        let fd: RawFd = sock.call_method0("fileno")?.extract()?;
        let parts = Parts {
            socket: sock,
            fd,
            kind: match kind {
                Some("inet") => Kind::V4,
                Some("inet6") => Kind::V6,
                Some("unix") => Kind::Unix,
                _ => Kind::Foreign,
            },
            connected,
            protocol: &protocol,
            address,
            waiter,
            context: context::given_or_current(py, context)?,
        };
        let endpoint = datagram::open(slf, &parts)?;
        let job = Job::DatagramsBegin(endpoint.clone().unbind());
        slf.get().schedule(py, job);
        Ok(endpoint)
    }
}
