//! `StreamWriter`: `write()`, and `drain()` as a coroutine that mostly has nothing to do.

use super::{StreamReader, StreamReaderProtocol};
use crate::owned::Owned;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::{Object, call};
use crate::stream;
use crate::sync::{Routine, show, woken};
use pyo3::exceptions::PyConnectionResetError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use std::ffi::c_int;

#[derive(Default)]
struct State {
    transport: Option<Py<PyAny>>,
    protocol: Option<Py<PyAny>>,
    reader: Option<Py<PyAny>>,
    event_loop: Option<Py<PyAny>>,
}

/// The native half of `tepal.StreamWriter`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct StreamWriter {
    state: Owned<State>,
}

/// Declares the attributes that hold an object.
macro_rules! held {
    ($($field:ident: $name:ident, $set:ident, $attribute:ident);+ $(;)?) => {
        #[pymethods]
        impl StreamWriter {$(
            #[getter($attribute)]
            fn $name(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                self.state.with(py, |state| state.$field.as_ref().map(|held| held.clone_ref(py)))
            }

            #[setter($attribute)]
            fn $set(&self, py: Python<'_>, object: Option<Py<PyAny>>) {
                let old = self.state.with(py, |state| std::mem::replace(&mut state.$field, object));
                drop(old);
            }
        )+}
    };
}

held! {
    transport: transport_attribute, set_transport, _transport;
    protocol: protocol_attribute, set_protocol, _protocol;
    reader: reader_attribute, set_reader, _reader;
    event_loop: loop_attribute, set_loop, _loop;
}

impl StreamWriter {
    fn transport<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let transport = self.transport_attribute(py);
        transport.unwrap_or_else(|| py.None()).into_bound(py)
    }

    /// The reader's exception, as an error.
    fn check_reader(&self, py: Python<'_>) -> PyResult<()> {
        let Some(reader) = self.reader_attribute(py) else {
            return Ok(());
        };
        let reader = reader.bind(py);
        if let Ok(reader) = reader.cast::<StreamReader>() {
            return reader.get().check(py);
        }
        let exception = reader.call_method0("exception")?;
        if exception.is_none() {
            Ok(())
        } else {
            Err(PyErr::from_value(exception))
        }
    }

    fn is_transport_closing(&self, py: Python<'_>) -> PyResult<bool> {
        let transport = self.transport(py);
        if stream::is_plain(&transport)? {
            return Ok(stream::is_closing(&transport));
        }
        call::method0(&transport, pyo3::intern!(py, "is_closing"))?.is_truthy()
    }
}

#[pymethods]
impl StreamWriter {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State::default()),
        }
    }

    #[getter(transport)]
    fn transport_property(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.transport_attribute(py)
    }

    /// Write bytes; they leave when the running job ends.
    ///
    /// Args:
    ///     data: Bytes. A mutable buffer is copied at once.
    ///
    /// Not a checkpoint.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        call::method1(&self.transport(py), pyo3::intern!(py, "write"), data).map(drop)
    }

    /// Wait while the transport has too much to send.
    ///
    /// Raises:
    ///     ConnectionError: The connection is lost.
    ///
    /// A checkpoint only if it must wait, or if the transport is closing.
    fn drain<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let protocol = slf.get().protocol_attribute(py);
        let ours = protocol
            .is_some_and(|protocol| protocol.bind(py).is_instance_of::<StreamReaderProtocol>());
        if !ours {
            // A protocol of another kind has its own way to wait (a subprocess's, say).
            static DRAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let drain = DRAIN.get_or_try_init(py, || {
                let class = slf.get_type().getattr("_asyncios")?;
                PyResult::Ok(class.getattr("drain")?.unbind())
            })?;
            return drain.bind(py).call1((slf,));
        }
        let routine = Drain {
            writer: slf.clone().unbind(),
            waiter: None,
            passed: false,
        };
        coroutine::new(py, Routine::Drain(routine))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            visit.call(&state.transport)?;
            visit.call(&state.protocol)?;
            visit.call(&state.reader)?;
            visit.call(&state.event_loop)
        });
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| drop(self.state.with(py, std::mem::take)));
    }
}

/// `drain()`.
pub(crate) struct Drain {
    writer: Py<StreamWriter>,
    waiter: Option<Py<PyAny>>,
    /// The others have had a turn, because the transport is closing.
    passed: bool,
}

impl Resume for Drain {
    const NAME: &'static str = "StreamWriter.drain";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let writer = self.writer.bind(py).get();
        let held = writer.protocol_attribute(py).unwrap_or_else(|| py.None());
        let Ok(protocol) = held.bind(py).cast::<StreamReaderProtocol>() else {
            return Ok(Step::End(py.None().into_bound(py)));
        };
        let this = protocol.get();
        if let Some(waiter) = self.waiter.take() {
            this.waiters.leave(py, &waiter);
            woken(py, &waiter, thrown)?;
            return Ok(Step::End(py.None().into_bound(py)));
        }
        if let Some(thrown) = thrown {
            return Err(thrown);
        }
        if !self.passed {
            writer.check_reader(py)?;
            if writer.is_transport_closing(py)? {
                // So that a program which only writes and drains comes to hear that its connection is lost.
                self.passed = true;
                return Ok(Step::Pass);
            }
        }
        if this.is_lost(py) {
            return Err(PyConnectionResetError::new_err("Connection lost").into());
        }
        if !this.is_paused(py) {
            return Ok(Step::End(py.None().into_bound(py)));
        }
        this.waiters
            .join(protocol.as_any(), &this.bound, &mut self.waiter)
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.writer.as_any()), self.waiter.as_ref()], see)
    }
}
