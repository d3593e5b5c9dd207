//! Who waits for a future, and how they are told.

use crate::event_loop::{Job, Loop};
use crate::nursery::Nursery;
use crate::raw::context;
use crate::raw::handle::{self, Purpose};
use crate::raw::task;
use crate::sync::{Observer, TaskGroup, Told};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyResult, Python};
use tepal_core::nursery::ChildKey;

/// One who waits.
pub(crate) enum Callback {
    /// A function, called with the future in its context.
    Call {
        function: Py<PyAny>,
        context: Py<PyAny>,
    },
    /// A task of ours that awaits the future.
    Wake(Py<PyAny>),
    /// One that looks after several futures.
    Tell(Py<Observer>),
    /// The task group that the task belongs to, under this key.
    Member(Py<TaskGroup>, ChildKey),
    /// The nursery whose child the task is, under this key: told at once, not in a coming turn.
    Child(Py<Nursery>, ChildKey),
}

impl Callback {
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Call { function, context } => Self::Call {
                function: function.clone_ref(py),
                context: context.clone_ref(py),
            },
            Self::Wake(task) => Self::Wake(task.clone_ref(py)),
            Self::Tell(observer) => Self::Tell(observer.clone_ref(py)),
            Self::Member(group, key) => Self::Member(group.clone_ref(py), *key),
            Self::Child(nursery, key) => Self::Child(nursery.clone_ref(py), *key),
        }
    }

    /// As Python sees it: a function and the context in which it is called.
    ///
    /// # Errors
    ///
    /// MemoryError.
    pub(crate) fn into_pair<'py>(
        self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        match self {
            Self::Call { function, context } => {
                Ok((function.into_bound(py), context.into_bound(py)))
            }
            Self::Wake(task) => {
                let context = task::context(task.bind(py))?;
                Ok((task::wakeup(task.into_bound(py))?, context))
            }
            Self::Tell(observer) => {
                let context = context::given_or_current(py, None)?;
                Ok((observer.into_bound(py).into_any(), context))
            }
            Self::Member(group, key) => {
                let context = context::given_or_current(py, None)?;
                Ok((TaskGroup::callback(group.bind(py), key)?, context))
            }
            Self::Child(nursery, key) => {
                let context = context::given_or_current(py, None)?;
                Ok((Nursery::callback(nursery.bind(py), key)?, context))
            }
        }
    }
}

/// Those who wait, in the order in which they came. Mostly there is one.
pub(crate) struct Callbacks {
    first: Option<Callback>,
    more: Vec<Callback>,
}

impl Callbacks {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, callback: Callback) {
        if self.is_empty() {
            self.first = Some(callback);
        } else {
            self.more.push(callback);
        }
    }

    /// Takes an observer out; what is returned is to be dropped elsewhere.
    #[must_use]
    pub(crate) fn remove_observer(&mut self, observer: &Bound<'_, Observer>) -> Vec<Callback> {
        let is_it = |callback: &mut Callback| match callback {
            Callback::Tell(told) => told.is(observer),
            Callback::Call { .. }
            | Callback::Wake(_)
            | Callback::Member(..)
            | Callback::Child(..) => false,
        };
        let first = self.first.take_if(is_it);
        first
            .into_iter()
            .chain(self.more.extract_if(.., is_it))
            .collect()
    }

    /// Whether nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    /// Everybody, taken out.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// The first, and the others. (As one iterator the two cost more than what is done with the one that there mostly is.)
    #[inline]
    pub(crate) fn into_parts(self) -> (Option<Callback>, Vec<Callback>) {
        (self.first, self.more)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Callback> {
        self.first.iter().chain(&self.more)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Py<PyAny>> {
        self.iter().flat_map(|callback| {
            let (one, other) = match callback {
                Callback::Call { function, context } => (function, Some(context)),
                Callback::Wake(task) => (task, None),
                Callback::Tell(observer) => (observer.as_any(), None),
                Callback::Member(group, _) => (group.as_any(), None),
                Callback::Child(nursery, _) => (nursery.as_any(), None),
            };
            std::iter::once(one).chain(other)
        })
    }
}

impl IntoIterator for Callbacks {
    type Item = Callback;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Callback>, std::vec::IntoIter<Callback>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

impl FromIterator<Callback> for Callbacks {
    fn from_iter<I: IntoIterator<Item = Callback>>(callbacks: I) -> Self {
        let mut all = Self::new();
        for callback in callbacks {
            all.push(callback);
        }
        all
    }
}

/// Has the loop call back in its next turn.
///
/// # Errors
///
/// What the loop's `call_soon` raises: RuntimeError when it is closed, or in debug mode from another thread.
///
/// # Safety
///
/// With `native`, the loop is a [`Loop`].
#[inline]
pub(crate) unsafe fn call_soon(
    event_loop: &Bound<'_, PyAny>,
    native: bool,
    callback: Callback,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if let Callback::Child(nursery, key) = callback {
        return Nursery::handle_end(nursery.bind(future.py()), key, future);
    }
    if native {
        // SAFETY: the caller's promise.
        let event_loop = unsafe { event_loop.cast_unchecked::<Loop>() };
        if event_loop.get().is_plain() {
            return schedule(event_loop, callback, future);
        }
    }
    let (function, context) = callback.into_pair(event_loop.py())?;
    call_soon_by_name(event_loop, (function, future), &context)
}

#[inline]
fn schedule(
    event_loop: &Bound<'_, Loop>,
    callback: Callback,
    future: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = event_loop.py();
    let job = match callback {
        Callback::Wake(task) => Job::Task(task),
        Callback::Tell(observer) => {
            tell(event_loop, observer, future.clone().unbind());
            return Ok(());
        }
        Callback::Member(group, key) => {
            tell(event_loop, group, key);
            return Ok(());
        }
        Callback::Child(nursery, key) => {
            return Nursery::handle_end(nursery.bind(py), key, future);
        }
        Callback::Call { function, context } => {
            // SAFETY: a loop of ours; the function and the future live through the call; the context is handed over.
            let handle = unsafe {
                handle::new(
                    py,
                    &Purpose::Soon,
                    event_loop.as_ptr(),
                    function.as_ptr(),
                    [future.as_ptr()].as_ptr(),
                    1,
                    context.into_ptr(),
                )?
            };
            drop(function.into_bound(py));
            if !event_loop.get().is_running_now() {
                // SAFETY: just made.
                unsafe { handle::track(handle) };
            }
            // SAFETY: a new strong reference.
            Job::Handle(unsafe { Bound::from_owned_ptr(py, handle) }.unbind())
        }
    };
    event_loop.get().schedule(py, job);
    Ok(())
}

/// Puts what has ended into the inbox of one who is told, and a job for it into the ready queue, unless the job that stands there last is
/// his as well.
#[inline]
fn tell<T: Told>(event_loop: &Bound<'_, Loop>, told: Py<T>, ended: T::Ended) {
    let py = event_loop.py();
    let joins = event_loop
        .get()
        .newest_is(py, |job| T::is_told_by(&told, job));
    told.get().inbox(py, |inbox| inbox.push(ended, joins));
    if joins {
        drop(told.into_bound(py));
    } else {
        event_loop.get().schedule(py, T::job(told));
    }
}

/// `loop.call_soon(function, argument, context=context)`, whatever that is.
///
/// # Errors
///
/// What it raises.
#[cold]
pub(crate) fn call_soon_by_name<'py>(
    event_loop: &Bound<'py, PyAny>,
    arguments: impl pyo3::call::PyCallArgs<'py>,
    context: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = event_loop.py();
    let keywords = PyDict::new(py);
    keywords.set_item(pyo3::intern!(py, "context"), context)?;
    event_loop
        .call_method(pyo3::intern!(py, "call_soon"), arguments, Some(&keywords))
        .map(drop)
}
