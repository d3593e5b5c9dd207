//! `Lock`: asyncio's, to the letter.

use super::gate::{Acquire, Gate, gate};
use super::waiters::{waited_at, wake};
use super::{LoopBound, Routine, Waiters};
use crate::raw::raised::Raised;
use crate::raw::type_version::Known;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The native half of `tepal.Lock`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Lock {
    locked: AtomicBool,
    waiters: Waiters,
    bound: LoopBound,
}

impl Lock {
    /// Wakes the first who waits, unless that is done already.
    fn wake_first(&self, py: Python<'_>) -> PyResult<()> {
        match self.waiters.first(py) {
            Some(first) => wake(py, &first, true).map(drop),
            None => Ok(()),
        }
    }
}

static IS_PLAIN: Known = Known::new();

impl Gate for Lock {
    const ACQUIRE: &'static str = "Lock.acquire";
    const IS_PLAIN: &'static Known = &IS_PLAIN;

    fn acquiring(routine: Acquire<Self>) -> Routine {
        Routine::AcquireLock(routine)
    }

    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn try_acquire(&self, py: Python<'_>) -> bool {
        !self.locked() && self.waiters.all_cancelled(py) && !self.locked.swap(true, Relaxed)
    }

    fn end_wait(
        &self,
        py: Python<'_>,
        _waiter: &Py<PyAny>,
        outcome: Result<(), Raised>,
    ) -> Result<(), Raised> {
        if outcome.is_ok() {
            self.locked.store(true, Relaxed);
        } else if !self.locked() {
            // Nobody has it, nor is about to: whoever is next must run, for the wake-up may have been meant for us.
            self.wake_first(py)?;
        }
        outcome
    }
}

#[pymethods]
impl Lock {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            locked: AtomicBool::new(false),
            waiters: Waiters::new(),
            bound: LoopBound::new(),
        }
    }

    /// Return whether it is locked. Not a checkpoint.
    fn locked(&self) -> bool {
        self.locked.load(Relaxed)
    }

    #[getter(_locked)]
    fn locked_attribute(&self) -> bool {
        self.locked()
    }

    /// Unlock it; whoever has waited longest gets it.
    ///
    /// Raises:
    ///     RuntimeError: It is not locked.
    ///
    /// Not a checkpoint.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if !self.locked.swap(false, Relaxed) {
            return Err(PyRuntimeError::new_err("Lock is not acquired."));
        }
        self.wake_first(py)
    }
}

gate!(Lock);
waited_at!(Lock);
