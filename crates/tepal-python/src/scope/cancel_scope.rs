//! `CancelScope`: Trio's, on asyncio's tasks.
//!
//! **Whose cancellation it was** is decided at the end of the block. What a scope throws is a `Cancelled`, and every scope that is
//! cancelled, with none around it that is, catches all of them. An ordinary CancelledError is somebody's request and goes on; but one
//! that no request explains, while this scope's cancellation was under way, is ours all the same: code in between made it anew.

use super::tell;
use crate::event_loop::{self, Job, Loop};
use crate::owned::Owned;
use crate::raw::future::is_cancelled_error;
use crate::raw::ready::ready;
use crate::raw::task::{self, Seat};
use pyo3::exceptions::{
    PyBaseExceptionGroup, PyRuntimeError, PyTimeoutError, PyTypeError, PyValueError,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyString, PyType};
use tepal_core::scope::{Opening, ScopeKey};
use tepal_core::timers::TimerKey;

const NEVER: f64 = f64::INFINITY;

/// Who cancelled a scope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Explicit,
    Deadline,
    Nursery,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Deadline => "deadline",
            Self::Nursery => "nursery",
        }
    }
}

/// Why a scope was cancelled: nothing here keeps a task or an exception alive.
struct Cause {
    source: Source,
    reason: Option<Py<PyString>>,
    /// What the task that did it is called.
    task: Option<Py<PyAny>>,
}

enum Stage {
    Fresh,
    Active(Active),
    Over,
}

struct Active {
    event_loop: Py<Loop>,
    key: ScopeKey,
    host: Py<PyAny>,
    /// How many of asyncio's requests for cancellation the host had when it entered.
    requests: u32,
    timer: Option<TimerKey>,
}

struct State {
    stage: Stage,
    /// On the loop's clock, in seconds.
    deadline: f64,
    /// Seconds from when it is entered.
    relative: f64,
    shielded: bool,
    /// It raises TimeoutError when it has caught its cancellation.
    fails: bool,
    cause: Option<Cause>,
    caught: bool,
    /// The scope around it in its task, or of the nursery that its task belongs to.
    outer: Option<Py<CancelScope>>,
    /// The scope that took over what was inside this one.
    heir: Option<Py<CancelScope>>,
}

/// How a scope begins.
pub(crate) struct Options {
    pub(crate) deadline: f64,
    pub(crate) relative: f64,
    pub(crate) shielded: bool,
    pub(crate) fails: bool,
}

impl Options {
    pub(crate) const fn plain() -> Self {
        Self {
            deadline: NEVER,
            relative: NEVER,
            shielded: false,
            fails: false,
        }
    }
}

/// A part of a task that can be cancelled as a whole.
///
/// `with tepal.CancelScope() as scope:` (or `async with`) makes a block. Once the scope is cancelled, by `scope.cancel()` or because its
/// deadline has passed, whatever the block waits for is broken off by `tepal.Cancelled`, again and again until the block is left; there
/// the exception ends. Scopes inside it, and the tasks of nurseries inside it, are cancelled with it, but for what is shielded. Entering
/// and leaving are no checkpoints. The semantics are Trio's.
///
/// Args:
///     deadline: When it is cancelled, in seconds on the clock of `loop.time()`.
///     relative_deadline: The same, in seconds from when it is entered. The sooner of the two counts.
///     shield: What cancels the scopes around it does not reach the block.
#[pyclass(frozen, module = "tepal", weakref)]
pub(crate) struct CancelScope {
    state: Owned<State>,
}

/// How the block of a scope ends.
pub(crate) enum Collapse<'py> {
    /// With what it raised, or with nothing.
    AsItIs,
    /// Well: all that it raised was the scope's own cancellation.
    Caught,
    /// With another exception.
    Raise(Bound<'py, PyAny>),
}

impl CancelScope {
    pub(crate) fn from(options: &Options) -> Self {
        Self {
            state: Owned::new(State {
                stage: Stage::Fresh,
                deadline: options.deadline,
                relative: options.relative,
                shielded: options.shielded,
                fails: options.fails,
                cause: None,
                caught: false,
                outer: None,
                heir: None,
            }),
        }
    }

    #[inline]
    fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut State) -> R) -> R {
        self.state.with(py, act)
    }

    /// The loop that it is active on, and its name there.
    pub(crate) fn place<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, Loop>, ScopeKey)> {
        let place = self.with(py, |state| match &state.stage {
            Stage::Active(active) => Some((active.event_loop.clone_ref(py), active.key)),
            Stage::Fresh | Stage::Over => None,
        });
        place.map(|(event_loop, key)| (event_loop.into_bound(py), key))
    }

    /// The running task enters it.
    ///
    /// # Errors
    ///
    /// RuntimeError when it was entered before, when no loop of ours runs, or no task.
    #[inline]
    pub(crate) fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let event_loop = event_loop::running(py)?;
        let Some(host) = task::current(py)? else {
            return Err(PyRuntimeError::new_err(
                "a cancel scope is entered by a task, and none runs here",
            ));
        };
        let begins = this.with(py, |state| match state.stage {
            Stage::Fresh => Some((state.deadline, state.relative, state.shielded)),
            Stage::Active(_) | Stage::Over => None,
        });
        let Some((mut deadline, relative, shielded)) = begins else {
            return Err(PyRuntimeError::new_err(
                "Each CancelScope may only be used for a single 'with' block",
            ));
        };
        if deadline.min(relative) < NEVER {
            let now = Loop::now(&event_loop)?;
            deadline = deadline.min(now + relative);
            this.with(py, |state| {
                state.deadline = deadline;
                state.relative = NEVER;
            });
            if deadline <= now {
                Self::cancel_for(slf, Source::Deadline, None)?;
            }
        }
        let cancelled = this.with(py, |state| state.cause.is_some());
        let requests = task::requests(&host)?;
        let seat = Seat::of(&event_loop, &host);
        let key = seat.key()?;
        let member = seat.with(|scoped| scoped.member);
        let opening = Opening {
            shielded,
            cancelled,
            deadline,
        };
        let timed = (deadline < NEVER && !cancelled).then(|| slf.clone().unbind());
        let (scope, member, effective, timer) = event_loop.get().with(py, |state| {
            let (scope, member) = state.scopes.enter(member, key, opening);
            let timer = timed.map(|timed| state.turn.schedule_at(deadline, Job::EndScope(timed)));
            let effective = state.scopes.is_effectively_cancelled(scope);
            (scope, member, effective, timer)
        });
        let own = slf.clone().unbind();
        let outer = seat.with(|scoped| {
            scoped.member = Some(member);
            scoped.set_cancelled(effective);
            scoped.scope.replace(own)
        });
        this.with(py, |state| {
            state.outer = outer; // there was none: it is entered once
            state.stage = Stage::Active(Active {
                event_loop: event_loop.unbind(),
                key: scope,
                host: host.unbind(),
                requests,
                timer,
            });
        });
        Ok(())
    }

    /// Its block has ended.
    ///
    /// # Errors
    ///
    /// RuntimeError when that is not where it may end: in another task, or before a scope inside it.
    #[inline]
    pub(crate) fn exit<'py>(
        slf: &Bound<'py, Self>,
        exception: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Collapse<'py>> {
        let (py, this) = (slf.py(), slf.get());
        let active = this.with(py, |state| match &mut state.stage {
            stage @ Stage::Active(_) => Some(std::mem::replace(stage, Stage::Over)),
            Stage::Fresh | Stage::Over => None,
        });
        let Some(Stage::Active(active)) = active else {
            return Err(misnested(
                slf,
                "that is not active: it was never entered, or was exited already",
            ));
        };
        let event_loop = active.event_loop.into_bound(py);
        let host = active.host.into_bound(py);
        if let Some(timer) = active.timer {
            event_loop.get().cancel_timer(py, timer);
        }
        let seat = Seat::of(&event_loop, &host);
        let here = task::current(py)?.is_some_and(|current| current.is(&host));
        let member = seat.with(|scoped| scoped.member).filter(|_| here);
        let (left, effective, outside) = event_loop.get().with(py, |state| {
            let effective = state.scopes.is_effectively_cancelled(active.key);
            let outside = effective && state.scopes.is_cancelled_from_outside(active.key);
            let left = member
                .and_then(|member| state.scopes.exit(member, active.key).ok())
                .map(|(outer, changes)| {
                    let around = outer.map(|outer| state.scopes.is_effectively_cancelled(outer));
                    (around, changes)
                });
            (left, effective, outside)
        });
        let Some((around, changes)) = left else {
            return Err(Self::exit_badly(slf, &event_loop, active.key, &host, here));
        };
        let outer = this.with(py, |state| state.outer.take());
        let own = seat.with(|scoped| {
            if around.is_none() {
                scoped.member = None;
            }
            scoped.set_cancelled(around.unwrap_or(false));
            std::mem::replace(&mut scoped.scope, outer)
        });
        if around.is_none() {
            seat.leave();
        }
        drop(own);
        if !changes.is_empty() {
            tell(&event_loop, changes)?;
        }
        match exception {
            Some(exception) if effective && !outside => {
                Self::catch(slf, &host, active.requests, exception)
            }
            _ => Ok(Collapse::AsItIs),
        }
    }

    /// It is cancelled, and none around it is: its own cancellation ends here.
    #[cold]
    fn catch<'py>(
        slf: &Bound<'py, Self>,
        host: &Bound<'py, PyAny>,
        requests: u32,
        exception: &Bound<'py, PyAny>,
    ) -> PyResult<Collapse<'py>> {
        let (py, this) = (slf.py(), slf.get());
        let class = cancelled_class(py)?;
        let is_own = exception.is_instance(class)?;
        let rest =
            if is_own || (is_cancelled_error(exception)? && task::requests(host)? == requests) {
                None
            } else if exception.is_instance_of::<PyBaseExceptionGroup>() {
                let split = exception.call_method1(pyo3::intern!(py, "split"), (class,))?;
                let (own, rest): (Bound<'_, PyAny>, Bound<'_, PyAny>) = split.extract()?;
                if own.is_none() {
                    return Ok(Collapse::AsItIs);
                }
                Some(rest).filter(|rest| !rest.is_none())
            } else {
                return Ok(Collapse::AsItIs);
            };
        let fails = this.with(py, |state| {
            state.caught = true;
            state.fails
        });
        Ok(match rest {
            Some(rest) => Collapse::Raise(rest),
            None if fails => {
                let error = PyTimeoutError::new_err(());
                error.set_cause(py, Some(PyErr::from_value(exception.clone())));
                Collapse::Raise(error.into_value(py).into_bound(py).into_any())
            }
            None => Collapse::Caught,
        })
    }

    /// It is left where it must not be: what it was is undone as well as can be, and the program is told.
    #[cold]
    fn exit_badly(
        slf: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        key: ScopeKey,
        host: &Bound<'_, PyAny>,
        here: bool,
    ) -> PyErr {
        let py = slf.py();
        let changes = event_loop.get().with(py, |state| state.scopes.close(key));
        let mended = Self::take_out(slf, event_loop, host).and(tell(event_loop, changes));
        if let Err(error) = mended {
            return error;
        }
        let shown = |object: &Bound<'_, PyAny>| {
            object
                .repr()
                .map_or_else(|_| "?".into(), |text| text.to_string())
        };
        misnested(
            slf,
            &if here {
                format!("in {} that is still within a scope inside it", shown(host))
            } else {
                format!("outside of {}, which entered it", shown(host))
            },
        )
    }

    /// Takes it out of the chain of scopes that its host is in.
    fn take_out(
        slf: &Bound<'_, Self>,
        event_loop: &Bound<'_, Loop>,
        host: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let outer = this.with(py, |state| state.outer.take());
        let seat = Seat::of(event_loop, host);
        let innermost = seat.with(|scoped| scoped.scope.as_ref().map(|scope| scope.clone_ref(py)));
        if innermost.as_ref().is_some_and(|scope| scope.is(slf)) {
            let none = outer.is_none();
            let own = seat.with(|scoped| {
                if none {
                    scoped.member = None;
                }
                std::mem::replace(&mut scoped.scope, outer)
            });
            if none {
                seat.leave();
            }
            drop(own);
            return Ok(());
        }
        let mut next = innermost;
        while let Some(scope) = next {
            let around = scope.get().outer(py);
            if around.as_ref().is_some_and(|around| around.is(slf)) {
                let own = scope
                    .get()
                    .with(py, |state| std::mem::replace(&mut state.outer, outer));
                drop(own);
                return Ok(());
            }
            next = around;
        }
        Ok(())
    }

    /// The scope around it.
    fn outer(&self, py: Python<'_>) -> Option<Py<Self>> {
        self.with(py, |state| {
            let outer = state.heir.as_ref().or(state.outer.as_ref());
            outer.map(|outer| outer.clone_ref(py))
        })
    }

    /// What was inside this one is inside another from now on.
    pub(crate) fn set_heir(&self, py: Python<'_>, heir: Py<Self>) {
        let old = self.with(py, |state| state.heir.replace(heir));
        drop(old);
    }

    pub(crate) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.cause.is_some())
    }

    /// Cancels it, unless that is done.
    ///
    /// # Errors
    ///
    /// What cancelling something foreign raises.
    pub(crate) fn cancel_for(
        slf: &Bound<'_, Self>,
        source: Source,
        reason: Option<Py<PyString>>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.is_cancelled(py) {
            return Ok(());
        }
        let task = match event_loop::running_opt(py) {
            Some(_) if source == Source::Explicit => task::current(py)?,
            _ => None,
        };
        let task = match task {
            Some(task) => Some(task.call_method0(pyo3::intern!(py, "get_name"))?.unbind()),
            None => None,
        };
        let cause = Cause {
            source,
            reason,
            task,
        };
        let timer = this.with(py, |state| {
            state.cause = Some(cause); // there was none
            match &mut state.stage {
                Stage::Active(active) => active.timer.take(),
                Stage::Fresh | Stage::Over => None,
            }
        });
        let Some((event_loop, key)) = this.place(py) else {
            return Ok(()); // it takes effect when it is entered
        };
        if let Some(timer) = timer {
            event_loop.get().cancel_timer(py, timer);
        }
        let changes = event_loop.get().with(py, |state| state.scopes.cancel(key));
        tell(&event_loop, changes)?;
        if event_loop.get().is_own_thread() {
            Ok(())
        } else {
            event_loop.get().wake(py)
        }
    }

    /// Sets the timer for its deadline, in the place of the one it had.
    fn arm(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Some((event_loop, key)) = this.place(py) else {
            return Ok(());
        };
        let (deadline, cancelled, old) = this.with(py, |state| {
            let old = match &mut state.stage {
                Stage::Active(active) => active.timer.take(),
                Stage::Fresh | Stage::Over => None,
            };
            (state.deadline, state.cause.is_some(), old)
        });
        if let Some(old) = old {
            event_loop.get().cancel_timer(py, old);
        }
        event_loop
            .get()
            .with(py, |state| state.scopes.set_deadline(key, deadline));
        if cancelled || deadline == NEVER {
            return Ok(());
        }
        if Loop::has_come(&event_loop, deadline)? {
            return Self::cancel_for(slf, Source::Deadline, None);
        }
        let job = Job::EndScope(slf.clone().unbind());
        let timer = event_loop
            .get()
            .with(py, |state| state.turn.schedule_at(deadline, job));
        this.with(py, |state| {
            if let Stage::Active(active) = &mut state.stage {
                active.timer = Some(timer);
            }
        });
        Ok(())
    }

    /// Its deadline may have passed without the loop having had a turn since.
    fn check_deadline(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (deadline, settled) = this.with(py, |state| {
            let over = matches!(state.stage, Stage::Over);
            (state.deadline, over || state.cause.is_some())
        });
        if settled || deadline == NEVER {
            return Ok(());
        }
        match event_loop::running_opt(py) {
            Some(event_loop) if Loop::has_come(&event_loop, deadline)? => {
                Self::cancel_for(slf, Source::Deadline, None)
            }
            _ => Ok(()),
        }
    }
}

/// Does a scope's job: its deadline has come.
///
/// # Errors
///
/// What cancelling something foreign raises.
pub(crate) fn end(scope: &Bound<'_, CancelScope>) -> PyResult<()> {
    let py = scope.py();
    scope.get().with(py, |state| {
        if let Stage::Active(active) = &mut state.stage {
            active.timer = None;
        }
    });
    CancelScope::cancel_for(scope, Source::Deadline, None)
}

/// `tepal.Cancelled`.
fn cancelled_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "tepal._scopes", "Cancelled")
}

/// Whether an exception is a scope's cancellation.
///
/// # Errors
///
/// What importing the class raises.
pub(crate) fn is_scopes(exception: &Bound<'_, PyAny>) -> PyResult<bool> {
    exception.is_instance(cancelled_class(exception.py())?)
}

/// A new exception for a task whose innermost scope this is: it says which of the scopes around it was cancelled, and why.
///
/// # Errors
///
/// MemoryError.
#[cold]
pub(crate) fn cancelled_error<'py>(
    py: Python<'py>,
    scope: Option<&Py<CancelScope>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut next = scope.map(|scope| scope.clone_ref(py));
    let mut told = None;
    while let Some(scope) = next {
        told = scope.get().with(py, |state| {
            let cause = state.cause.as_ref()?;
            Some((
                cause.source.name(),
                cause.reason.as_ref().map(|reason| reason.clone_ref(py)),
                cause.task.as_ref().map(|task| task.clone_ref(py)),
            ))
        });
        if told.is_some() {
            break;
        }
        next = scope.get().outer(py);
    }
    let told = told.unwrap_or((Source::Explicit.name(), None, None));
    cancelled_class(py)?.call_method1(pyo3::intern!(py, "_make"), told)
}

#[cold]
fn misnested(scope: &Bound<'_, CancelScope>, what: &str) -> PyErr {
    let shown = scope
        .repr()
        .map_or_else(|_| "a scope".into(), |text| text.to_string());
    PyRuntimeError::new_err(format!(
        "Cancel scope stack corrupted: attempted to exit {shown} {what}.\n\
         Scopes must be exited in the task that entered them, innermost first. Likely causes: a `yield` inside a scope or nursery \
         in an async generator that is no context manager; an async generator that was not iterated to its end nor closed \
         (contextlib.aclosing); a context manager that was entered in one task and exited in another (supervisor.enter() hosts it \
         in a task of its own)."
    ))
}

/// # Errors
///
/// ValueError for NaN.
pub(crate) fn checked(name: &str, seconds: f64) -> PyResult<f64> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err(format!("{name} must not be NaN")));
    }
    Ok(seconds)
}

/// What `__exit__` answers: whether the exception ends here.
fn answer(collapse: Collapse<'_>) -> PyResult<bool> {
    match collapse {
        Collapse::AsItIs => Ok(false),
        Collapse::Caught => Ok(true),
        Collapse::Raise(exception) => Err(PyErr::from_value(exception)),
    }
}

#[pymethods]
impl CancelScope {
    #[new]
    #[pyo3(signature = (*, deadline = NEVER, relative_deadline = NEVER, shield = false))]
    fn new(deadline: f64, relative_deadline: f64, shield: bool) -> PyResult<Self> {
        let relative = checked("relative_deadline", relative_deadline)?;
        if relative < 0.0 {
            return Err(PyValueError::new_err(
                "relative_deadline must be non-negative",
            ));
        }
        Ok(Self::from(&Options {
            deadline: checked("deadline", deadline)?,
            relative,
            shielded: shield,
            fails: false,
        }))
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        Self::enter(slf)?;
        Ok(slf.clone())
    }

    fn __exit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        exception: Option<Bound<'py, PyAny>>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        answer(Self::exit(slf, exception.as_ref())?)
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::enter(slf)?;
        ready(slf.clone().into_any())
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        exception: Option<Bound<'py, PyAny>>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let swallows = answer(Self::exit(slf, exception.as_ref())?)?;
        ready(PyBool::new(slf.py(), swallows).to_owned().into_any())
    }

    /// Cancel the block, and everything inside it that is not shielded.
    ///
    /// Before the block it takes effect at its beginning; again, or after it, it does nothing.
    ///
    /// Args:
    ///     reason: A sentence for whoever reads the exceptions (`Cancelled.reason`).
    ///
    /// Not a checkpoint. It may be called from any thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(slf: &Bound<'_, Self>, reason: Option<Py<PyString>>) -> PyResult<()> {
        Self::cancel_for(slf, Source::Explicit, reason)
    }

    /// When it is cancelled, in seconds on the clock of `loop.time()`; may be changed at any time. Infinity: never.
    #[getter]
    fn deadline(&self, py: Python<'_>) -> f64 {
        self.with(py, |state| state.deadline)
    }

    #[setter]
    fn set_deadline(slf: &Bound<'_, Self>, deadline: f64) -> PyResult<()> {
        let deadline = checked("deadline", deadline)?;
        slf.get().with(slf.py(), |state| state.deadline = deadline);
        Self::arm(slf)
    }

    /// The same in seconds from when it is entered (before), and from now on (after).
    #[getter]
    fn relative_deadline(slf: &Bound<'_, Self>) -> PyResult<f64> {
        let (py, this) = (slf.py(), slf.get());
        match this.place(py) {
            Some((event_loop, _)) => {
                let deadline = this.with(py, |state| state.deadline);
                Ok(deadline - Loop::now(&event_loop)?)
            }
            None => Ok(this.with(py, |state| state.relative)),
        }
    }

    #[setter]
    fn set_relative_deadline(slf: &Bound<'_, Self>, seconds: f64) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let seconds = checked("relative_deadline", seconds)?;
        match this.place(py) {
            Some((event_loop, _)) => {
                let deadline = Loop::now(&event_loop)? + seconds;
                Self::set_deadline(slf, deadline)
            }
            None if seconds < 0.0 => Err(PyValueError::new_err(
                "relative_deadline must be non-negative",
            )),
            None => {
                this.with(py, |state| state.relative = seconds);
                Ok(())
            }
        }
    }

    /// Whether what cancels the scopes around it does not reach the block; may be changed at any time.
    #[getter]
    fn shield(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.shielded)
    }

    #[setter]
    fn set_shield(slf: &Bound<'_, Self>, shield: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Ok(shield) = shield.cast::<PyBool>() else {
            return Err(PyTypeError::new_err("shield must be a bool"));
        };
        let shielded = shield.is_true();
        this.with(py, |state| state.shielded = shielded);
        match this.place(py) {
            Some((event_loop, key)) => {
                let changes = event_loop
                    .get()
                    .with(py, |state| state.scopes.shield(key, shielded));
                tell(&event_loop, changes)
            }
            None => Ok(()),
        }
    }

    /// Whether it was cancelled: by `cancel()`, or because its deadline has passed while it was active.
    #[getter]
    fn cancel_called(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::check_deadline(slf)?;
        Ok(slf.get().is_cancelled(slf.py()))
    }

    /// Whether its block was left by its cancellation.
    #[getter]
    fn cancelled_caught(&self, py: Python<'_>) -> bool {
        self.with(py, |state| state.caught)
    }

    /// What `cancel()` was told, if it was.
    #[getter]
    fn cancel_reason(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.with(py, |state| {
            let reason = state.cause.as_ref()?.reason.as_ref();
            reason.map(|reason| reason.clone_ref(py))
        })
    }

    /// Whether what is in it is cancelled, by it or by a scope around it.
    fn _is_effectively_cancelled(&self, py: Python<'_>) -> bool {
        match self.place(py) {
            Some((event_loop, key)) => event_loop
                .get()
                .with(py, |state| state.scopes.is_effectively_cancelled(key)),
            None => self.is_cancelled(py),
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (py, this) = (slf.py(), slf.get());
        let now = match this.place(py) {
            Some((event_loop, _)) => Some(Loop::now(&event_loop)?),
            None => None,
        };
        let shown = this.with(py, |state| {
            let stage = match state.stage {
                Stage::Fresh => "unbound",
                Stage::Active(_) => "active",
                Stage::Over => "exited",
            };
            let mut shown = String::from(stage);
            if state.cause.is_some() {
                shown += ", cancelled";
            } else if let Some(now) = now.filter(|_| state.deadline < NEVER) {
                shown += &format!(", deadline is {:.2} seconds from now", state.deadline - now);
            }
            if state.shielded {
                shown += ", shielded";
            }
            shown
        });
        Ok(format!(
            "<tepal.CancelScope at {:p}, {shown}>",
            slf.as_ptr()
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            if let Stage::Active(active) = &state.stage {
                visit.call(&active.event_loop)?;
                visit.call(&active.host)?;
            }
            visit.call(state.cause.as_ref().and_then(|cause| cause.task.as_ref()))?;
            visit.call(&state.outer)?;
            visit.call(&state.heir)
        });
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            self.abandon(py);
            let held = self.with(py, |state| (state.outer.take(), state.heir.take()));
            drop(held);
        });
    }
}

impl CancelScope {
    /// A task has ended, in these scopes and those around them: nobody will exit the ones that it has entered.
    pub(crate) fn abandon_all(innermost: &Bound<'_, Self>, host: &Bound<'_, PyAny>) {
        let py = innermost.py();
        let mut next = Some(innermost.clone().unbind());
        while let Some(scope) = next {
            let this = scope.get();
            let is_hosts = this.with(py, |state| match &state.stage {
                Stage::Active(active) => active.host.is(host),
                Stage::Fresh | Stage::Over => false,
            });
            if !is_hosts {
                return;
            }
            this.abandon(py);
            next = this.with(py, |state| state.outer.take());
        }
    }

    /// Nobody will exit it: its task is gone.
    fn abandon(&self, py: Python<'_>) {
        let stage = self.with(py, |state| std::mem::replace(&mut state.stage, Stage::Over));
        let Stage::Active(active) = &stage else {
            return;
        };
        if let Some(timer) = active.timer {
            active.event_loop.get().cancel_timer(py, timer);
        }
        active.event_loop.get().with(py, |state| {
            if state.scopes.contains(active.key) {
                let _nobody = state.scopes.close(active.key);
            }
        });
    }
}

impl Drop for CancelScope {
    fn drop(&mut self) {
        crate::raw::attached(|py| self.abandon(py));
    }
}
