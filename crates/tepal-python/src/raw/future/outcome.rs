//! How a future ends, and what it then says: asyncio's rules, with asyncio's words.

use super::{Callback, Callbacks, FutureRef, Status, call_soon, uninitialized};
use crate::names;
use crate::raw::context;
use crate::sync::{Gather, Observer};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use pyo3::{PyResult, Python, ffi};

/// Where the classes of exceptions are.
const EXCEPTIONS: &str = "asyncio.exceptions";

/// `asyncio.CancelledError`.
///
/// # Errors
///
/// What importing asyncio raises.
pub(crate) fn cancelled_error_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, EXCEPTIONS, "CancelledError")
}

/// Whether an exception is an `asyncio.CancelledError`.
///
/// # Errors
///
/// What importing asyncio raises.
pub(crate) fn is_cancelled_error(exception: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = cancelled_error_class(exception.py())?;
    // SAFETY: rule 1; an exception and a class.
    Ok(unsafe { ffi::PyErr_GivenExceptionMatches(exception.as_ptr(), class.as_ptr()) } != 0)
}

/// `asyncio.InvalidStateError` with this message.
#[cold]
pub(crate) fn invalid_state(py: Python<'_>, message: String) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match CLASS.import(py, EXCEPTIONS, "InvalidStateError") {
        Ok(class) => PyErr::from_type(class.clone(), (message,)),
        Err(error) => error,
    }
}

/// What a future has brought.
pub(crate) enum Outcome<'py> {
    Returned(Bound<'py, PyAny>),
    /// An exception: the future's own, a CancelledError, or InvalidStateError while it is pending.
    Raised(Bound<'py, PyAny>),
}

impl<'py> FutureRef<'_, 'py> {
    #[inline]
    pub(crate) fn status(&self) -> Status {
        self.with(|state| state.status)
    }

    /// Ends it with a result.
    ///
    /// # Errors
    ///
    /// InvalidStateError when it has ended; what the loop's `call_soon` raises.
    #[inline]
    pub(crate) fn set_result(&self, value: Bound<'py, PyAny>) -> PyResult<()> {
        if self.end(Status::Returned, Some(value), |_| ())? {
            Ok(())
        } else {
            Err(invalid_state(self.py(), "invalid state".into()))
        }
    }

    /// Ends it with an exception, which may be given as a class.
    ///
    /// # Errors
    ///
    /// InvalidStateError when it has ended, TypeError for what is no exception, what the loop's `call_soon` raises.
    pub(crate) fn set_exception(&self, exception: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py();
        let (status, is_new) = self.with(|state| (state.status, state.event_loop.is_none()));
        if is_new {
            return Err(uninitialized());
        }
        if status != Status::Pending {
            return Err(invalid_state(py, "invalid state".into()));
        }
        let exception = presentable(exception)?;
        // SAFETY: rule 1; a strong reference or null without an exception.
        let traceback = unsafe {
            let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
            Bound::from_owned_ptr_or_opt(py, traceback)
        };
        let ended = self.end(Status::Raised, Some(exception), |state| {
            if let Some(traceback) = traceback {
                state.rare().traceback = Some(traceback.unbind());
            }
            // (Before those who wait are told: a nursery looks at the exception in that moment.)
            state.log_traceback = true;
        });
        match ended {
            Ok(true) => Ok(()),
            Ok(false) => Err(invalid_state(py, "invalid state".into())),
            Err(error) => {
                self.forget_traceback_log();
                Err(error)
            }
        }
    }

    /// Ends it as cancelled; whether it was pending.
    ///
    /// # Errors
    ///
    /// What the loop's `call_soon` raises.
    pub(crate) fn cancel(&self, message: Option<Bound<'py, PyAny>>) -> PyResult<bool> {
        let (is_new, status) = self.with(|state| {
            state.log_traceback = false;
            (state.event_loop.is_none(), state.status)
        });
        if is_new {
            return Err(uninitialized());
        }
        if status != Status::Pending {
            return Ok(false);
        }
        let delegate = self.with(|state| {
            let delegate = state.rare.as_ref()?.delegate.as_ref();
            delegate.map(|observer| observer.clone_ref(self.py()))
        });
        if let Some(delegate) = delegate {
            return Gather::cancel(delegate.bind(self.py()), message.as_ref());
        }
        self.set_cancel_message(message);
        self.end(Status::Cancelled, None, |_| ())
    }

    /// The way out that the three share: `note` is done in the same breath; then those who wait are told. `false`: it had ended.
    #[inline]
    fn end(
        &self,
        status: Status,
        value: Option<Bound<'py, PyAny>>,
        note: impl FnOnce(&mut super::FutureState),
    ) -> PyResult<bool> {
        let py = self.py();
        let ended = self.with(|state| {
            let event_loop = state.event_loop.as_ref().ok_or(())?;
            if state.status != Status::Pending {
                return Ok(None);
            }
            let event_loop = event_loop.clone_ref(py);
            state.status = status;
            // Pending, so there was none.
            state.value = value.map(Bound::unbind);
            note(state);
            Ok(Some((event_loop, state.native, state.callbacks.take())))
        });
        let Some((event_loop, native, callbacks)) = ended.map_err(|()| uninitialized())? else {
            return Ok(false);
        };
        let event_loop = event_loop.into_bound(py);
        self.tell(&event_loop, native, callbacks)?;
        Ok(true)
    }

    #[inline]
    fn tell(
        &self,
        event_loop: &Bound<'py, PyAny>,
        native: bool,
        callbacks: Callbacks,
    ) -> PyResult<()> {
        let (first, more) = callbacks.into_parts();
        if let Some(callback) = first {
            // SAFETY: `native` was noted with the loop.
            unsafe { call_soon(event_loop, native, callback, self.object)? };
        }
        for callback in more {
            // SAFETY: as above.
            unsafe { call_soon(event_loop, native, callback, self.object)? };
        }
        Ok(())
    }

    /// Has a function called when it has ended: in a coming turn if it has already.
    ///
    /// # Errors
    ///
    /// RuntimeError before `__init__`, TypeError for a wrong context, and what the loop's `call_soon` raises.
    pub(crate) fn add_done_callback(
        &self,
        function: &Bound<'py, PyAny>,
        given: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        // On a loop of another kind it is that loop's `call_soon` that knows what a context is.
        let context = match given {
            Some(given) if !self.with(|state| state.native) => given,
            given => context::given_or_current(self.py(), given)?,
        };
        self.add(Callback::Call {
            function: function.clone().unbind(),
            context: context.unbind(),
        })
    }

    /// As [`FutureRef::add_done_callback`].
    ///
    /// # Errors
    ///
    /// RuntimeError before `__init__`; what the loop's `call_soon` raises.
    #[inline]
    pub(crate) fn add(&self, callback: Callback) -> PyResult<()> {
        let late = self.with(|state| {
            if state.status == Status::Pending && state.event_loop.is_some() {
                state.callbacks.push(callback);
                None
            } else {
                Some(callback)
            }
        });
        match late {
            None => Ok(()),
            Some(callback) => self.tell(
                &self.event_loop()?,
                self.with(|state| state.native),
                Callbacks::from_iter([callback]),
            ),
        }
    }

    /// Takes an observer off the list of those who are told.
    pub(crate) fn remove_observer(&self, observer: &Bound<'_, Observer>) {
        let removed = self.with(|state| state.callbacks.remove_observer(observer));
        drop(removed);
    }

    /// From now on `cancel` cancels what `gather()` gathered.
    pub(crate) fn delegate_cancel(&self, gather: Py<Observer>) {
        let old = self.with(|state| state.rare().delegate.replace(gather));
        drop(old);
    }

    /// Takes a function off the list of those who are called; how often it stood there.
    ///
    /// # Errors
    ///
    /// What comparing functions raises.
    pub(crate) fn remove_done_callback(&self, function: &Bound<'py, PyAny>) -> PyResult<usize> {
        let py = self.py();
        self.event_loop()?;
        // Comparing runs code of the program, which may change the list. So it is done on a copy, and what was found equal is
        // then taken out of whatever the list has become.
        let standing: Vec<Callback> = self.with(|state| {
            let callbacks = state.callbacks.iter();
            callbacks.map(|callback| callback.clone_ref(py)).collect()
        });
        let mut equal = Vec::new();
        for callback in standing {
            let place = address(&callback);
            let (standing, _) = callback.into_pair(py)?;
            if standing.is(function) || standing.eq(function)? {
                equal.push(place);
            }
        }
        let (removed, before, after) = self.with(|state| {
            let all: Vec<Callback> = state.callbacks.take().into_iter().collect();
            let before = all.len();
            let (removed, kept): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|one| equal.contains(&address(one)));
            let after = kept.len();
            state.callbacks = kept.into_iter().collect();
            (removed, before, after)
        });
        drop(removed);
        Ok(before - after)
    }

    /// The result, or the exception raised.
    ///
    /// # Errors
    ///
    /// The future's exception; CancelledError; InvalidStateError while it is pending.
    #[inline]
    pub(crate) fn result(&self) -> PyResult<Bound<'py, PyAny>> {
        match self.outcome()? {
            Outcome::Returned(value) => Ok(value),
            Outcome::Raised(exception) => Err(PyErr::from_value(exception)),
        }
    }

    /// What it has brought, for whoever waited for it: an exception counts as seen.
    ///
    /// # Errors
    ///
    /// What making an exception raises.
    #[inline]
    pub(crate) fn outcome(&self) -> PyResult<Outcome<'py>> {
        let py = self.py();
        let returned = self.with(|state| match (state.status, &state.value) {
            (Status::Returned, Some(value)) => Ok(value.clone_ref(py)),
            (status, _) => Err(status),
        });
        match returned {
            Ok(value) => Ok(Outcome::Returned(value.into_bound(py))),
            Err(status) => self.raised(status).map(Outcome::Raised),
        }
    }

    fn raised(&self, status: Status) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        match status {
            Status::Cancelled => self.make_cancelled_error(),
            Status::Pending => Ok(invalid_state(py, "Result is not set.".into())
                .into_value(py)
                .into_bound(py)
                .into_any()),
            Status::Returned | Status::Raised => {
                let (exception, traceback) = self.with(|state| {
                    state.log_traceback = false;
                    let traceback = state.rare.as_mut().and_then(|rare| rare.traceback.take());
                    let value = state.value.as_ref().map(|value| value.clone_ref(py));
                    (value, traceback)
                });
                // (Neither Returned nor Raised has no value but when the collector has cleared it.)
                let exception = exception.ok_or_else(uninitialized)?.into_bound(py);
                let traceback = traceback.unwrap_or_else(|| py.None());
                // SAFETY: rule 1; an exception, and a traceback of one or None.
                let set = unsafe {
                    ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr())
                };
                if set < 0 {
                    return Err(PyErr::fetch(py));
                }
                Ok(exception)
            }
        }
    }

    /// The exception it ended with, or None.
    ///
    /// # Errors
    ///
    /// CancelledError; InvalidStateError while it is pending.
    pub(crate) fn exception(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        match self.status() {
            Status::Cancelled => Err(PyErr::from_value(self.make_cancelled_error()?)),
            Status::Pending => Err(invalid_state(py, "Exception is not set.".into())),
            Status::Returned => Ok(py.None().into_bound(py)),
            Status::Raised => {
                let value = self.with(|state| {
                    state.log_traceback = false;
                    state.value.as_ref().map(|value| value.clone_ref(py))
                });
                Ok(value.unwrap_or_else(|| py.None()).into_bound(py))
            }
        }
    }

    /// The CancelledError of a cancelled future: the very one that ended a task for the first who asks, else a new one with the
    /// message that `cancel` was given.
    ///
    /// # Errors
    ///
    /// What making it raises.
    pub(crate) fn make_cancelled_error(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        let (own, message) = self.with(|state| {
            let rare = state.rare.as_mut();
            rare.map_or((None, None), |rare| {
                let message = rare.cancel_message.as_ref();
                (
                    rare.cancelled_error.take(),
                    message.map(|held| held.clone_ref(py)),
                )
            })
        });
        if let Some(error) = own {
            return Ok(error.into_bound(py));
        }
        let class = cancelled_error_class(py)?;
        match message {
            Some(message) => class.call1((message,)),
            None => class.call0(),
        }
    }

    /// Keeps the CancelledError that ends a task.
    pub(crate) fn keep_cancelled_error(&self, error: Bound<'py, PyAny>) {
        let error = Some(error.unbind());
        let old = self.with(|state| std::mem::replace(&mut state.rare().cancelled_error, error));
        drop(old);
    }

    /// The CancelledError that ended a task, if nobody has asked for it.
    pub(crate) fn kept_cancelled_error(&self) -> Option<Bound<'py, PyAny>> {
        let py = self.py();
        let kept = self.with(|state| {
            let kept = state.rare.as_ref()?.cancelled_error.as_ref();
            kept.map(|held| held.clone_ref(py))
        });
        kept.map(|held| held.into_bound(py))
    }

    pub(crate) fn cancel_message(&self) -> Option<Bound<'py, PyAny>> {
        let py = self.py();
        let message = self.with(|state| {
            let message = state.rare.as_ref()?.cancel_message.as_ref();
            message.map(|held| held.clone_ref(py))
        });
        message.map(|held| held.into_bound(py))
    }

    pub(crate) fn set_cancel_message(&self, message: Option<Bound<'py, PyAny>>) {
        let message = message.map(Bound::unbind);
        let old = self.with(|state| {
            if message.is_none() && state.rare.is_none() {
                return None;
            }
            std::mem::replace(&mut state.rare().cancel_message, message)
        });
        drop(old);
    }

    pub(crate) fn source_traceback(&self) -> Option<Bound<'py, PyAny>> {
        let py = self.py();
        let made = self.with(|state| {
            let made = state.rare.as_ref()?.source_traceback.as_ref();
            made.map(|held| held.clone_ref(py))
        });
        made.map(|held| held.into_bound(py))
    }

    pub(crate) fn value(&self, wanted: Status) -> Option<Bound<'py, PyAny>> {
        let py = self.py();
        let value = self.with(|state| {
            let value = state.value.as_ref().filter(|_| state.status == wanted);
            value.map(|held| held.clone_ref(py))
        });
        value.map(|held| held.into_bound(py))
    }

    pub(crate) fn logs_traceback(&self) -> bool {
        self.with(|state| state.log_traceback)
    }

    pub(crate) fn forget_traceback_log(&self) {
        self.with(|state| state.log_traceback = false);
    }

    /// The last thing a future does: an exception that nobody has looked at is told to the loop's exception handler.
    ///
    /// # Errors
    ///
    /// What the handler raises.
    pub(crate) fn tell_unseen_exception(&self) -> PyResult<()> {
        if !self.with(|state| std::mem::take(&mut state.log_traceback)) {
            return Ok(());
        }
        let kind = self.object.get_type().name()?;
        let message = format!("{kind} exception was never retrieved");
        let exception = self.value(Status::Raised);
        self.report("future", &message, exception)
    }

    /// Tells the loop's exception handler something about this future, called `role` there.
    ///
    /// # Errors
    ///
    /// What the handler raises.
    pub(crate) fn report(
        &self,
        role: &str,
        message: &str,
        exception: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = self.py();
        let told = PyDict::new(py);
        told.set_item("message", message)?;
        if let Some(exception) = exception {
            told.set_item("exception", exception)?;
        }
        told.set_item(role, self.object)?;
        if let Some(made) = self.source_traceback() {
            told.set_item("source_traceback", made)?;
        }
        self.event_loop()?
            .call_method1(names::call_exception_handler(py), (told,))
            .map(drop)
    }
}

/// What tells one entry of the list from another.
fn address(callback: &Callback) -> (usize, usize) {
    match callback {
        Callback::Call { function, context } => {
            (function.as_ptr() as usize, context.as_ptr() as usize)
        }
        Callback::Wake(task) => (task.as_ptr() as usize, 0),
        Callback::Tell(observer) => (observer.as_ptr() as usize, 0),
        Callback::Member(group, key) => (group.as_ptr() as usize, key.get() as usize),
        Callback::Child(nursery, key) => (nursery.as_ptr() as usize, key.get() as usize),
    }
}

/// An exception as a future keeps it: an instance, and no StopIteration, which would end the generator that it is raised into.
fn presentable<'py>(exception: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    const STOP: &str =
        "StopIteration interacts badly with generators and cannot be raised into a Future";
    let py = exception.py();
    // SAFETY: rule 1.
    let is_class = unsafe { ffi::PyExceptionClass_Check(exception.as_ptr()) } != 0;
    let exception = if is_class {
        exception.call0()?
    } else {
        exception.clone()
    };
    // SAFETY: rule 1.
    if unsafe { ffi::PyExceptionInstance_Check(exception.as_ptr()) } == 0 {
        return Err(PyTypeError::new_err("invalid exception object"));
    }
    if !exception.is_instance_of::<PyStopIteration>() {
        return Ok(exception);
    }
    if !cfg!(Py_3_13) {
        return Err(PyTypeError::new_err(STOP));
    }
    let wrapped = PyRuntimeError::new_err(STOP).into_value(py).into_bound(py);
    wrapped.setattr("__cause__", &exception)?;
    wrapped.setattr("__context__", &exception)?;
    Ok(wrapped.into_any())
}
