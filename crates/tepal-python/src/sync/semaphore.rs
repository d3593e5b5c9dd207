//! `Semaphore` and `BoundedSemaphore`: asyncio's, to the letter of 3.13.

use super::gate::{Acquire, Gate, gate};
use super::waiters::{status, waited_at, wake};
use super::{LoopBound, Routine, Waiters};
use crate::owned::Owned;
use crate::raw::future::Status;
use crate::raw::raised::Raised;
use crate::raw::type_version::Known;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

struct Count {
    value: i64,
    /// What a bounded one must not exceed.
    most: i64,
}

/// The native half of `tepal.Semaphore` and `tepal.BoundedSemaphore`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Semaphore {
    count: Owned<Count>,
    waiters: Waiters,
    bound: LoopBound,
}

impl Semaphore {
    fn add(&self, py: Python<'_>, change: i64) {
        self.count.with(py, |count| count.value += change);
    }

    /// Wakes the first who waits and is not woken yet, with one of what is there; whether there was one.
    fn wake_next(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(next) = self.waiters.first_pending(py) else {
            return Ok(false);
        };
        self.add(py, -1);
        wake(py, &next, true)
    }
}

static IS_PLAIN: Known = Known::new();

impl Gate for Semaphore {
    const ACQUIRE: &'static str = "Semaphore.acquire";
    const IS_PLAIN: &'static Known = &IS_PLAIN;

    fn acquiring(routine: Acquire<Self>) -> Routine {
        Routine::AcquireSemaphore(routine)
    }

    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn bound(&self) -> &LoopBound {
        &self.bound
    }

    fn try_acquire(&self, py: Python<'_>) -> bool {
        let free = !self.locked(py);
        if free {
            self.add(py, -1);
        }
        free
    }

    fn end_wait(
        &self,
        py: Python<'_>,
        waiter: &Py<PyAny>,
        outcome: Result<(), Raised>,
    ) -> Result<(), Raised> {
        if outcome.is_err() && status(py, waiter) == Some(Status::Returned) {
            // We were woken, and given one, but go: it goes back.
            self.add(py, 1);
        }
        // As many as may go on: some had to wait although there was enough, because others were there before.
        while self.value_attribute(py) > 0 && self.wake_next(py)? {}
        outcome
    }
}

#[pymethods]
impl Semaphore {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            count: Owned::new(Count {
                value: 1,
                most: i64::MAX,
            }),
            waiters: Waiters::new(),
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
        self.count.with(py, |count| {
            count.value = value;
            count.most = if bounded { value } else { i64::MAX };
        });
        Ok(())
    }

    /// Return whether it cannot be acquired at once. Not a checkpoint.
    fn locked(&self, py: Python<'_>) -> bool {
        self.value_attribute(py) == 0 || !self.waiters.all_cancelled(py)
    }

    /// Add one to the counter; whoever has waited longest gets it.
    ///
    /// Raises:
    ///     ValueError: A bounded semaphore was released more often than it was acquired.
    ///
    /// Not a checkpoint.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let released = self.count.with(py, |count| {
            let may = count.value < count.most;
            count.value += i64::from(may);
            may
        });
        if !released {
            return Err(PyValueError::new_err(
                "BoundedSemaphore released too many times",
            ));
        }
        self.wake_next(py).map(drop)
    }

    #[getter(_value)]
    fn value_attribute(&self, py: Python<'_>) -> i64 {
        self.count.with(py, |count| count.value)
    }

    #[setter(_value)]
    fn set_value_attribute(&self, py: Python<'_>, value: i64) {
        self.count.with(py, |count| count.value = value);
    }

    #[getter(_bound_value)]
    fn most_attribute(&self, py: Python<'_>) -> i64 {
        self.count.with(py, |count| count.most)
    }
}

gate!(Semaphore);
waited_at!(Semaphore);
