//! `Semaphore` and `BoundedSemaphore`: asyncio's, to the letter of 3.13.

use super::waiters::{show, wake};
use super::{LoopBound, Routine, Waiters, woken};
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::future::{FutureRef, Status};
use crate::raw::iterator::Step;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};
use std::ffi::c_int;

struct State {
    value: i64,
    /// What a bounded one must not exceed.
    bound: i64,
    waiters: Waiters,
}

/// The native half of `tepal.Semaphore` and `tepal.BoundedSemaphore`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Semaphore {
    state: Owned<State>,
    bound: LoopBound,
}

impl Semaphore {
    /// Wakes the first who waits and is not woken yet, with one of what is there; whether there was one.
    fn wake_next(&self, py: Python<'_>) -> PyResult<bool> {
        let next = self.state.with(py, |state| {
            let waiting = state.waiters.all(py).into_iter().find(|future| {
                FutureRef::exact(future.bind(py))
                    .is_some_and(|future| future.status() == Status::Pending)
            });
            if waiting.is_some() {
                state.value -= 1;
            }
            waiting
        });
        match next {
            Some(next) => wake(py, &next, true),
            None => Ok(false),
        }
    }

    /// Wakes as many as may go on: some had to wait although there was enough, because others were there before.
    fn wake_all_who_may(&self, py: Python<'_>) -> PyResult<()> {
        while self.state.with(py, |state| state.value > 0) && self.wake_next(py)? {}
        Ok(())
    }
}

#[pymethods]
impl Semaphore {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State {
                value: 1,
                bound: i64::MAX,
                waiters: Waiters::new(),
            }),
            bound: LoopBound::new(),
        }
    }

    /// Gives it its first value, which a bounded one may not exceed.
    fn _begin(&self, py: Python<'_>, value: i64, bounded: bool) -> PyResult<()> {
        if value < 0 {
            return Err(PyValueError::new_err(
                "Semaphore initial value must be >= 0",
            ));
        }
        self.state.with(py, |state| {
            state.value = value;
            state.bound = if bounded { value } else { i64::MAX };
        });
        Ok(())
    }

    fn locked(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            state.value == 0 || !state.waiters.all_cancelled(py)
        })
    }

    fn acquire<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Acquire::start(slf, true)
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let released = self.state.with(py, |state| {
            let may = state.value < state.bound;
            state.value += i64::from(may);
            may
        });
        if !released {
            return Err(PyValueError::new_err(
                "BoundedSemaphore released too many times",
            ));
        }
        self.wake_next(py).map(drop)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Acquire::start(slf, false)
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _exception: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let leave = Leave {
            semaphore: slf.clone().unbind(),
        };
        coroutine::new(slf.py(), Routine::LeaveSemaphore(leave))
    }

    #[getter(_value)]
    fn value_attribute(&self, py: Python<'_>) -> i64 {
        self.state.with(py, |state| state.value)
    }

    #[setter(_value)]
    fn set_value_attribute(&self, py: Python<'_>, value: i64) {
        self.state.with(py, |state| state.value = value);
    }

    #[getter(_bound_value)]
    fn bound_attribute(&self, py: Python<'_>) -> i64 {
        self.state.with(py, |state| state.bound)
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

/// `acquire()`, and `async with`'s way in, which says nothing.
pub(crate) struct Acquire {
    semaphore: Py<Semaphore>,
    tells: bool,
    waiter: Option<Py<PyAny>>,
}

impl Acquire {
    fn start<'py>(semaphore: &Bound<'py, Semaphore>, tells: bool) -> PyResult<Bound<'py, PyAny>> {
        let routine = Self {
            semaphore: semaphore.clone().unbind(),
            tells,
            waiter: None,
        };
        coroutine::new(semaphore.py(), Routine::AcquireSemaphore(routine))
    }

    fn end<'py>(&self, py: Python<'py>) -> Step<'py> {
        Step::End(if self.tells {
            PyBool::new(py, true).to_owned().into_any()
        } else {
            py.None().into_bound(py)
        })
    }
}

impl Resume for Acquire {
    const NAME: &'static str = "Semaphore.acquire";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        let semaphore = self.semaphore.bind(py);
        let this = semaphore.get();
        let Some(waiter) = self.waiter.take() else {
            if !this.locked(py) {
                this.state.with(py, |state| state.value -= 1);
                return Ok(self.end(py));
            }
            let future = this.bound.create_future(semaphore.as_any())?;
            this.state.with(py, |state| state.waiters.push(&future));
            self.waiter = Some(future.clone().unbind());
            return Ok(Step::Wait(future));
        };
        let held = this.state.with(py, |state| state.waiters.remove(&waiter));
        drop(held);
        let outcome = woken(py, &waiter, thrown);
        if outcome.is_err() {
            let given = FutureRef::exact(waiter.bind(py))
                .is_some_and(|future| future.status() == Status::Returned);
            // We were woken, and given one, but go: it goes back.
            this.state.with(py, |state| state.value += i64::from(given));
        }
        this.wake_all_who_may(py)?;
        outcome.map(|()| self.end(py))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.semaphore.as_any()), self.waiter.as_ref()], see)
    }
}

/// `async with`'s way out.
pub(crate) struct Leave {
    semaphore: Py<Semaphore>,
}

impl Resume for Leave {
    const NAME: &'static str = "Semaphore.__aexit__";

    fn resume<'py>(&mut self, py: Python<'py>, _thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        // By name: a subclass may have a `release` of its own.
        self.semaphore
            .bind(py)
            .as_any()
            .call_method0(pyo3::intern!(py, "release"))?;
        Ok(Step::End(py.None().into_bound(py)))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.semaphore.as_any())], see)
    }
}
