//! What `Lock` and `Semaphore` share: the coroutines that take them and give them back.

use super::waiters::show;
use super::{LoopBound, Routine, Waiters, woken};
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyBool;
use std::ffi::c_int;

/// Something that is taken and given back, and waited for in between.
pub(crate) trait Gate: PyClass<Frozen = True> + Sync + Sized {
    /// What its coroutines are called.
    const ACQUIRE: &'static str;
    const LEAVE: &'static str;

    fn acquiring(routine: Acquire<Self>) -> Routine;
    fn leaving(routine: Leave<Self>) -> Routine;

    fn waiters(&self) -> &Waiters;
    fn bound(&self) -> &LoopBound;

    /// Takes it if that can be at once: it is free, and nobody waits who was there before.
    fn try_acquire(&self, py: Python<'_>) -> bool;

    /// A wait has ended, by a wake-up or not: the waiter takes it, or what he was given goes to the next.
    ///
    /// # Errors
    ///
    /// The error of the wait; what the loop's `call_soon` raises.
    fn end_wait(
        &self,
        py: Python<'_>,
        waiter: &Py<PyAny>,
        outcome: Result<(), Raised>,
    ) -> Result<(), Raised>;
}

/// `acquire()`, and `async with`'s way in, which says nothing.
pub(crate) struct Acquire<G> {
    gate: Py<G>,
    tells: bool,
    waiter: Option<Py<PyAny>>,
}

impl<G: Gate> Acquire<G> {
    pub(crate) fn start<'py>(gate: &Bound<'py, G>, tells: bool) -> PyResult<Bound<'py, PyAny>> {
        let routine = Self {
            gate: gate.clone().unbind(),
            tells,
            waiter: None,
        };
        coroutine::new(gate.py(), G::acquiring(routine))
    }
}

impl<G: Gate> Resume for Acquire<G> {
    const NAME: &'static str = G::ACQUIRE;

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let gate = self.gate.bind(py);
        let this = gate.get();
        if let Some(waiter) = self.waiter.take() {
            this.waiters().leave(py, &waiter);
            this.end_wait(py, &waiter, woken(py, &waiter, thrown))?;
        } else if !this.try_acquire(py) {
            return this
                .waiters()
                .join(gate.as_any(), this.bound(), &mut self.waiter);
        }
        Ok(Step::End(if self.tells {
            PyBool::new(py, true).to_owned().into_any()
        } else {
            py.None().into_bound(py)
        }))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.gate.as_any()), self.waiter.as_ref()], see)
    }
}

/// `async with`'s way out.
pub(crate) struct Leave<G> {
    gate: Py<G>,
}

impl<G: Gate> Leave<G> {
    pub(crate) fn start<'py>(gate: &Bound<'py, G>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Self {
            gate: gate.clone().unbind(),
        };
        coroutine::new(gate.py(), G::leaving(routine))
    }
}

impl<G: Gate> Resume for Leave<G> {
    const NAME: &'static str = G::LEAVE;

    fn resume<'py>(&mut self, py: Python<'py>, _thrown: Option<Raised>) -> Resumed<'py> {
        // By name: a subclass may have a `release` of its own.
        self.gate
            .bind(py)
            .as_any()
            .call_method0(pyo3::intern!(py, "release"))?;
        Ok(Step::End(py.None().into_bound(py)))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.gate.as_any())], see)
    }
}

/// The methods of a gate that begin those coroutines.
macro_rules! gate {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// Take it, or wait for it.
            ///
            /// Returns:
            ///     True.
            ///
            /// Raises:
            ///     RuntimeError: It would have to wait, and no loop of tepal's runs in this thread, or another than others wait on.
            ///
            /// A checkpoint only if it must wait.
            fn acquire<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                $crate::sync::gate::Acquire::start(slf, true)
            }

            fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                $crate::sync::gate::Acquire::start(slf, false)
            }

            #[pyo3(signature = (*_exception))]
            fn __aexit__<'py>(
                slf: &Bound<'py, Self>,
                _exception: &Bound<'py, PyTuple>,
            ) -> PyResult<Bound<'py, PyAny>> {
                $crate::sync::gate::Leave::start(slf)
            }
        }
    };
}
pub(crate) use gate;
