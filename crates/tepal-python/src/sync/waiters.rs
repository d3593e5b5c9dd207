//! Who waits at a primitive, and on which loop.

use crate::event_loop;
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::future::{self, FutureRef, Status};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::ffi::c_int;

/// The futures of those who wait, first come, first served. A future stays until its waiter takes it out.
pub(crate) struct Waiters(Owned<VecDeque<Py<PyAny>>>);

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self(Owned::new(VecDeque::new()))
    }

    pub(crate) fn len(&self, py: Python<'_>) -> usize {
        self.0.with(py, |futures| futures.len())
    }

    /// One more waits at the primitive: `routine` keeps his future, until the wait has ended.
    ///
    /// # Errors
    ///
    /// As [`LoopBound::create_future`].
    pub(crate) fn join<'py>(
        &self,
        primitive: &Bound<'py, PyAny>,
        bound: &LoopBound,
        routine: &mut Option<Py<PyAny>>,
    ) -> Resumed<'py> {
        let py = primitive.py();
        let future = bound.create_future(primitive)?;
        let (listed, kept) = (future.clone().unbind(), future.clone().unbind());
        self.0.with(py, |futures| futures.push_back(listed));
        *routine = Some(kept);
        Ok(Step::Wait(future))
    }

    /// Takes a future out, if it is still there.
    pub(crate) fn leave(&self, py: Python<'_>, future: &Py<PyAny>) {
        let held = self.0.with(py, |futures| {
            let place = futures.iter().position(|one| one.is(future))?;
            futures.remove(place)
        });
        drop(held);
    }

    /// Takes the first out.
    #[must_use]
    pub(crate) fn pop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, VecDeque::pop_front)
    }

    /// Everybody, in order.
    pub(crate) fn all(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.0.with(py, |futures| {
            futures.iter().map(|future| future.clone_ref(py)).collect()
        })
    }

    /// The first.
    pub(crate) fn first(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, |futures| {
            futures.front().map(|future| future.clone_ref(py))
        })
    }

    /// The first whose wait has not ended.
    pub(crate) fn first_pending(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.with(py, |futures| {
            let mut pending = futures
                .iter()
                .filter(|future| status(py, future) == Some(Status::Pending));
            pending.next().map(|future| future.clone_ref(py))
        })
    }

    /// Whether nobody waits who could still be woken.
    pub(crate) fn all_cancelled(&self, py: Python<'_>) -> bool {
        self.0.with(py, |futures| {
            futures
                .iter()
                .all(|future| status(py, future) == Some(Status::Cancelled))
        })
    }

    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self
            .0
            .try_with(|futures| futures.iter().try_for_each(|future| visit.call(future)));
        shown.unwrap_or(Ok(()))
    }

    pub(crate) fn clear(&self) {
        crate::raw::attached(|py| drop(self.0.with(py, std::mem::take)));
    }
}

/// How a waiter's future stands; `None` if it is none of ours.
pub(crate) fn status(py: Python<'_>, future: &Py<PyAny>) -> Option<Status> {
    FutureRef::exact(future.bind(py)).map(|future| future.status())
}

/// What the classes with one list of waiters, `waiters`, and one loop, `bound`, show of it to Python and to the collector.
macro_rules! waited_at {
    ($class:ident) => {
        $crate::sync::waiters::bound_to_a_loop!($class);

        #[pymethods]
        impl $class {
            #[getter(_waiters)]
            fn waiters_attribute(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
                self.waiters.all(py)
            }

            fn __traverse__(
                &self,
                visit: pyo3::gc::PyVisit<'_>,
            ) -> Result<(), pyo3::gc::PyTraverseError> {
                self.waiters.show(&visit)?;
                self.bound.show(&visit)
            }

            fn __clear__(&self) {
                self.waiters.clear();
                self.bound.clear();
            }
        }
    };
}
pub(crate) use waited_at;

/// The attribute by which asyncio's primitives know their loop, `bound`.
macro_rules! bound_to_a_loop {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            #[getter(_loop)]
            fn loop_attribute(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                self.bound.get(py)
            }

            #[setter(_loop)]
            fn set_loop_attribute(&self, py: Python<'_>, event_loop: Option<Py<PyAny>>) {
                self.bound.set(py, event_loop);
            }
        }
    };
}
pub(crate) use bound_to_a_loop;

/// Ends a waiter's wait, unless it has ended.
///
/// # Errors
///
/// What the loop's `call_soon` raises.
pub(crate) fn wake(py: Python<'_>, future: &Py<PyAny>, value: bool) -> PyResult<bool> {
    let Some(future) = FutureRef::exact(future.bind(py)) else {
        return Ok(false);
    };
    if future.status() != Status::Pending {
        return Ok(false);
    }
    let value = if value {
        pyo3::types::PyBool::new(py, true).to_owned().into_any()
    } else {
        py.None().into_bound(py)
    };
    future.set_result(value)?;
    Ok(true)
}

/// How a wait ended: with an exception that was thrown, or with what the future says.
///
/// # Errors
///
/// That exception; RuntimeError when it has not ended, and somebody else than a task resumed the coroutine.
#[inline]
pub(crate) fn woken(
    py: Python<'_>,
    future: &Py<PyAny>,
    thrown: Option<Raised>,
) -> Result<(), Raised> {
    if let Some(thrown) = thrown {
        return Err(thrown);
    }
    match FutureRef::exact(future.bind(py)) {
        Some(future) if future.status() == Status::Returned => Ok(()),
        Some(future) if future.status() != Status::Pending => Ok(future.result().map(drop)?),
        _ => Err(PyRuntimeError::new_err("await wasn't used with future").into()),
    }
}

/// Shows a routine's future, and its primitive.
pub(crate) fn show(held: &[Option<&Py<PyAny>>], see: &mut dyn FnMut(Object) -> c_int) -> c_int {
    crate::raw::native_state::show_all(held.iter().copied().flatten(), see)
}

/// The loop at which a primitive was first waited at: it stays with that.
pub(crate) struct LoopBound(Owned<Option<Py<PyAny>>>);

impl LoopBound {
    pub(crate) const fn new() -> Self {
        Self(Owned::new(None))
    }

    /// A future of the running loop, which is the one of all who waited before.
    ///
    /// # Errors
    ///
    /// RuntimeError when no loop runs, or one that is not tepal's, or another than before.
    pub(crate) fn create_future<'py>(
        &self,
        primitive: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = primitive.py();
        let running = event_loop::running(py)?;
        let same = self.0.with(py, |bound| match bound {
            Some(bound) => bound.is(&running),
            None => {
                *bound = Some(running.clone().into_any().unbind());
                true
            }
        });
        if !same {
            let shown = primitive.repr()?;
            let message = format!("{shown} is bound to a different event loop");
            return Err(PyRuntimeError::new_err(message));
        }
        future::new(&running)
    }

    /// The loop, or None.
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0
            .with(py, |bound| bound.as_ref().map(|bound| bound.clone_ref(py)))
    }

    pub(crate) fn set(&self, py: Python<'_>, event_loop: Option<Py<PyAny>>) {
        let old = self
            .0
            .with(py, |bound| std::mem::replace(bound, event_loop));
        drop(old);
    }

    pub(crate) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0
            .try_with(|bound| visit.call(&*bound))
            .unwrap_or(Ok(()))
    }

    pub(crate) fn clear(&self) {
        crate::raw::attached(|py| drop(self.0.with(py, Option::take)));
    }
}
