//! `StreamReaderProtocol`: whether writing is paused, who waits in `drain()`, and which reader a transport may fill by itself.

use super::StreamReader;
use crate::owned::Owned;
use crate::sync::{LoopBound, Waiters};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyWeakrefMethods, PyWeakrefReference};

#[derive(Clone, Copy)]
struct State {
    paused: bool,
    lost: bool,
}

/// The native half of `tepal.StreamReaderProtocol`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct StreamReaderProtocol {
    state: Owned<State>,
    pub(super) waiters: Waiters,
    pub(super) bound: LoopBound,
}

impl StreamReaderProtocol {
    pub(super) fn is_paused(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.paused)
    }

    pub(super) fn is_lost(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.lost)
    }
}

/// The reader behind a transport's protocol, if what comes may go into it without asking anybody: a weak reference, as the protocol
/// has it, for a reader that nobody holds any more takes nothing.
///
/// # Errors
///
/// What looking at the protocol raises.
pub(crate) fn reader_of(protocol: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyWeakrefReference>>> {
    let py = protocol.py();
    if !protocol.is_instance_of::<StreamReaderProtocol>() {
        return Ok(None);
    }
    static RECEIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static FEED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let receive = RECEIVE.get_or_try_init(py, || {
        let class = py
            .import("asyncio.streams")?
            .getattr("StreamReaderProtocol")?;
        PyResult::Ok(class.getattr("data_received")?.unbind())
    })?;
    let feed = FEED.get_or_try_init(py, || {
        PyResult::Ok(py.get_type::<StreamReader>().getattr("feed_data")?.unbind())
    })?;
    let reference = protocol.getattr("_stream_reader_wr")?;
    let Ok(reference) = reference.cast_into::<PyWeakrefReference>() else {
        return Ok(None);
    };
    let Some(reader) = reference.upgrade() else {
        return Ok(None);
    };
    let ours = reader.is_instance_of::<StreamReader>()
        && reader.get_type().getattr("feed_data")?.is(feed)
        && protocol.get_type().getattr("data_received")?.is(receive);
    Ok(ours.then(|| reference.unbind()))
}

#[pymethods]
impl StreamReaderProtocol {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State {
                paused: false,
                lost: false,
            }),
            waiters: Waiters::new(),
            bound: LoopBound::new(),
        }
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.is_paused(py)
    }

    #[setter(_paused)]
    fn set_paused(&self, py: Python<'_>, paused: bool) {
        self.state.with(py, |state| state.paused = paused);
    }

    #[getter]
    fn _connection_lost(&self, py: Python<'_>) -> bool {
        self.is_lost(py)
    }

    #[setter(_connection_lost)]
    fn set_connection_lost(&self, py: Python<'_>, lost: bool) {
        self.state.with(py, |state| state.lost = lost);
    }

    /// Who waits in `drain()` (a snapshot).
    #[getter]
    fn _drain_waiters(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.waiters.all(py)
    }

    /// asyncio's `__init__` puts an empty list there.
    #[setter(_drain_waiters)]
    fn set_drain_waiters(&self, _waiters: &Bound<'_, PyAny>) {}

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiters.show(&visit)?;
        self.bound.show(&visit)
    }

    fn __clear__(&self) {
        self.waiters.clear();
        self.bound.clear();
    }
}
