//! `timeout()` and `timeout_at()`: asyncio's, to the letter.

use super::Routine;
use super::waiters::show;
use crate::event_loop::{self, Job, Loop};
use crate::owned::Owned;
use crate::raw::Object;
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::ready::ready;
use crate::raw::{future, task};
use pyo3::exceptions::{PyBaseExceptionGroup, PyRuntimeError, PyTimeoutError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use std::ffi::c_int;
use tepal_core::timers::TimerKey;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Created,
    Entered,
    /// Its task was cancelled for it.
    Expiring,
    Expired,
    Exited,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Entered => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Exited => "finished",
        }
    }
}

struct State {
    stage: Stage,
    /// On the loop's clock, in seconds.
    when: Option<f64>,
    task: Option<Py<PyAny>>,
    /// How many requests for cancellation the task had when it entered.
    requests: u32,
    timer: Option<(Py<Loop>, TimerKey)>,
}

/// A time limit on a block: what `tepal.timeout()` returns, to be used with `async with`.
#[pyclass(frozen, module = "tepal")]
pub(crate) struct Timeout {
    state: Owned<State>,
}

/// A time limit on a block.
///
/// `async with tepal.timeout(seconds):` cancels what the block waits for when the time is over, and raises TimeoutError after the block. Entering and
/// leaving the block are no checkpoints. As `asyncio.timeout`.
///
/// Args:
///     delay: Seconds from now; None for no limit, which `reschedule` may set later.
///
/// Raises:
///     RuntimeError: No loop of tepal's runs in this thread.
#[pyfunction]
pub(crate) fn timeout(py: Python<'_>, delay: Option<f64>) -> PyResult<Timeout> {
    let when = match delay {
        None => None,
        Some(delay) => Some(Loop::now(&event_loop::running(py)?)? + delay),
    };
    Ok(Timeout::new(when))
}

/// As `timeout`, with a time on the loop's clock.
///
/// Args:
///     when: Seconds on the clock of `loop.time()`; None for no limit.
#[pyfunction]
pub(crate) fn timeout_at(when: Option<f64>) -> Timeout {
    Timeout::new(when)
}

impl Timeout {
    fn new(when: Option<f64>) -> Self {
        Self {
            state: Owned::new(State {
                stage: Stage::Created,
                when,
                task: None,
                requests: 0,
                timer: None,
            }),
        }
    }

    fn enter(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let created = this.state.with(py, |state| state.stage == Stage::Created);
        if !created {
            return Err(PyRuntimeError::new_err("Timeout has already been entered"));
        }
        let Some(task) = task::current(py)? else {
            return Err(PyRuntimeError::new_err(
                "Timeout should be used inside a task",
            ));
        };
        let requests = task::requests(&task)?;
        let when = this.state.with(py, |state| {
            state.stage = Stage::Entered;
            state.requests = requests;
            state.task = Some(task.unbind());
            state.when
        });
        Self::arm(slf, when)
    }

    fn arm(slf: &Bound<'_, Self>, when: Option<f64>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.disarm(py);
        let Some(when) = when else {
            return Ok(());
        };
        let running = event_loop::running(py)?;
        let job = Job::Timeout(slf.clone().into_any().unbind());
        if Loop::has_come(&running, when)? {
            // Before the task's own next step: a block with no time at all is cancelled where it first waits.
            running.get().schedule(py, job);
            return Ok(());
        }
        let key = running
            .get()
            .with(py, |state| state.turn.schedule_at(when, job));
        // (There was none: it was just disarmed.)
        this.state
            .with(py, |state| state.timer = Some((running.unbind(), key)));
        Ok(())
    }

    fn disarm(&self, py: Python<'_>) {
        if let Some((event_loop, key)) = self.state.with(py, |state| state.timer.take()) {
            event_loop.get().cancel_timer(py, key);
        }
    }

    fn exit(&self, exception: Option<Bound<'_, PyAny>>, py: Python<'_>) -> PyResult<()> {
        self.disarm(py);
        let (expiring, task, requests) = self.state.with(py, |state| {
            let expiring = state.stage == Stage::Expiring;
            state.stage = if expiring {
                Stage::Expired
            } else {
                Stage::Exited
            };
            (expiring, state.task.take(), state.requests)
        });
        let (true, Some(task)) = (expiring, task) else {
            return Ok(());
        };
        let left = task::withdraw(task.bind(py))?;
        let Some(exception) = exception.filter(|_| left <= requests) else {
            return Ok(()); // somebody else asked for the cancellation as well, or the block ended all the same
        };
        if !future::is_cancelled_error(&exception)? {
            return tell_in_chain(&exception);
        }
        let error = PyTimeoutError::new_err(());
        error.set_cause(py, Some(PyErr::from_value(exception)));
        Err(error)
    }
}

/// The CancelledError lies in the chain of another exception, or of those in a group: a TimeoutError is put before it there, as asyncio
/// does from 3.13 on.
#[cold]
fn tell_in_chain(exception: &Bound<'_, PyAny>) -> PyResult<()> {
    if !cfg!(Py_3_13) {
        return Ok(());
    }
    insert_timeout_error(exception)?;
    if exception.is_instance_of::<PyBaseExceptionGroup>() {
        for one in exception.getattr("exceptions")?.try_iter()? {
            insert_timeout_error(&one?)?;
        }
    }
    Ok(())
}

fn insert_timeout_error(exception: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = exception.py();
    let mut exception = exception.clone();
    loop {
        let context = exception.getattr("__context__")?;
        if context.is_none() {
            return Ok(());
        }
        if future::is_cancelled_error(&context)? {
            let error = PyTimeoutError::new_err(()).into_value(py).into_bound(py);
            error.setattr("__cause__", &context)?;
            error.setattr("__context__", &context)?;
            return exception.setattr("__context__", error);
        }
        exception = context;
    }
}

/// Its time has come.
///
/// # Errors
///
/// What cancelling a foreign task raises.
pub(crate) fn expire(timeout: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = timeout.py();
    let timeout = timeout.cast::<Timeout>()?;
    let state = &timeout.get().state;
    let waits = state.with(py, |state| {
        let task = state.task.as_ref().map(|task| task.clone_ref(py));
        match (state.stage, state.when, task) {
            (Stage::Entered, Some(when), Some(task)) => Some((when, task)),
            _ => None,
        }
    });
    let Some((when, task)) = waits else {
        return Ok(());
    };
    // It may have been moved since this job became ready.
    let event_loop = event_loop::running(py)?;
    if Loop::now(&event_loop)? + event_loop.get().clock_resolution() < when {
        return Ok(());
    }
    task::request_cancel(task.bind(py))?;
    let timer = state.with(py, |state| {
        state.stage = Stage::Expiring;
        state.timer.take()
    });
    drop(timer);
    Ok(())
}

#[pymethods]
impl Timeout {
    #[new]
    fn make(when: Option<f64>) -> Self {
        Self::new(when)
    }

    /// The time on the loop's clock at which it ends, in seconds; None for no limit.
    fn when(&self, py: Python<'_>) -> Option<f64> {
        self.state.with(py, |state| state.when)
    }

    /// Move the end to another time on the loop's clock; None takes the limit away.
    fn reschedule(slf: &Bound<'_, Self>, when: Option<f64>) -> PyResult<()> {
        let stage = slf.get().state.with(slf.py(), |state| {
            if state.stage == Stage::Entered {
                state.when = when;
            }
            state.stage
        });
        match stage {
            Stage::Entered => Self::arm(slf, when),
            Stage::Created => Err(PyRuntimeError::new_err("Timeout has not been entered")),
            other => Err(PyRuntimeError::new_err(format!(
                "Cannot change state of {} Timeout",
                other.name()
            ))),
        }
    }

    /// Whether the time was over before the block ended.
    fn expired(&self, py: Python<'_>) -> bool {
        let stage = self.state.with(py, |state| state.stage);
        matches!(stage, Stage::Expiring | Stage::Expired)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let (stage, when) = self.state.with(py, |state| (state.stage, state.when));
        let when = match (stage, when) {
            (Stage::Entered, Some(when)) => format!(" when={:.3}", (when * 1e3).round() / 1e3),
            (Stage::Entered, None) => " when=None".into(),
            _ => String::new(),
        };
        format!("<Timeout [{}]{when}>", stage.name())
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        // A coroutine: it is whoever awaits it that is limited, and he may be another than who called.
        let routine = Enter(slf.clone().unbind());
        coroutine::new(slf.py(), Routine::EnterTimeout(routine))
    }

    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        _kind: &Bound<'py, PyAny>,
        exception: Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let exception = Some(exception).filter(|exception| !exception.is_none());
        self.exit(exception, py)?;
        ready(py.None().into_bound(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.state.try_with(|state| {
            visit.call(&state.task)?;
            visit.call(state.timer.as_ref().map(|(event_loop, _)| event_loop))
        });
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        crate::raw::attached(|py| {
            let held = self
                .state
                .with(py, |state| (state.task.take(), state.timer.take()));
            drop(held);
        });
    }
}

/// `async with`'s way in.
pub(crate) struct Enter(Py<Timeout>);

impl Resume for Enter {
    const NAME: &'static str = "Timeout.__aenter__";

    fn resume<'py>(&mut self, py: Python<'py>, _thrown: Option<Raised>) -> Resumed<'py> {
        let timeout = self.0.bind(py);
        Timeout::enter(timeout)?;
        Ok(Step::End(timeout.clone().into_any()))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        show(&[Some(self.0.as_any())], see)
    }
}
