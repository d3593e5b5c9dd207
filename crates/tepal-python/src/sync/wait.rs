//! `wait()`: asyncio's, to the letter.

use super::any_future::{self, End};
use super::observer::{Observer, Purpose};
use super::waiters::{show, woken};
use super::{Routine, originals};
use crate::event_loop::{self, Job, Loop};
use crate::raw::coroutine::{self, Resume};
use crate::raw::future::{self, FutureRef, Status};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::{Object, task};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString, PyTuple};
use std::ffi::c_int;
use tepal_core::timers::TimerKey;

/// When the wait ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    First,
    FirstException,
    All,
}

/// What its observer knows.
pub(crate) struct Wait {
    unfinished: usize,
    until: Until,
    waiter: Py<PyAny>,
}

impl Wait {
    /// One of the futures has ended.
    ///
    /// # Errors
    ///
    /// What a foreign future raises when it is asked.
    pub(super) fn handle_done<'py>(
        observer: &Bound<'py, Observer>,
        future: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = observer.py();
        let known = observer.get().with(py, |purpose| match purpose {
            Purpose::Wait(wait) => {
                wait.unfinished = wait.unfinished.saturating_sub(1);
                Some((wait.unfinished, wait.until, wait.waiter.clone_ref(py)))
            }
            _ => None,
        });
        let Some((unfinished, until, waiter)) = known else {
            return Ok(());
        };
        let is_over = unfinished == 0
            || match until {
                Until::First => true,
                Until::FirstException => matches!(any_future::end(future)?, End::Raised(_)),
                Until::All => false,
            };
        if is_over {
            let _woken: bool = super::waiters::wake(py, &waiter, false)?;
        }
        Ok(())
    }

    pub(super) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.waiter)
    }
}

/// Wait for some or all of several futures, as `asyncio.wait`. Nothing is cancelled and nothing raised when the time is over.
///
/// Where no loop of tepal's runs, this is asyncio's own function.
///
/// Args:
///     fs: Tasks and futures, at least one.
///     timeout: Seconds at most; None waits for ever.
///     return_when: `asyncio.ALL_COMPLETED` (the default), `FIRST_COMPLETED`, or `FIRST_EXCEPTION`.
///
/// Returns:
///     Two sets: the futures that have ended, and those that have not.
///
/// Raises:
///     TypeError: A coroutine was given.
///     ValueError: No future was given, or another `return_when`.
///
/// A checkpoint.
#[pyfunction]
#[pyo3(signature = (fs, *, timeout = None, return_when = None))]
pub(crate) fn wait<'py>(
    fs: Bound<'py, PyAny>,
    timeout: Option<Bound<'py, PyAny>>,
    return_when: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = fs.py();
    if event_loop::running_opt(py).is_none() {
        let keywords = PyDict::new(py);
        keywords.set_item("timeout", timeout)?;
        if let Some(return_when) = return_when {
            keywords.set_item("return_when", return_when)?;
        }
        return originals(py)?.wait.bind(py).call((fs,), Some(&keywords));
    }
    let routine = Waiting {
        stage: Stage::Begin {
            futures: fs.unbind(),
            timeout: timeout.map(Bound::unbind),
            return_when: return_when.map(Bound::unbind),
        },
    };
    coroutine::new(py, Routine::Wait(routine))
}

enum Stage {
    Begin {
        futures: Py<PyAny>,
        timeout: Option<Py<PyAny>>,
        return_when: Option<Py<PyAny>>,
    },
    /// (In a box: every coroutine has room for the largest routine.)
    Waits(Box<Waits>),
    Over,
}

struct Waits {
    futures: Vec<Py<PyAny>>,
    observer: Py<Observer>,
    waiter: Py<PyAny>,
    timer: Option<(Py<Loop>, TimerKey)>,
}

/// The coroutine.
pub(crate) struct Waiting {
    stage: Stage,
}

impl Waiting {
    fn begin<'py>(
        &mut self,
        futures: &Bound<'py, PyAny>,
        timeout: Option<Bound<'py, PyAny>>,
        return_when: Option<Bound<'py, PyAny>>,
    ) -> Resumed<'py> {
        let py = futures.py();
        if any_future::is_future(futures)? || task::is_coroutine(futures)? {
            let kind = futures.get_type().name()?;
            let message = format!("expect a list of futures, not {kind}");
            return Err(PyTypeError::new_err(message).into());
        }
        if !futures.is_truthy()? {
            return Err(PyValueError::new_err("Set of Tasks/Futures is empty.").into());
        }
        let until = until(return_when)?;
        let different = PySet::empty(py)?;
        for future in futures.try_iter()? {
            different.add(future?)?;
        }
        let mut futures = Vec::with_capacity(different.len());
        for future in &different {
            if task::is_coroutine(&future)? {
                return Err(PyTypeError::new_err(
                    "Passing coroutines is forbidden, use tasks explicitly.",
                )
                .into());
            }
            futures.push(future.unbind());
        }
        let running = event_loop::running(py)?;
        let seconds = timeout
            .map(|timeout| timeout.extract::<f64>())
            .transpose()?;
        let waiter = future::new(&running)?;
        let timer = match seconds {
            None => None,
            Some(seconds) => {
                let when = Loop::now(&running)? + seconds;
                let job = Job::Expire(waiter.clone().unbind());
                let key = running
                    .get()
                    .with(py, |state| state.turn.schedule_at(when, job));
                Some((running.unbind(), key))
            }
        };
        let state = Wait {
            unfinished: futures.len(),
            until,
            waiter: waiter.clone().unbind(),
        };
        let observer = Observer::new(py, Purpose::Wait(state))?;
        for future in &futures {
            Observer::watch(&observer, future.bind(py))?;
        }
        self.stage = Stage::Waits(Box::new(Waits {
            futures,
            observer: observer.unbind(),
            waiter: waiter.clone().unbind(),
            timer,
        }));
        Ok(Step::Wait(waiter))
    }
}

/// What `return_when` asks for.
fn until(return_when: Option<Bound<'_, PyAny>>) -> PyResult<Until> {
    let Some(return_when) = return_when else {
        return Ok(Until::All);
    };
    let known = match return_when.cast::<PyString>() {
        Ok(name) => match &*name.to_cow()? {
            "FIRST_COMPLETED" => Some(Until::First),
            "FIRST_EXCEPTION" => Some(Until::FirstException),
            "ALL_COMPLETED" => Some(Until::All),
            _ => None,
        },
        Err(_) => None,
    };
    known.ok_or_else(|| {
        let message = format!("Invalid return_when value: {return_when}");
        PyValueError::new_err(message)
    })
}

impl Resume for Waiting {
    const NAME: &'static str = "wait";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begin {
                futures,
                timeout,
                return_when,
            } => self.begin(
                futures.bind(py),
                timeout.map(|timeout| timeout.into_bound(py)),
                return_when.map(|return_when| return_when.into_bound(py)),
            ),
            Stage::Waits(waits) => {
                if let Some((event_loop, key)) = waits.timer {
                    event_loop.get().cancel_timer(py, key);
                }
                for future in &waits.futures {
                    Observer::unwatch(waits.observer.bind(py), future.bind(py))?;
                }
                waits.observer.get().end(py);
                woken(py, &waits.waiter, thrown)?;
                Ok(Step::End(sorted(py, waits.futures)?))
            }
            Stage::Over => Ok(Step::End(py.None().into_bound(py))),
        }
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        match &self.stage {
            Stage::Begin {
                futures,
                timeout,
                return_when,
            } => show(
                &[Some(futures), timeout.as_ref(), return_when.as_ref()],
                see,
            ),
            Stage::Waits(waits) => {
                let event_loop = waits.timer.as_ref().map(|(held, _)| held.as_any());
                let held = [
                    Some(waits.observer.as_any()),
                    Some(&waits.waiter),
                    event_loop,
                ];
                let answer = show(&held, see);
                if answer != 0 {
                    return answer;
                }
                crate::raw::native_state::show_all(&waits.futures, see)
            }
            Stage::Over => 0,
        }
    }
}

/// The two sets that `wait()` returns: those that have ended and those that have not.
fn sorted(py: Python<'_>, futures: Vec<Py<PyAny>>) -> PyResult<Bound<'_, PyAny>> {
    let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
    for future in futures {
        let future = future.into_bound(py);
        let is_done = match FutureRef::exact(&future) {
            Some(future) => future.status() != Status::Pending,
            None => any_future::is_done(&future)?,
        };
        if is_done { &done } else { &pending }.add(future)?;
    }
    Ok(PyTuple::new(py, [done, pending])?.into_any())
}
