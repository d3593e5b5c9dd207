//! Those who are told when futures end, and what they have not looked at yet.
//!
//! For each future that ends asyncio puts a handle into the ready queue, and a loop whose tasks end by the hundred is busy with such handles. Here the
//! job of one future looks at those behind it as well, as long as nothing stands between them in the queue: the
//! order of events is the same (`conformance/twins/test_together.py`), and most of the jobs are saved.

use crate::event_loop::Job;
use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use std::collections::VecDeque;

/// What has ended, in order; a job in the ready queue stands for each run of them.
pub(crate) struct Inbox<T>(VecDeque<Ended<T>>);

struct Ended<T> {
    what: T,
    /// It belongs to the run of the one before it.
    joins: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Inbox<T> {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// One more has ended. If it `joins`, the job of the one before stands for it, too.
    #[inline]
    pub(crate) fn push(&mut self, what: T, joins: bool) {
        self.0.push_back(Ended { what, joins });
    }

    /// The first of the next run.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.0.pop_front().map(|ended| ended.what)
    }

    /// The next of the run of which one was popped.
    #[inline]
    pub(crate) fn pop_joined(&mut self) -> Option<T> {
        if self.0.front()?.joins {
            self.pop()
        } else {
            None
        }
    }

    /// Makes a run of what is left of the one of which one was popped; whether there is any, which then needs a job.
    pub(crate) fn part(&mut self) -> bool {
        match self.0.front_mut() {
            Some(ended) => std::mem::take(&mut ended.joins),
            None => false,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|ended| &ended.what)
    }
}

/// One who is told, by a job in the ready queue.
pub(crate) trait Told: PyClass<Frozen = True> + Sync {
    /// What he calls that which has ended.
    type Ended;

    /// Borrows his inbox.
    fn inbox<R>(&self, py: Python<'_>, act: impl FnOnce(&mut Inbox<Self::Ended>) -> R) -> R;

    /// The job that tells him.
    fn job(this: Py<Self>) -> Job;

    /// Whether it is this one.
    fn is_told_by(this: &Py<Self>, job: &Job) -> bool;

    /// Looks at one that has ended.
    ///
    /// # Errors
    ///
    /// What a future of another kind raises when it is asked.
    fn handle_end(slf: &Bound<'_, Self>, ended: Self::Ended) -> PyResult<()>;
}
