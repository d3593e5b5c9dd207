//! Channels between tasks: what `open_channel()` returns.
//!
//! The queueing is the core's (`tepal_core::channel`); here are its ends, as Python sees them, and in `moving.rs` the coroutines that wait.

mod moving;

pub(crate) use moving::{Receive, Send};

use crate::owned::Owned;
use crate::raw::coroutine;
use crate::raw::future::{FutureRef, Status};
use crate::raw::ready::ready;
use crate::sync::{LoopBound, Routine};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyGenericAlias, PyTuple, PyType};
use tepal_core::channel::{Channel, Closed, Counts, End, Received, Sent};

type State = Channel<Py<PyAny>, Py<PyAny>>;

/// What the ends share.
#[pyclass(frozen, module = "tepal._tepal")]
pub(crate) struct Shared {
    state: Owned<State>,
    bound: LoopBound,
}

/// Why a channel says no.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    /// This end was closed, by this program.
    Closed,
    /// Nobody is left on the other side.
    Broken,
    /// Nothing will come any more.
    Ended,
    /// It would have to wait.
    WouldBlock,
}

impl Refusal {
    /// The class of the exception for it, and what that says.
    fn class(self, py: Python<'_>) -> PyResult<(&Bound<'_, PyType>, &'static str)> {
        static CLOSED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static BROKEN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static ENDED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static WOULD_BLOCK: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let (class, name, message) = match self {
            Self::Closed => (
                &CLOSED,
                "ClosedResourceError",
                "this end of the channel was closed",
            ),
            Self::Broken => (
                &BROKEN,
                "BrokenResourceError",
                "no open end is left to receive it",
            ),
            Self::Ended => (
                &ENDED,
                "EndOfChannel",
                "no open end is left to send anything",
            ),
            Self::WouldBlock => (&WOULD_BLOCK, "WouldBlock", "it would have to wait"),
        };
        Ok((class.import(py, "tepal._channels", name)?, message))
    }

    /// The exception for it.
    #[cold]
    fn error(self, py: Python<'_>) -> PyErr {
        match self.class(py) {
            Ok((class, message)) => PyErr::from_type(class.clone(), (message,)),
            Err(error) => error,
        }
    }

    /// Whether an exception says so.
    fn is(self, exception: &Bound<'_, PyAny>) -> PyResult<bool> {
        exception.is_instance(self.class(exception.py())?.0)
    }
}

impl Shared {
    #[inline]
    fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, act)
    }

    /// Sends a value, if there is somebody or some room for it; else it comes back.
    ///
    /// # Errors
    ///
    /// BrokenResourceError; what waking a receiver raises.
    #[inline]
    fn send(&self, py: Python<'_>, value: Py<PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.place(py, value, State::send)
    }

    /// A value that was handed to a receiver who has gone.
    ///
    /// # Errors
    ///
    /// What waking another raises.
    #[cold]
    fn give_back(&self, py: Python<'_>, value: Py<PyAny>) -> PyResult<()> {
        let left = self.with(py, |state| state.counts().receivers == 0);
        if left {
            return Ok(()); // as if it had never been sent: nobody can receive it
        }
        self.place(py, value, State::give_back).map(drop)
    }

    #[inline]
    fn place(
        &self,
        py: Python<'_>,
        value: Py<PyAny>,
        place: impl Fn(&mut State, Py<PyAny>) -> Sent<Py<PyAny>, Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let mut value = value;
        loop {
            match self.with(py, |state| place(state, value)) {
                Sent::Buffered => return Ok(None),
                Sent::Full(value) => return Ok(Some(value)),
                Sent::Broken(value) => {
                    drop(value);
                    return Err(Refusal::Broken.error(py));
                }
                Sent::Handed(waiter, handed) => match FutureRef::exact(waiter.bind(py)) {
                    Some(future) if future.status() == Status::Pending => {
                        future.set_result(handed.into_bound(py))?;
                        return Ok(None);
                    }
                    // He has been cancelled, and has not run since.
                    _ => value = handed,
                },
            }
        }
    }

    /// Takes the next value, if there is one, and wakes the sender who waited for room.
    ///
    /// # Errors
    ///
    /// What waking him raises.
    #[inline]
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Taken<'py>> {
        let (gone, received) = self.with(py, |state| {
            let gone = match state.counts().sending {
                0 => Vec::new(),
                _ => without_the_cancelled(py, state),
            };
            (gone, state.receive())
        });
        drop(gone);
        match received {
            Received::Value(value, waiter) => {
                if let Some(waiter) = waiter {
                    settle(py, &waiter, None)?;
                }
                Ok(Taken::Value(value.into_bound(py)))
            }
            Received::Empty => Ok(Taken::Nothing),
            Received::Ended => Ok(Taken::Ended),
        }
    }

    /// An end was closed: who waits there, or for it, is told.
    fn tell(
        &self,
        py: Python<'_>,
        closed: Closed<Py<PyAny>, Py<PyAny>>,
        there: Refusal,
    ) -> PyResult<()> {
        let mut outcome = Ok(());
        for waiter in &closed.here {
            outcome = outcome.and(settle(py, waiter, Some(Refusal::Closed)));
        }
        for waiter in &closed.there {
            outcome = outcome.and(settle(py, waiter, Some(there)));
        }
        drop(closed);
        outcome
    }
}

/// What was there to be taken.
enum Taken<'py> {
    Value(Bound<'py, PyAny>),
    Nothing,
    Ended,
}

/// Takes out who waits to send, was cancelled, and has not run since: what he would have sent is not sent.
fn without_the_cancelled(py: Python<'_>, state: &mut State) -> Vec<(Py<PyAny>, Py<PyAny>)> {
    let is_cancelled = |waiter: &Py<PyAny>| {
        FutureRef::exact(waiter.bind(py)).is_none_or(|future| future.status() != Status::Pending)
    };
    std::iter::from_fn(|| state.leave_sending(is_cancelled)).collect()
}

/// Ends a wait, unless it has ended.
fn settle(py: Python<'_>, waiter: &Py<PyAny>, refusal: Option<Refusal>) -> PyResult<()> {
    let Some(future) = FutureRef::exact(waiter.bind(py)) else {
        return Ok(());
    };
    if future.status() != Status::Pending {
        return Ok(());
    }
    match refusal {
        None => future.set_result(py.None().into_bound(py)),
        Some(refusal) => {
            let error = refusal.error(py).into_value(py).into_bound(py);
            future.set_exception(error.as_any())?;
            future.forget_traceback_log(); // it may have been cancelled since: nobody else would look
            Ok(())
        }
    }
}

/// How many values a channel holds: a whole number, or infinity.
fn capacity(size: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(size) = size.extract::<i64>() {
        return usize::try_from(size)
            .map_err(|_| PyValueError::new_err("max_buffer_size must be at least 0"));
    }
    match size.extract::<f64>() {
        Ok(size) if size == f64::INFINITY => Ok(usize::MAX),
        _ => Err(PyTypeError::new_err(
            "max_buffer_size must be an integer or math.inf",
        )),
    }
}

/// Open a channel: a way for values from task to task, with an end to send and an end to receive.
///
/// Args:
///     max_buffer_size: How many values it holds that nobody has received; 0 hands each from task to task, `math.inf` holds any number.
///
/// Returns:
///     The end that sends, and the end that receives.
///
/// Raises:
///     TypeError: That is no number of values.
///     ValueError: It is negative.
///
/// Not a checkpoint.
#[pyfunction]
fn open_channel<'py>(
    py: Python<'py>,
    max_buffer_size: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, SendChannel>, Bound<'py, ReceiveChannel>)> {
    let mut state = State::new(capacity(max_buffer_size)?);
    let (sender, receiver) = (state.add_sender(), state.add_receiver());
    let shared = Shared {
        state: Owned::new(state),
        bound: LoopBound::new(),
    };
    let shared = Bound::new(py, shared)?;
    Ok((
        Bound::new(py, SendChannel::new(shared.clone(), sender))?,
        Bound::new(py, ReceiveChannel::new(shared, receiver))?,
    ))
}

/// What both kinds of ends are made of.
macro_rules! end {
    ($class:ident, $add:ident, $close:ident, $there:expr) => {
        impl $class {
            fn new(shared: Bound<'_, Shared>, end: End) -> Self {
                Self {
                    shared: shared.unbind(),
                    end: Owned::new(Some(end)),
                }
            }

            /// # Errors
            ///
            /// ClosedResourceError
            #[inline]
            fn open_end(&self, py: Python<'_>) -> PyResult<End> {
                let end = self.end.with(py, |end| *end);
                end.ok_or_else(|| Refusal::Closed.error(py))
            }

            fn close_now(&self, py: Python<'_>) -> PyResult<()> {
                let Some(end) = self.end.with(py, Option::take) else {
                    return Ok(());
                };
                let shared = self.shared.get();
                let closed = shared.with(py, |state| state.$close(end));
                shared.tell(py, closed, $there)
            }
        }

        #[pymethods]
        impl $class {
            /// Make another end of the same channel, on the same side; the side is closed when all its ends are.
            ///
            /// Raises:
            ///     ClosedResourceError: This end was closed.
            ///
            /// Not a checkpoint.
            fn clone<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
                let (py, this) = (slf.py(), slf.get());
                this.open_end(py)?;
                let shared = this.shared.bind(py).clone();
                let end = shared.get().with(py, State::$add);
                Bound::new(py, Self::new(shared, end))
            }

            /// Close this end; closing again does nothing. Who waits at it gets ClosedResourceError.
            ///
            /// Not a checkpoint.
            fn close(&self, py: Python<'_>) -> PyResult<()> {
                self.close_now(py)
            }

            /// As `close`, for who closes everything by `aclose`. Not a checkpoint.
            fn aclose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.close_now(py)?;
                ready(py.None().into_bound(py))
            }

            fn __enter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
                slf.clone()
            }

            #[pyo3(signature = (*_exception))]
            fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
                self.close_now(py)
            }

            fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                ready(slf.clone().into_any())
            }

            #[pyo3(signature = (*_exception))]
            fn __aexit__<'py>(
                &self,
                py: Python<'py>,
                _exception: &Bound<'py, PyTuple>,
            ) -> PyResult<Bound<'py, PyAny>> {
                self.close_now(py)?;
                ready(py.None().into_bound(py))
            }

            /// Return how the channel stands (`ChannelStatistics`). Not a checkpoint.
            fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                statistics(py, self.shared.get())
            }

            #[classmethod]
            fn __class_getitem__<'py>(
                class: &Bound<'py, PyType>,
                item: &Bound<'py, PyAny>,
            ) -> PyResult<Bound<'py, PyGenericAlias>> {
                PyGenericAlias::new(class.py(), class.as_any(), item)
            }

            fn __repr__(slf: &Bound<'_, Self>) -> String {
                let open = slf.get().end.with(slf.py(), |end| end.is_some());
                let name = stringify!($class);
                let stage = if open { "open" } else { "closed" };
                format!("<tepal.{name} at {:p}, {stage}>", slf.as_ptr())
            }

            fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
                visit.call(&self.shared)
            }
        }
    };
}

fn statistics<'py>(py: Python<'py>, shared: &Shared) -> PyResult<Bound<'py, PyAny>> {
    let (counts, capacity) = shared.with(py, |state| (state.counts(), state.capacity()));
    let Counts {
        buffered,
        senders,
        receivers,
        sending,
        receiving,
    } = counts;
    let capacity = if capacity == usize::MAX {
        f64::INFINITY.into_pyobject(py)?.into_any()
    } else {
        capacity.into_pyobject(py)?.into_any()
    };
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS
        .import(py, "tepal._channels", "ChannelStatistics")?
        .call1((buffered, capacity, senders, receivers, sending, receiving))
}

/// The end of a channel that sends; `open_channel` makes it.
#[pyclass(frozen, weakref, module = "tepal")]
pub(crate) struct SendChannel {
    shared: Py<Shared>,
    /// `None` once closed.
    end: Owned<Option<End>>,
}

end!(SendChannel, add_sender, close_sender, Refusal::Ended);

#[pymethods]
impl SendChannel {
    /// Send a value, when there is room for it, or somebody waits for it.
    ///
    /// Args:
    ///     value: Any object.
    ///
    /// Raises:
    ///     ClosedResourceError: This end was closed.
    ///     BrokenResourceError: Every end that could receive it was closed.
    ///
    /// A checkpoint only if it must wait.
    fn send<'py>(slf: &Bound<'py, Self>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        coroutine::new(slf.py(), Routine::SendToChannel(Send::new(slf, value)))
    }

    /// Send a value at once.
    ///
    /// Args:
    ///     value: Any object.
    ///
    /// Raises:
    ///     WouldBlock: There is no room, and nobody waits for it.
    ///     ClosedResourceError: This end was closed.
    ///     BrokenResourceError: Every end that could receive it was closed.
    ///
    /// Not a checkpoint.
    fn send_nowait(&self, py: Python<'_>, value: Py<PyAny>) -> PyResult<()> {
        self.open_end(py)?;
        match self.shared.get().send(py, value)? {
            None => Ok(()),
            Some(value) => {
                drop(value);
                Err(Refusal::WouldBlock.error(py))
            }
        }
    }
}

/// The end of a channel that receives, and an async iterator over what it receives; `open_channel` makes it.
#[pyclass(frozen, weakref, module = "tepal")]
pub(crate) struct ReceiveChannel {
    shared: Py<Shared>,
    /// `None` once closed.
    end: Owned<Option<End>>,
}

end!(
    ReceiveChannel,
    add_receiver,
    close_receiver,
    Refusal::Broken
);

#[pymethods]
impl ReceiveChannel {
    /// Receive the next value, when there is one.
    ///
    /// Returns:
    ///     The value. Who is cancelled at that moment has not received it: it is the next again.
    ///
    /// Raises:
    ///     EndOfChannel: There is none, and every end that could send one was closed.
    ///     ClosedResourceError: This end was closed.
    ///
    /// A checkpoint only if it must wait.
    fn receive<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        coroutine::new(
            slf.py(),
            Routine::ReceiveFromChannel(Receive::new(slf, false)),
        )
    }

    /// Receive the next value at once.
    ///
    /// Raises:
    ///     WouldBlock: There is none yet.
    ///     EndOfChannel: There is none, and every end that could send one was closed.
    ///     ClosedResourceError: This end was closed.
    ///
    /// Not a checkpoint.
    fn receive_nowait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.open_end(py)?;
        match self.shared.get().take(py)? {
            Taken::Value(value) => Ok(value),
            Taken::Nothing => Err(Refusal::WouldBlock.error(py)),
            Taken::Ended => Err(Refusal::Ended.error(py)),
        }
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        coroutine::new(
            slf.py(),
            Routine::ReceiveFromChannel(Receive::new(slf, true)),
        )
    }
}

#[pymethods]
impl Shared {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            let mut held = state.values().chain(state.waiters());
            held.try_for_each(|object| visit.call(object))
        });
        shown.unwrap_or(Ok(()))?;
        self.bound.show(&visit)
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let held = self.with(py, State::take_all);
            drop(held);
        });
        self.bound.clear();
    }
}

/// Puts the classes and the function into the module.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SendChannel>()?;
    module.add_class::<ReceiveChannel>()?;
    module.add_function(wrap_pyfunction!(open_channel, module)?)
}
