//! `_tepal.TlsLayer`: the lower transport's protocol, behind which a TLS transport stands.
//!
//! Over one of our streams only the rare methods are called; bytes go to `life::receive` directly.

use super::life::{self, Parts};
use super::state::with;
use super::write;
use crate::convert;
use crate::event_loop::Loop;
use crate::owned::Owned;
use pyo3::PyResult;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

/// The native half of `tepal._tls.TlsLayer`; not for direct use.
#[pyclass(subclass, frozen, name = "TlsLayer", module = "tepal._tepal")]
pub(crate) struct Layer {
    /// `None` before `_open` and after `connection_lost`, so that the two do not keep each other.
    transport: Owned<Option<Py<PyAny>>>,
}

impl Layer {
    fn transport<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        let py = slf.py();
        let transport = slf.get().transport.with(py, |transport| {
            transport.as_ref().map(|transport| transport.clone_ref(py))
        });
        transport.map(|transport| transport.into_bound(py))
    }
}

/// The TLS transport that stands behind a protocol, if the protocol is a layer with one.
pub(crate) fn transport_of<'py>(protocol: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    Layer::transport(protocol.cast::<Layer>().ok()?)
}

#[pymethods]
impl Layer {
    #[new]
    fn new() -> Self {
        Self {
            transport: Owned::new(None),
        }
    }

    /// Makes the transport.
    #[pyo3(signature = (event_loop, protocol, ssl_object, bios, *, waiter, timeouts, made, direct))]
    #[allow(clippy::too_many_arguments, reason = "called once, with keywords")]
    fn _open<'py>(
        slf: &Bound<'py, Self>,
        event_loop: &Bound<'py, Loop>,
        protocol: &Bound<'py, PyAny>,
        ssl_object: &Bound<'py, PyAny>,
        bios: (Bound<'py, PyAny>, Bound<'py, PyAny>),
        waiter: Option<Bound<'py, PyAny>>,
        timeouts: (f64, f64),
        made: bool,
        direct: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let parts = Parts {
            event_loop,
            protocol,
            ssl_object,
            bios,
            waiter,
            handshake_timeout: timeouts.0,
            shutdown_timeout: timeouts.1,
            made,
            direct,
        };
        let transport = life::open(parts, slf.as_any())?;
        let kept = transport.clone().unbind();
        let old = slf
            .get()
            .transport
            .with(slf.py(), |place| place.replace(kept));
        drop(old);
        Ok(transport)
    }

    /// The transport that the program's protocol writes to.
    #[getter(_app_transport)]
    fn app_transport<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        Self::transport(slf)
    }

    /// Begins the handshake.
    fn connection_made(slf: &Bound<'_, Self>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        match Self::transport(slf) {
            Some(tls) => life::connected(&tls, transport),
            None => Ok(()),
        }
    }

    /// Takes records.
    fn data_received(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(tls) = Self::transport(slf) else {
            return Ok(());
        };
        let bytes = convert::written(data)?;
        life::receive(&tls, bytes.as_bytes())
    }

    /// The peer has finished without a goodbye, or after it.
    fn eof_received(slf: &Bound<'_, Self>) -> PyResult<bool> {
        match Self::transport(slf) {
            Some(tls) => life::handle_end(&tls),
            None => Ok(false),
        }
    }

    /// Tells the program's protocol, in a coming turn.
    fn connection_lost(slf: &Bound<'_, Self>, exc: &Bound<'_, PyAny>) -> PyResult<()> {
        let taken = slf.get().transport.with(slf.py(), Option::take);
        match taken {
            Some(tls) => life::lost(tls.bind(slf.py()), exc),
            None => Ok(()),
        }
    }

    /// The lower transport has enough to send: what is written waits as plain text.
    fn pause_writing(slf: &Bound<'_, Self>) {
        if let Some(tls) = Self::transport(slf) {
            with(&tls, |_, state| state.flags.lower_paused = true);
        }
    }

    /// The lower transport has room again.
    fn resume_writing(slf: &Bound<'_, Self>) -> PyResult<()> {
        let Some(tls) = Self::transport(slf) else {
            return Ok(());
        };
        with(&tls, |_, state| state.flags.lower_paused = false);
        write::flush(slf.py(), &tls)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visited = self.transport.try_with(|transport| visit.call(&*transport));
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let transport = self.transport.with(py, Option::take);
            drop(transport);
        });
    }
}
