//! `shield()`: asyncio's, to the letter.

use super::any_future::{self, End};
use super::observer::{Observer, Purpose};
use super::originals;
use crate::event_loop;
use crate::raw::future::{self, FutureRef, Status};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

/// What its observer knows. It looks at both: the inner future's end is passed on, the outer's ends the looking.
pub(crate) struct Shield {
    inner: Py<PyAny>,
    outer: Py<PyAny>,
}

/// Wait for an awaitable in such a way that cancelling the wait does not cancel it, as `asyncio.shield`.
///
/// Where no loop of tepal's runs, this is asyncio's own function.
///
/// Args:
///     arg: A coroutine, which becomes a task, a future, or anything else that can be awaited.
///
/// Returns:
///     A future of its result; the task or future itself if it has ended.
///
/// Raises:
///     TypeError: It cannot be awaited.
///
/// To call it is no checkpoint; to await the future is one.
#[pyfunction]
pub(crate) fn shield<'py>(arg: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = arg.py();
    let Some(running) = event_loop::running_opt(py) else {
        return originals(py)?.shield.bind(py).call1((arg,));
    };
    if any_future::is_future(arg)? && !any_future::loop_of(arg)?.is(&running) {
        return originals(py)?.shield.bind(py).call1((arg,));
    }
    let inner = any_future::ensure(arg, &running)?;
    if any_future::is_done(&inner)? {
        return Ok(inner);
    }
    let outer = future::new(&running)?;
    let state = Shield {
        inner: inner.clone().unbind(),
        outer: outer.clone().unbind(),
    };
    let observer = Observer::new(py, Purpose::Shield(state))?;
    Observer::watch(&observer, &inner)?;
    Observer::watch(&observer, &outer)?;
    Ok(outer)
}

impl Shield {
    /// One of the two has ended.
    ///
    /// # Errors
    ///
    /// What a foreign inner future raises when it is asked.
    pub(super) fn handle_done<'py>(
        observer: &Bound<'py, Observer>,
        ended: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = observer.py();
        let known = observer.get().with(py, |purpose| match purpose {
            Purpose::Shield(shield) => {
                Some((shield.inner.clone_ref(py), shield.outer.clone_ref(py)))
            }
            _ => None,
        });
        let Some((inner, outer)) = known else {
            return Ok(());
        };
        let (inner, outer) = (inner.into_bound(py), outer.into_bound(py));
        if ended.is(&outer) {
            if !any_future::is_done(&inner)? {
                Observer::unwatch(observer, &inner)?;
            }
            if Self::lets_inner_tell() || !any_future::is_done(&inner)? {
                observer.get().end(py);
            }
            return Ok(());
        }
        let Some(waiting) =
            FutureRef::exact(&outer).filter(|outer| outer.status() == Status::Pending)
        else {
            // Nobody hears of an exception of his any more. Up to 3.13 asyncio took it for seen.
            return if Self::lets_inner_tell() {
                Ok(())
            } else {
                any_future::look(ended)
            };
        };
        match any_future::end(ended)? {
            End::Returned(value) => waiting.set_result(value),
            End::Raised(exception) => waiting.set_exception(&exception),
            End::Cancelled => waiting.cancel(None).map(drop),
        }
    }

    /// Whether the exception of an inner future whose outer one was cancelled is told as one that nobody has seen.
    const fn lets_inner_tell() -> bool {
        cfg!(Py_3_14)
    }

    pub(super) fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.inner)?;
        visit.call(&self.outer)
    }
}
