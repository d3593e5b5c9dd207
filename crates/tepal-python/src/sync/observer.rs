//! What stands for `gather()`, `wait()` and `shield()` among the callbacks of the futures they look after.
//!
//! A future of ours that ends puts itself into the observer's inbox and the observer into the ready queue, where asyncio would put a
//! handle for a Python function: the order of events is the same, and nothing is called. To futures of any other kind, on other loops
//! and in debug mode the observer is a function that is called with the future.

use super::any_future;
use super::gather::Gather;
use super::inbox::{Inbox, Told};
use super::shield::Shield;
use super::wait::Wait;
use crate::event_loop::Job;
use crate::owned::Owned;
use crate::raw::future::{Callback, FutureRef};
use crate::raw::task::{self, note_end_of_wait, note_wait};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

/// For whom futures are observed.
pub(crate) enum Purpose {
    Gather(Gather),
    Wait(Wait),
    Shield(Shield),
    /// It has ended: what is still told is of no interest.
    Over,
}

/// Told when futures end; not for direct use.
#[pyclass(frozen, module = "tepal._tepal")]
pub(crate) struct Observer {
    purpose: Owned<Purpose>,
    inbox: Owned<Inbox<Py<PyAny>>>,
    /// The task that waits for all of them, for the call graph (3.14 and newer).
    parent: Owned<Option<Py<PyAny>>>,
}

impl Observer {
    /// # Errors
    ///
    /// MemoryError; RuntimeError when no loop runs.
    pub(crate) fn new<'py>(py: Python<'py>, purpose: Purpose) -> PyResult<Bound<'py, Self>> {
        let parent = if cfg!(Py_3_14) {
            task::current(py)?.map(Bound::unbind)
        } else {
            None
        };
        let observer = Self {
            purpose: Owned::new(purpose),
            inbox: Owned::new(Inbox::new()),
            parent: Owned::new(parent),
        };
        Bound::new(py, observer)
    }

    /// Borrows what it is for; see [`Owned`] for the rule.
    #[inline]
    pub(crate) fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut Purpose) -> R) -> R {
        self.purpose.with(py, act)
    }

    /// Ends its work, and lets go of all it holds.
    pub(crate) fn end(&self, py: Python<'_>) {
        let old = self.with(py, |purpose| std::mem::replace(purpose, Purpose::Over));
        drop(old);
        let parent = self.parent.with(py, Option::take);
        drop(parent);
    }

    /// The task that waits, where that is kept.
    pub(crate) fn parent(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.parent
            .with(py, |parent| parent.as_ref().map(|task| task.clone_ref(py)))
    }

    /// Has the future tell of its end: in a coming turn if it has ended already.
    ///
    /// # Errors
    ///
    /// What a foreign `add_done_callback` raises.
    #[inline]
    pub(crate) fn watch<'py>(slf: &Bound<'py, Self>, future: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if let Some(parent) = slf.get().parent(py) {
            note_wait(future, parent.bind(py))?;
        }
        if let Some(future) = FutureRef::exact(future) {
            return future.add(Callback::Tell(slf.clone().unbind()));
        }
        future
            .call_method1(pyo3::intern!(py, "add_done_callback"), (slf,))
            .map(drop)
    }

    /// Takes the observer off the future's callbacks.
    ///
    /// # Errors
    ///
    /// What a foreign `remove_done_callback` raises.
    pub(crate) fn unwatch<'py>(slf: &Bound<'py, Self>, future: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = slf.py();
        slf.get().note_end(future)?;
        if let Some(future) = FutureRef::exact(future) {
            future.remove_observer(slf);
            return Ok(());
        }
        future
            .call_method1(pyo3::intern!(py, "remove_done_callback"), (slf,))
            .map(drop)
    }

    /// The parent does not wait for this future any more.
    fn note_end(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        if !cfg!(Py_3_14) {
            return Ok(());
        }
        let py = future.py();
        match self.parent(py) {
            Some(parent) => note_end_of_wait(future, parent.bind(py)),
            None => Ok(()),
        }
    }

    fn tell<'py>(slf: &Bound<'py, Self>, future: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = slf.py();
        slf.get().note_end(future)?;
        let kind = slf.get().with(py, |purpose| match purpose {
            Purpose::Gather(_) => Some(Gather::handle_done as fn(&Bound<'py, Self>, &_) -> _),
            Purpose::Wait(_) => Some(Wait::handle_done as _),
            Purpose::Shield(_) => Some(Shield::handle_done as _),
            Purpose::Over => None,
        });
        match kind {
            Some(handle_done) => handle_done(slf, future),
            // Nobody waits any more; an exception counts as seen, as it does when asyncio's function looks at it.
            None => any_future::look(future),
        }
    }
}

impl Told for Observer {
    type Ended = Py<PyAny>;

    fn inbox<R>(&self, py: Python<'_>, act: impl FnOnce(&mut Inbox<Py<PyAny>>) -> R) -> R {
        self.inbox.with(py, act)
    }

    fn job(this: Py<Self>) -> Job {
        Job::Told(this)
    }

    fn is_told_by(this: &Py<Self>, job: &Job) -> bool {
        matches!(job, Job::Told(told) if told.is(this))
    }

    fn handle_end(slf: &Bound<'_, Self>, ended: Py<PyAny>) -> PyResult<()> {
        Self::tell(slf, &ended.into_bound(slf.py()))
    }
}

#[pymethods]
impl Observer {
    fn __call__<'py>(slf: &Bound<'py, Self>, future: &Bound<'py, PyAny>) -> PyResult<()> {
        Self::tell(slf, future)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = self.with(py, |purpose| match purpose {
            Purpose::Gather(_) => "gather",
            Purpose::Wait(_) => "wait",
            Purpose::Shield(_) => "shield",
            Purpose::Over => "nobody",
        });
        format!("<tepal observer for {name}>")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.purpose.try_with(|purpose| match purpose {
            Purpose::Gather(gather) => gather.show(&visit),
            Purpose::Wait(wait) => wait.show(&visit),
            Purpose::Shield(shield) => shield.show(&visit),
            Purpose::Over => Ok(()),
        });
        shown.unwrap_or(Ok(()))?;
        let shown = self
            .inbox
            .try_with(|inbox| inbox.iter().try_for_each(|future| visit.call(future)));
        shown.unwrap_or(Ok(()))?;
        self.parent
            .try_with(|parent| visit.call(&*parent))
            .unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            self.end(py);
            let inbox = self.inbox.with(py, std::mem::take);
            drop(inbox);
        });
    }
}
