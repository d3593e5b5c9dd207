//! `Lock`: asyncio's, to the letter.

use super::waiters::{show, wake};
use super::{LoopBound, Routine, Waiters, woken};
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::Step;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};
use std::ffi::c_int;

struct State {
    locked: bool,
    waiters: Waiters,
}

/// The native half of `tepal.Lock`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Lock {
    state: Owned<State>,
    bound: LoopBound,
}

impl Lock {
    /// Takes it if nobody has it and nobody waits who was there before.
    fn try_acquire(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            let free = !state.locked && state.waiters.all_cancelled(py);
            state.locked |= free;
            free
        })
    }

    /// Wakes the first who waits, unless that is done already.
    fn wake_first(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.with(py, |state| state.waiters.first(py)) {
            Some(first) => wake(py, &first, true).map(drop),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl Lock {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            state: Owned::new(State {
                locked: false,
                waiters: Waiters::new(),
            }),
            bound: LoopBound::new(),
        }
    }

    fn locked(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.locked)
    }

    fn acquire<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Acquire::start(slf, true)
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if !self
            .state
            .with(py, |state| std::mem::take(&mut state.locked))
        {
            return Err(PyRuntimeError::new_err("Lock is not acquired."));
        }
        self.wake_first(py)
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
            lock: slf.clone().unbind(),
        };
        coroutine::new(slf.py(), Routine::Leave(leave))
    }

    #[getter(_locked)]
    fn locked_attribute(&self, py: Python<'_>) -> bool {
        self.locked(py)
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
    lock: Py<Lock>,
    tells: bool,
    waiter: Option<Py<PyAny>>,
}

impl Acquire {
    fn start<'py>(lock: &Bound<'py, Lock>, tells: bool) -> PyResult<Bound<'py, PyAny>> {
        let routine = Self {
            lock: lock.clone().unbind(),
            tells,
            waiter: None,
        };
        coroutine::new(lock.py(), Routine::Acquire(routine))
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
    const NAME: &'static str = "Lock.acquire";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        let lock = self.lock.bind(py);
        let this = lock.get();
        let Some(waiter) = self.waiter.take() else {
            if this.try_acquire(py) {
                return Ok(self.end(py));
            }
            let future = this.bound.create_future(lock.as_any())?;
            this.state.with(py, |state| state.waiters.push(&future));
            self.waiter = Some(future.clone().unbind());
            return Ok(Step::Wait(future));
        };
        let held = this.state.with(py, |state| state.waiters.remove(&waiter));
        drop(held);
        match woken(py, &waiter, thrown) {
            Ok(()) => {
                this.state.with(py, |state| state.locked = true);
                Ok(self.end(py))
            }
            Err(error) => {
                // Nobody has it, nor is about to: whoever is next must run, for the wake-up may have been meant for us.
                if !this.locked(py) {
                    this.wake_first(py)?;
                }
                Err(error)
            }
        }
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.lock.as_any()), self.waiter.as_ref()], see)
    }
}

/// `async with`'s way out.
pub(crate) struct Leave {
    lock: Py<Lock>,
}

impl Resume for Leave {
    const NAME: &'static str = "Lock.__aexit__";

    fn resume<'py>(&mut self, py: Python<'py>, _thrown: Option<PyErr>) -> PyResult<Step<'py>> {
        // By name: a subclass may have a `release` of its own.
        self.lock
            .bind(py)
            .as_any()
            .call_method0(pyo3::intern!(py, "release"))?;
        Ok(Step::End(py.None().into_bound(py)))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.lock.as_any())], see)
    }
}
