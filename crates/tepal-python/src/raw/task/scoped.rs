//! How a task stands among cancel scopes (`crate::scope`), and how it hears of them.
//!
//! `task.cancel()` is asyncio's: an edge, thrown once, and counted. A scope's cancellation is a level: as long as the innermost scope that
//! a task is in is cancelled, whatever it parks at is broken off. Nothing looks for such tasks. One that waits is told when its
//! scope is cancelled; one that runs is looked at when it parks, by a flag that costs the others a branch.
//!
//! **Which goes first.** A step throws one exception. A request of asyncio's does before a scope's cancellation: it would be lost
//! otherwise, while the scope's comes back at the next park (`tests/scopes/test_two_kinds.py`).
//!
//! **Resistance.** A task that swallows every cancellation and parks again would have the loop turn as fast as it can. After the first
//! [`BURST`] deliveries it is told only every [`PAUSE`] seconds.

use super::{TaskRef, cancel_awaited};
use crate::event_loop::{Job, Loop};
use crate::scope::{CancelScope, cancelled_error};
use pyo3::PyResult;
use pyo3::prelude::*;
use tepal_core::scope::MemberKey;

/// How often a task is told at once, from when its scope is cancelled on: enough for a clean-up that closes many things in turn.
const BURST: u32 = 1_000;

/// How long a task that still resists then rests, in seconds.
const PAUSE: f64 = 1e-3;

/// A task's place in the forest of scopes.
pub(crate) struct Scoped {
    /// The innermost scope that it is in.
    pub(crate) scope: Option<Py<CancelScope>>,
    /// By which the loop's forest knows it, as long as it is in a scope.
    pub(crate) member: Option<MemberKey>,
    /// That scope is cancelled, itself or from outside.
    pub(crate) cancelled: bool,
    /// It waits for children who hear of the cancellation themselves.
    pub(crate) deaf: bool,
    pub(super) flight: Flight,
    /// How often it was told since its scope was cancelled.
    deliveries: u32,
}

/// What was done to what a task waits for, until the step that follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flight {
    #[default]
    Nothing,
    /// It was cancelled by a request of asyncio's.
    Request,
    /// It was cancelled for a scope's sake.
    Scope,
    /// It was no future but a bare yield, which a scope breaks off.
    ScopeAtYield,
}

impl Scoped {
    /// In no scope.
    pub(crate) const fn none() -> Self {
        Self {
            scope: None,
            member: None,
            cancelled: false,
            deaf: false,
            flight: Flight::Nothing,
            deliveries: 0,
        }
    }

    /// Notes whether its innermost scope is cancelled.
    #[inline]
    pub(crate) fn set_cancelled(&mut self, cancelled: bool) {
        if !cancelled {
            self.deliveries = 0;
        }
        self.cancelled = cancelled;
    }
}

impl TaskRef<'_, '_> {
    /// Breaks off what the task waits for, if its scope is cancelled and that has not been done.
    ///
    /// # Errors
    ///
    /// What cancelling something foreign raises.
    pub(super) fn deliver(&self) -> PyResult<()> {
        let py = self.py();
        let waiter = self.with(|state| {
            let scoped = &state.scoped;
            let hears = scoped.cancelled && !scoped.deaf && scoped.flight == Flight::Nothing;
            state
                .waiter
                .as_ref()
                .filter(|_| hears)
                .map(|waiter| waiter.clone_ref(py))
        });
        let Some(waiter) = waiter else {
            return Ok(()); // it runs, or is about to: it is looked at when it parks
        };
        if cancel_awaited(&waiter.into_bound(py), None)? {
            self.with(|state| {
                if state.scoped.flight == Flight::Nothing {
                    state.scoped.flight = Flight::Scope;
                }
                state.scoped.deliveries += 1;
            });
        }
        Ok(())
    }

    /// It has parked at a future, with its scope cancelled.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::deliver`].
    #[cold]
    pub(super) fn handle_park(&self) -> PyResult<()> {
        if self.with(|state| state.scoped.deliveries < BURST) {
            return self.deliver();
        }
        self.schedule_after_pause(Job::Deliver(self.object().clone().unbind()))
    }

    /// It has parked at a bare yield, with its scope cancelled: its next step throws.
    ///
    /// # Errors
    ///
    /// What a foreign loop's clock raises.
    #[cold]
    pub(super) fn handle_yield(&self) -> PyResult<()> {
        let resists = self.with(|state| {
            state.scoped.flight = Flight::ScopeAtYield;
            state.scoped.deliveries += 1;
            state.scoped.deliveries > BURST
        });
        if resists {
            return self.schedule_after_pause(Job::Task(self.object().clone().unbind()));
        }
        self.step_soon(None)
    }

    fn schedule_after_pause(&self, job: Job) -> PyResult<()> {
        let event_loop = self.future.event_loop()?;
        let event_loop = event_loop.cast::<Loop>()?;
        let when = Loop::now(event_loop)? + PAUSE;
        let _key = event_loop
            .get()
            .with(self.py(), |state| state.turn.schedule_at(when, job));
        Ok(())
    }

    /// The exception with which its scope breaks off what it waits for.
    ///
    /// # Errors
    ///
    /// MemoryError.
    #[cold]
    pub(super) fn scope_error<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let scope = self.with(|state| {
            let scope = state.scoped.scope.as_ref();
            scope.map(|scope| scope.clone_ref(py))
        });
        cancelled_error(py, scope.as_ref())
    }
}

/// A task of ours whose scope was cancelled, or is not any more.
///
/// # Errors
///
/// As [`TaskRef::deliver`].
pub(super) fn tell(task: TaskRef<'_, '_>, cancelled: bool) -> PyResult<()> {
    task.with(|state| state.scoped.set_cancelled(cancelled));
    task.deliver()
}

/// Does a task's job: it resisted, and is told again.
///
/// # Errors
///
/// As [`TaskRef::deliver`].
pub(crate) fn deliver(task: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: only tasks of ours have that job.
    unsafe { TaskRef::of(task) }.deliver()
}

/// A task's place among the scopes of its loop, of whatever kind it is.
pub(crate) struct Seat<'a, 'py> {
    event_loop: &'a Bound<'py, Loop>,
    task: &'a Bound<'py, PyAny>,
    /// `None` for a task that is asyncio's own, whose place the loop keeps (`crate::scope::strangers`).
    ours: Option<TaskRef<'a, 'py>>,
}

impl<'a, 'py> Seat<'a, 'py> {
    #[inline]
    pub(crate) fn of(event_loop: &'a Bound<'py, Loop>, task: &'a Bound<'py, PyAny>) -> Self {
        Self {
            event_loop,
            task,
            ours: TaskRef::any(task),
        }
    }

    /// Borrows the place; see [`crate::owned::Owned`] for the rule.
    #[inline]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Scoped) -> R) -> R {
        match &self.ours {
            Some(ours) => ours.with(|state| act(&mut state.scoped)),
            None => crate::scope::with_stranger(self.event_loop, self.task, act),
        }
    }

    /// Under which the loop keeps the task.
    ///
    /// # Errors
    ///
    /// RuntimeError for a task that is done, or another loop's.
    #[inline]
    pub(crate) fn key(&self) -> PyResult<usize> {
        match &self.ours {
            Some(ours) => ours.kept_key(),
            None => Ok(crate::scope::keep_stranger(self.event_loop, self.task)),
        }
    }

    /// It is in no scope any more.
    #[inline]
    pub(crate) fn leave(&self) {
        if self.ours.is_none() {
            crate::scope::forget_stranger(self.event_loop, self.task);
        }
    }

    /// It is in a cancelled scope now, or is not any more.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::deliver`].
    pub(crate) fn tell(&self, cancelled: bool) -> PyResult<()> {
        match self.ours {
            Some(ours) => tell(ours, cancelled),
            None => crate::scope::tell_stranger(self.event_loop, self.task, cancelled),
        }
    }
}
