//! What `Lock` and `Semaphore` share: how they are taken, waited for, and given back.

use super::waiters::show;
use super::{LoopBound, Routine, Waiters, woken};
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::ready::ready;
use crate::raw::type_version::Known;
use crate::raw::{Object, call};
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyBool;
use std::ffi::c_int;

/// Something that is taken and given back, and waited for in between.
pub(crate) trait Gate: PyClass<Frozen = True> + Sync + Sized {
    /// What its coroutines are called.
    const ACQUIRE: &'static str;

    /// Whether a class has no `acquire` of its own.
    const IS_PLAIN: &'static Known;

    fn acquiring(routine: Acquire<Self>) -> Routine;

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

/// `acquire()`, and `async with`'s way in where it must wait, which says nothing.
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

/// `async with`'s way in: nothing to wait for, or a coroutine.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn enter<'py, G: Gate>(gate: &Bound<'py, G>) -> PyResult<Bound<'py, PyAny>> {
    let py = gate.py();
    let is_plain = G::IS_PLAIN.or_else(gate.as_any(), || {
        let acquire = pyo3::intern!(py, "acquire");
        let found = gate.as_any().get_type().getattr(acquire)?;
        Ok(found.is(&py.get_type::<G>().getattr(acquire)?))
    })?;
    if !is_plain {
        // A subclass has an `acquire` of its own, which asyncio's way in calls.
        return gate.as_any().call_method0("_enter_by_acquire");
    }
    if gate.get().try_acquire(py) {
        return ready(py.None().into_bound(py));
    }
    Acquire::start(gate, false)
}

/// `async with`'s way out.
///
/// # Errors
///
/// What `release` raises.
pub(crate) fn leave<'py, G: Gate>(gate: &Bound<'py, G>) -> PyResult<Bound<'py, PyAny>> {
    let py = gate.py();
    // By name: a subclass may have a `release` of its own.
    call::method0(gate.as_any(), pyo3::intern!(py, "release"))?;
    ready(py.None().into_bound(py))
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
                $crate::sync::gate::enter(slf)
            }

            fn __aexit__<'py>(
                slf: &Bound<'py, Self>,
                _kind: &Bound<'py, PyAny>,
                _exception: &Bound<'py, PyAny>,
                _traceback: &Bound<'py, PyAny>,
            ) -> PyResult<Bound<'py, PyAny>> {
                $crate::sync::gate::leave(slf)
            }
        }
    };
}
pub(crate) use gate;
