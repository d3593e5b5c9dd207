//! `Event`: asyncio's, to the letter.

use super::waiters::{show, wake};
use super::{LoopBound, Routine, Waiters, woken};
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::Step;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};
use std::ffi::c_int;

struct State {
    set: bool,
    waiters: Waiters,
}

/// The native half of `tepal.Event`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Event {
    state: Owned<State>,
    bound: LoopBound,
}

#[pymethods]
impl Event {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State {
                set: false,
                waiters: Waiters::new(),
            }),
            bound: LoopBound::new(),
        }
    }

    fn is_set(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.set)
    }

    fn set(&self, py: Python<'_>) -> PyResult<()> {
        let waiting = self.state.with(py, |state| {
            if std::mem::replace(&mut state.set, true) {
                Vec::new()
            } else {
                state.waiters.all(py)
            }
        });
        for future in &waiting {
            let _woken: bool = wake(py, future, true)?;
        }
        Ok(())
    }

    fn clear(&self, py: Python<'_>) {
        self.state.with(py, |state| state.set = false);
    }

    fn wait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Wait {
            event: slf.clone().unbind(),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::WaitEvent(routine))
    }

    #[getter(_value)]
    fn value_attribute(&self, py: Python<'_>) -> bool {
        self.is_set(py)
    }

    #[getter(_waiters)]
    fn waiters_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.state.with(py, |state| state.waiters.all(py))
    }

    #[getter(_loop)]
    fn loop_attribute(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.bound.get(py)
    }

    #[setter(_loop)]
    fn set_loop_attribute(&self, py: Python<'_>, event_loop: Option<Py<PyAny>>) {
        self.bound.set(py, event_loop);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| state.waiters.show(&visit));
        shown.unwrap_or(Ok(()))?;
        self.bound.show(&visit)
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let waiters = self.state.with(py, |state| {
                std::mem::replace(&mut state.waiters, Waiters::new())
            });
            drop(waiters);
        });
        self.bound.clear();
    }
}

/// `wait()`.
pub(crate) struct Wait {
    event: Py<Event>,
    waiter: Option<Py<PyAny>>,
}

impl Resume for Wait {
    const NAME: &'static str = "Event.wait";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        let event = self.event.bind(py);
        let this = event.get();
        if let Some(waiter) = self.waiter.take() {
            let held = this.state.with(py, |state| state.waiters.remove(&waiter));
            drop(held);
            woken(py, &waiter, thrown)?;
        } else if !this.is_set(py) {
            let future = this.bound.create_future(event.as_any())?;
            this.state.with(py, |state| state.waiters.push(&future));
            self.waiter = Some(future.clone().unbind());
            return Ok(Step::Wait(future));
        }
        Ok(Step::End(PyBool::new(py, true).to_owned().into_any()))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.event.as_any()), self.waiter.as_ref()], see)
    }
}
