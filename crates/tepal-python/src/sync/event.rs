//! `Event`: asyncio's, to the letter.

use super::waiters::{show, waited_at, wake};
use super::{LoopBound, Routine, Waiters, woken};
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The native half of `tepal.Event`.
#[pyclass(subclass, frozen, module = "tepal._tepal")]
pub(crate) struct Event {
    set: AtomicBool,
    waiters: Waiters,
    bound: LoopBound,
}

#[pymethods]
impl Event {
    /// Arguments are `__init__`'s: a subclass may have other ones.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            set: AtomicBool::new(false),
            waiters: Waiters::new(),
            bound: LoopBound::new(),
        }
    }

    /// Return whether it is set. Not a checkpoint.
    fn is_set(&self) -> bool {
        self.set.load(Relaxed)
    }

    #[getter(_value)]
    fn value_attribute(&self) -> bool {
        self.is_set()
    }

    /// Set it; all who wait go on. Not a checkpoint.
    fn set(&self, py: Python<'_>) -> PyResult<()> {
        if !self.set.swap(true, Relaxed) {
            for future in self.waiters.all(py) {
                let _woken: bool = wake(py, &future, true)?;
            }
        }
        Ok(())
    }

    /// Unset it; whoever waits from now on waits until it is set again. Not a checkpoint.
    fn clear(&self) {
        self.set.store(false, Relaxed);
    }

    /// Wait until it is set.
    ///
    /// Returns:
    ///     True.
    ///
    /// Raises:
    ///     RuntimeError: It would have to wait, and no loop of tepal's runs in this thread, or another than others wait on.
    ///
    /// A checkpoint only if it must wait.
    fn wait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let routine = Wait {
            event: slf.clone().unbind(),
            waiter: None,
        };
        coroutine::new(slf.py(), Routine::WaitEvent(routine))
    }
}

waited_at!(Event);

/// `wait()`.
pub(crate) struct Wait {
    event: Py<Event>,
    waiter: Option<Py<PyAny>>,
}

impl Resume for Wait {
    const NAME: &'static str = "Event.wait";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        let event = self.event.bind(py);
        let this = event.get();
        if let Some(waiter) = self.waiter.take() {
            this.waiters.leave(py, &waiter);
            woken(py, &waiter, thrown)?;
        } else if !this.is_set() {
            return this
                .waiters
                .join(event.as_any(), &this.bound, &mut self.waiter);
        }
        Ok(Step::End(PyBool::new(py, true).to_owned().into_any()))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.event.as_any()), self.waiter.as_ref()], see)
    }
}
