//! The functions that stand for a task where a callback is needed: among the callbacks of a future of another kind, on a loop of
//! another kind, in debug mode, and for whoever looks.

use super::{TaskRef, step};
use crate::owned::Owned;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::{PyResult, Python};

/// Which step it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Called by a future that has ended, with itself.
    Wakeup,
    /// Called by a loop, without anything.
    Step,
}

/// Steps a task; not for direct use.
#[pyclass(frozen, module = "tepal._tepal")]
pub(crate) struct TaskCallback {
    /// `None` when the collector has cleared it.
    task: Owned<Option<Py<PyAny>>>,
    purpose: Purpose,
}

/// The function by which a future wakes a task.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn wakeup(task: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    make(task, Purpose::Wakeup)
}

/// The function by which a loop steps a task.
///
/// # Errors
///
/// MemoryError.
pub(super) fn step(task: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    make(task, Purpose::Step)
}

fn make(task: Bound<'_, PyAny>, purpose: Purpose) -> PyResult<Bound<'_, PyAny>> {
    let py = task.py();
    let task = Owned::new(Some(task.unbind()));
    Ok(Bound::new(py, TaskCallback { task, purpose })?.into_any())
}

#[pymethods]
impl TaskCallback {
    #[pyo3(signature = (future = None, /))]
    fn __call__(&self, py: Python<'_>, future: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(task) = self.task(py) else {
            return Ok(());
        };
        // SAFETY: only tasks are put here.
        let task = unsafe { TaskRef::of(&task) };
        match (self.purpose, future) {
            (Purpose::Wakeup, Some(future)) => step::wake(task, future),
            _ => step::run_by_call(task),
        }
    }

    /// The task, as a bound method has it: asyncio names a slow callback's task by it.
    #[getter]
    fn __self__<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.task(py)
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        match self.purpose {
            Purpose::Wakeup => "task_wakeup",
            Purpose::Step => "task_step",
        }
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        match self.purpose {
            Purpose::Wakeup => "Task.task_wakeup",
            Purpose::Step => "Task.task_step",
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let task = self.task(py);
        let shown = match &task {
            Some(task) => task.repr()?.extract()?,
            None => String::from("None"),
        };
        Ok(format!("<{} of {shown}>", self.__qualname__()))
    }

    /// One is as good as another for the same task: they are made when somebody looks.
    fn __richcmp__(&self, other: &Bound<'_, Self>, operation: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let equal = self.purpose == other.get().purpose
            && match (self.task(py), other.get().task(py)) {
                (Some(one), Some(another)) => one.is(&another),
                _ => false,
            };
        Ok(match operation {
            CompareOp::Eq => equal.into_pyobject(py)?.to_owned().into_any().unbind(),
            CompareOp::Ne => (!equal).into_pyobject(py)?.to_owned().into_any().unbind(),
            _ => py.NotImplemented(),
        })
    }

    fn __hash__(&self, py: Python<'_>) -> usize {
        self.task(py).map_or(0, |task| task.as_ptr() as usize)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.task
            .try_with(|task| visit.call(&*task))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| drop(self.task.with(py, Option::take)));
    }
}

impl TaskCallback {
    fn task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let task = self
            .task
            .with(py, |task| task.as_ref().map(|task| task.clone_ref(py)));
        task.map(|task| task.into_bound(py))
    }
}
