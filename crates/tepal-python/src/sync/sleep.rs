//! `sleep()`.

use super::Routine;
use super::waiters::{show, woken};
use crate::event_loop::{self, Job, Loop};
use crate::raw::coroutine::{self, Resume};
use crate::raw::iterator::{Resumed, Step};
use crate::raw::raised::Raised;
use crate::raw::{Object, future};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use std::ffi::c_int;
use tepal_core::timers::TimerKey;

/// Suspend the task for a time, in seconds.
#[pyfunction]
#[pyo3(signature = (delay, result = None))]
pub(crate) fn sleep<'py>(
    delay: &Bound<'py, PyAny>,
    result: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let routine = Sleep {
        delay: delay.clone().unbind(),
        result: result.map(Bound::unbind),
        stage: Stage::Begin,
    };
    coroutine::new(delay.py(), Routine::Sleep(routine))
}

enum Stage {
    Begin,
    Passed,
    Waits {
        future: Py<PyAny>,
        event_loop: Py<Loop>,
        key: TimerKey,
    },
}

pub(crate) struct Sleep {
    delay: Py<PyAny>,
    result: Option<Py<PyAny>>,
    stage: Stage,
}

impl Sleep {
    fn end<'py>(&mut self, py: Python<'py>) -> Step<'py> {
        let result = self.result.take().unwrap_or_else(|| py.None());
        Step::End(result.into_bound(py))
    }
}

impl Resume for Sleep {
    const NAME: &'static str = "sleep";

    fn resume<'py>(&mut self, py: Python<'py>, thrown: Option<Raised>) -> Resumed<'py> {
        match &self.stage {
            Stage::Begin => {}
            Stage::Passed => {
                return match thrown {
                    Some(thrown) => Err(thrown),
                    None => Ok(self.end(py)),
                };
            }
            Stage::Waits {
                future,
                event_loop,
                key,
            } => {
                event_loop.get().cancel_timer(py, *key);
                woken(py, future, thrown)?;
                return Ok(self.end(py));
            }
        }
        self.stage = Stage::Passed;
        let delay = self.delay.bind(py);
        // (As a float a number would first be made into one of Python's.)
        let seconds = match delay
            .cast_exact::<PyInt>()
            .map(|whole| whole.extract::<i32>())
        {
            Ok(Ok(whole)) => f64::from(whole),
            _ => delay.extract()?,
        };
        if seconds.is_nan() {
            return Err(PyValueError::new_err("Invalid delay: NaN (not a number)").into());
        }
        if seconds <= 0.0 {
            return Ok(Step::Pass);
        }
        let running = event_loop::running(py)?;
        let future = future::new(&running)?;
        let when = Loop::now(&running)? + seconds;
        let job = Job::Expire(future.clone().unbind());
        let key = running
            .get()
            .with(py, |state| state.turn.schedule_at(when, job));
        self.stage = Stage::Waits {
            future: future.clone().unbind(),
            event_loop: running.unbind(),
            key,
        };
        Ok(Step::Wait(future))
    }

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let (future, event_loop) = match &self.stage {
            Stage::Waits {
                future, event_loop, ..
            } => (Some(future), Some(event_loop.as_any())),
            Stage::Begin | Stage::Passed => (None, None),
        };
        let held = [Some(&self.delay), self.result.as_ref(), future, event_loop];
        show(&held, see)
    }
}
