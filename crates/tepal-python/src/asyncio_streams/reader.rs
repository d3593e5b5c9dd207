//! `StreamReader`: who waits for the bytes that come (`intake.rs`), and the transport that is paused when there are too many.

use super::intake::Store;
use crate::convert;
use crate::event_loop;
use crate::owned::Owned;
use crate::raw::future;
use crate::raw::iterator::{Resumed, Step};
use crate::sync::wake;
use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyTuple};
use tepal_core::transport::ByteBuffer;

pub(super) struct State {
    pub(super) store: Store,
    /// Bytes that came while a `read` waited that takes all of them, as the object that it will return. In front of the store, which is
    /// ours and empty while there is one.
    pub(super) piece: Option<Py<PyBytes>>,
    /// The most that the waiting `read` takes; 0 when another method waits, or nobody.
    pub(super) wanted: usize,
    limit: usize,
    event_loop: Option<Py<PyAny>>,
    pub(super) waiter: Option<Py<PyAny>>,
    exception: Option<Py<PyAny>>,
    transport: Option<Py<PyAny>>,
    eof: bool,
    paused: bool,
}

/// The native half of `tepal.StreamReader`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct StreamReader {
    state: Owned<State>,
}

impl StreamReader {
    pub(super) fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, act)
    }

    pub(super) fn limit(&self, py: Python<'_>) -> usize {
        self.with(py, |state| state.limit)
    }

    pub(super) fn is_at_end(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.eof)
    }

    /// The exception that was set, as an error.
    ///
    /// # Errors
    ///
    /// That.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        match self.exception(py) {
            Some(exception) => Err(PyErr::from_value(exception.into_bound(py))),
            None => Ok(()),
        }
    }

    /// Waits until something comes; `routine` keeps the future, and takes up to `wanted` bytes as they came.
    ///
    /// # Errors
    ///
    /// RuntimeError when somebody waits already, or on another loop than the reader's.
    pub(super) fn wait<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        wanted: usize,
        routine: &mut Option<Py<PyAny>>,
    ) -> Resumed<'py> {
        let (busy, paused, bound) = self.with(py, |state| {
            let bound = state.event_loop.as_ref().map(|held| held.clone_ref(py));
            (
                state.waiter.is_some(),
                std::mem::take(&mut state.paused),
                bound,
            )
        });
        if busy {
            let message = format!(
                "{name}() called while another coroutine is already waiting for incoming data"
            );
            return Err(PyRuntimeError::new_err(message).into());
        }
        let running = event_loop::running(py)?;
        if bound.is_some_and(|bound| !bound.is(&running)) {
            let message = "this StreamReader belongs to a different event loop";
            return Err(PyRuntimeError::new_err(message).into());
        }
        if paused {
            // To wait while paused would be to wait for ever.
            self.resume_transport(py)?;
        }
        let future = future::new(&running)?;
        let (waiter, kept) = (future.clone().unbind(), future.clone().unbind());
        // (There was none, see above.)
        self.with(py, |state| {
            state.waiter = Some(waiter);
            state.wanted = wanted;
        });
        *routine = Some(kept);
        Ok(Step::Wait(future))
    }

    /// The wait has ended, in whatever way.
    pub(super) fn end_wait(&self, py: Python<'_>) {
        let waiter = self.with(py, |state| state.waiter.take());
        drop(waiter);
    }

    fn resume_transport(&self, py: Python<'_>) -> PyResult<()> {
        let transport = self.with(py, |state| {
            state.transport.as_ref().map(|held| held.clone_ref(py))
        });
        match transport {
            Some(transport) => transport
                .call_method0(py, pyo3::intern!(py, "resume_reading"))
                .map(drop),
            None => Ok(()),
        }
    }

    /// Bytes were taken: a paused transport goes on when few enough are left.
    ///
    /// # Errors
    ///
    /// What the transport's `resume_reading` raises.
    pub(super) fn handle_taken(&self, py: Python<'_>) -> PyResult<()> {
        if !self.with(py, |state| state.paused) {
            return Ok(());
        }
        if self.waiting(py) > self.limit(py) {
            return Ok(());
        }
        self.with(py, |state| state.paused = false);
        self.resume_transport(py)
    }

    /// Bytes have come: who waits is woken, and the transport is paused when there are too many.
    ///
    /// # Errors
    ///
    /// What the loop's `call_soon` and the transport's `pause_reading` raise.
    pub(crate) fn handle_fed(&self, py: Python<'_>) -> PyResult<()> {
        self.wake(py)?;
        let left = self.waiting(py);
        let transport = self.with(py, |state| {
            if state.paused || left <= state.limit.saturating_mul(2) {
                return None;
            }
            state.transport.as_ref().map(|held| held.clone_ref(py))
        });
        let Some(transport) = transport else {
            return Ok(());
        };
        match transport.call_method0(py, pyo3::intern!(py, "pause_reading")) {
            Ok(_) => self.with(py, |state| state.paused = true),
            // It cannot be paused: all of it has to be kept, and it is not asked again.
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                drop(self.with(py, |state| state.transport.take()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        match self.with(py, |state| state.waiter.take()) {
            Some(waiter) => wake(py, &waiter, false).map(drop),
            None => Ok(()),
        }
    }
}

/// How many bytes a limit allows; it may be any number.
fn limit_of(limit: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(limit) = limit.extract::<usize>() {
        return Ok(limit);
    }
    let limit: f64 = limit.extract()?;
    // (`as` saturates: more than there can be is as good as the most there can be.)
    Ok(limit as usize)
}

#[pymethods]
impl StreamReader {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State {
                store: Store::Ours(ByteBuffer::new()),
                piece: None,
                wanted: 0,
                limit: 1 << 16,
                event_loop: None,
                waiter: None,
                exception: None,
                transport: None,
                eof: false,
                paused: false,
            }),
        }
    }

    /// Return the exception that was set, or None. Not a checkpoint.
    fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            state.exception.as_ref().map(|held| held.clone_ref(py))
        })
    }

    /// Have whoever reads raise an exception.
    ///
    /// Args:
    ///     exc: The exception.
    ///
    /// Not a checkpoint.
    fn set_exception(&self, py: Python<'_>, exc: Py<PyAny>) -> PyResult<()> {
        let thrown = exc.clone_ref(py);
        let (old, waiter) = self.with(py, |state| {
            (state.exception.replace(exc), state.waiter.take())
        });
        drop(old);
        if let Some(waiter) = waiter {
            let waiter = waiter.bind(py);
            if !waiter.call_method0("cancelled")?.is_truthy()? {
                waiter.call_method1("set_exception", (thrown,))?;
            }
        }
        Ok(())
    }

    fn _wakeup_waiter(&self, py: Python<'_>) -> PyResult<()> {
        self.wake(py)
    }

    fn _maybe_resume_transport(&self, py: Python<'_>) -> PyResult<()> {
        self.handle_taken(py)
    }

    /// Set the transport that is paused when there is too much to read.
    ///
    /// Args:
    ///     transport: It; the reader has none yet.
    ///
    /// Not a checkpoint.
    fn set_transport(&self, py: Python<'_>, transport: Py<PyAny>) -> PyResult<()> {
        let is_set = self.with(py, |state| match state.transport {
            Some(_) => Some(transport),
            None => {
                state.transport = Some(transport);
                None
            }
        });
        match is_set {
            Some(_) => Err(PyAssertionError::new_err("Transport already set")),
            None => Ok(()),
        }
    }

    /// Say that no more bytes come. Not a checkpoint.
    fn feed_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |state| state.eof = true);
        self.wake(py)
    }

    /// Return whether all bytes were read and no more come. Not a checkpoint.
    fn at_eof(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.is_at_end(py) && self.with_bytes(py, |bytes| bytes.is_empty())?)
    }

    /// Append bytes, and wake who waits for them.
    ///
    /// Args:
    ///     data: Bytes.
    ///
    /// Not a checkpoint.
    fn feed_data(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if self.is_at_end(py) {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        if !data.is_truthy()? {
            return Ok(());
        }
        let data = convert::written(data)?;
        self.feed(py, data.as_bytes())
    }

    #[getter]
    fn _buffer<'py>(&self, py: Python<'py>) -> Bound<'py, PyByteArray> {
        // Whoever asks may change it, so from now on it is where the bytes are.
        let copy = self.with(py, |state| match (&state.store, &state.piece) {
            (Store::Ours(_), Some(piece)) => Ok(piece.as_bytes(py).to_vec()),
            (Store::Ours(bytes), None) => Ok(bytes.bytes().to_vec()),
            (Store::Theirs(theirs), _) => Err(theirs.clone_ref(py)),
        });
        match copy {
            Err(theirs) => theirs.into_bound(py),
            Ok(copy) => {
                let theirs = PyByteArray::new(py, &copy);
                self.set_buffer(py, theirs.clone().unbind());
                theirs
            }
        }
    }

    #[setter(_buffer)]
    fn set_buffer(&self, py: Python<'_>, buffer: Py<PyByteArray>) {
        let theirs = Store::Theirs(buffer);
        let old = self.with(py, |state| {
            let store = std::mem::replace(&mut state.store, theirs);
            (store, state.piece.take())
        });
        drop(old);
    }

    #[getter]
    fn _limit(&self, py: Python<'_>) -> usize {
        self.limit(py)
    }

    #[setter(_limit)]
    fn set_limit(&self, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = limit.py();
        let limit = limit_of(limit)?;
        self.with(py, |state| state.limit = limit);
        Ok(())
    }

    #[getter]
    fn _eof(&self, py: Python<'_>) -> bool {
        self.is_at_end(py)
    }

    #[setter(_eof)]
    fn set_eof(&self, py: Python<'_>, eof: bool) {
        self.with(py, |state| state.eof = eof);
    }

    #[getter]
    fn _paused(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.paused)
    }

    #[setter(_paused)]
    fn set_paused(&self, py: Python<'_>, paused: bool) {
        self.with(py, |state| state.paused = paused);
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            state.event_loop.as_ref().map(|held| held.clone_ref(py))
        })
    }

    #[setter(_loop)]
    fn set_loop(&self, py: Python<'_>, event_loop: Option<Py<PyAny>>) {
        let old = self.with(py, |state| {
            std::mem::replace(&mut state.event_loop, event_loop)
        });
        drop(old);
    }

    #[getter]
    fn _waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            state.waiter.as_ref().map(|held| held.clone_ref(py))
        })
    }

    #[setter(_waiter)]
    fn set_waiter(&self, py: Python<'_>, waiter: Option<Py<PyAny>>) {
        let old = self.with(py, |state| std::mem::replace(&mut state.waiter, waiter));
        drop(old);
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.exception(py)
    }

    #[setter(_exception)]
    fn set_exception_attribute(&self, py: Python<'_>, exception: Option<Py<PyAny>>) {
        let old = self.with(py, |state| {
            std::mem::replace(&mut state.exception, exception)
        });
        drop(old);
    }

    #[getter]
    fn _transport(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.with(py, |state| {
            state.transport.as_ref().map(|held| held.clone_ref(py))
        })
    }

    #[setter(_transport)]
    fn set_transport_attribute(&self, py: Python<'_>, transport: Option<Py<PyAny>>) {
        let old = self.with(py, |state| {
            std::mem::replace(&mut state.transport, transport)
        });
        drop(old);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            if let Store::Theirs(theirs) = &state.store {
                visit.call(theirs)?;
            }
            visit.call(&state.piece)?;
            visit.call(&state.event_loop)?;
            visit.call(&state.waiter)?;
            visit.call(&state.exception)?;
            visit.call(&state.transport)
        });
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let old = self.with(py, |state| {
                let store = std::mem::replace(&mut state.store, Store::Ours(ByteBuffer::new()));
                (
                    store,
                    state.piece.take(),
                    state.event_loop.take(),
                    state.waiter.take(),
                    state.exception.take(),
                    state.transport.take(),
                )
            });
            drop(old);
        });
    }
}
