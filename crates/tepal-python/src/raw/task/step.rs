//! One step of a task: from where it paused to where it pauses next. asyncio's rules, with asyncio's words.

use super::scoped::Flight;
use super::{TaskRef, published, registry, wakeup};
use crate::errors::ends_the_loop;
use crate::raw::future::{
    Callback, FutureRef, FutureState, Outcome, Status, invalid_state, is_cancelled_error,
};
use crate::raw::raised::Raised;
use crate::raw::{call, fetch};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyResult, ffi};
use std::ptr::null_mut;

/// What a task does after a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It waits, or has ended, or is scheduled already.
    Nothing,
    /// It let others run, and is to be stepped in the next turn.
    Again,
}

/// Runs a task that stands in the ready queue: its first step, or the one after what it waited for has ended. The caller has
/// entered its context and told asyncio that it runs.
///
/// # Errors
///
/// KeyboardInterrupt and SystemExit from the coroutine; InvalidStateError when the task is done already.
#[inline]
pub(crate) fn run(task: &Bound<'_, PyAny>) -> Result<After, Raised> {
    // SAFETY: only tasks of ours stand in the queue as such (`Job::Task`).
    let task = unsafe { TaskRef::of(task) };
    let py = task.py();
    let (thrown, waiter) = task.with(|state| (state.thrown.take(), state.waiter.take()));
    let exception = match (thrown, waiter) {
        (None, None) => None,
        (Some(thrown), _) => Some(thrown.into_bound(py)),
        (None, Some(waiter)) => {
            let waiter = waiter.into_bound(py);
            registry::note_end_of_wait(&waiter, task.object())?;
            match FutureRef::exact(&waiter) {
                Some(future) if future.status() == Status::Returned => None,
                _ => brought(&waiter)?,
            }
        }
    };
    step(task, exception)
}

/// Wakes a task by the function that stood for it among a future's callbacks.
///
/// # Errors
///
/// As [`run`]; RuntimeError when another task runs.
pub(super) fn wake(task: TaskRef<'_, '_>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    registry::note_end_of_wait(future, task.object())?;
    let exception = brought(future)?;
    entered(task, |task| {
        drop(task.with(|state| state.waiter.take()));
        again(task, step(task, exception)?)
    })
}

/// Runs a task by the function that stood for its step.
///
/// # Errors
///
/// As [`wake`].
pub(super) fn run_by_call(task: TaskRef<'_, '_>) -> PyResult<()> {
    entered(task, |task| again(task, run(task.object())?))
}

/// Schedules the step after one whose caller does not keep the task.
fn again(task: TaskRef<'_, '_>, after: After) -> PyResult<()> {
    match after {
        After::Nothing => Ok(()),
        After::Again => task.step_soon(None),
    }
}

/// Has a task stepped in the next turn, by the loop's `call_soon` if that is not ours.
///
/// # Errors
///
/// What that raises.
#[cold]
pub(crate) fn step_again(task: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: only tasks of ours stand in the queue as such (`Job::Task`).
    unsafe { TaskRef::of(task) }.step_soon(None)
}

fn entered<'a, 'py>(
    task: TaskRef<'a, 'py>,
    act: impl FnOnce(TaskRef<'a, 'py>) -> PyResult<()>,
) -> PyResult<()> {
    registry::enter(task)?;
    let outcome = act(task);
    outcome.and(registry::leave(task))
}

/// Runs the first step of a new task inside the step of another.
///
/// # Errors
///
/// As [`run`]; RuntimeError when its context is entered already.
pub(super) fn run_eagerly(task: TaskRef<'_, '_>) -> PyResult<()> {
    let event_loop = task.future.event_loop()?;
    let context = super::context(task.object())?;
    let before = registry::swap(&event_loop, Some(task.object()))?;
    let outcome = crate::raw::context::inside(&context, || again(task, step(task, None)?));
    let back = registry::swap(&event_loop, before.as_ref());
    if task.future.status() != Status::Pending {
        let coro = task.with(|state| state.coro.take());
        drop(coro);
        published::withdraw(task);
    }
    outcome.and(back.map(drop))
}

/// The exception that a future brings to who waited for it, if any.
fn brought<'py>(future: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(future) = FutureRef::exact(future) {
        return Ok(match future.outcome()? {
            Outcome::Returned(_) => None,
            Outcome::Raised(exception) => Some(exception),
        });
    }
    let py = future.py();
    match future.call_method0(pyo3::intern!(py, "result")) {
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(error.into_value(py).into_bound(py).into_any())),
    }
}

/// What a coroutine did with what it was sent.
enum Did<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    Raised(Raised),
}

/// Resumes the coroutine, which waits for nothing any more, and does what it asks for.
fn step<'py>(
    task: TaskRef<'_, 'py>,
    exception: Option<Bound<'py, PyAny>>,
) -> Result<After, Raised> {
    let py = task.py();
    if task.future.status() != Status::Pending {
        let shown =
            exception.map_or_else(|| Ok("None".into()), |one| one.repr()?.extract::<String>())?;
        let message = format!("__step(): already done: {} {shown}", task.object().repr()?);
        return Err(invalid_state(py, message).into());
    }
    let (coro, due, flight) = task.with(|state| {
        let coro = state.coro.as_ref().map(|coro| coro.clone_ref(py));
        let flight = std::mem::take(&mut state.scoped.flight);
        (coro, state.cancellation.take_due(), flight)
    });
    let coro = coro.ok_or_else(super::uninitialized)?.into_bound(py);
    let exception = if due || matches!(flight, Flight::Scope | Flight::ScopeAtYield) {
        thrown(task, exception, due, flight)?
    } else {
        exception
    };
    let stepping = registry::Stepping::enter(task.object());
    let did = match exception {
        None => send(&coro),
        Some(exception) => throw(&coro, &exception),
    };
    drop(stepping);
    match did {
        Did::Yielded(awaited) => pause(task, awaited),
        Did::Returned(value) => {
            registry::forget(task)?;
            if task.with(|state| state.cancellation.take_due()) {
                // It was cancelled in its last step, which did not wait any more.
                let message = task.future.cancel_message();
                task.future.cancel(message)?;
            } else {
                task.future.set_result(value)?;
            }
            Ok(After::Nothing)
        }
        Did::Raised(error) => {
            fail(task, error.into())?;
            Ok(After::Nothing)
        }
    }
}

/// What a step throws when it has been asked to throw something.
#[cold]
fn thrown<'py>(
    task: TaskRef<'_, 'py>,
    brought: Option<Bound<'py, PyAny>>,
    due: bool,
    flight: Flight,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let cancelled = match &brought {
        Some(exception) => is_cancelled_error(exception)?,
        None => false,
    };
    Ok(match flight {
        // A request that comes on top of a scope's cancellation is thrown in its place.
        _ if due && !(cancelled && matches!(flight, Flight::Nothing | Flight::Request)) => {
            Some(task.future.make_cancelled_error()?)
        }
        Flight::Scope if cancelled => Some(task.scope_error(task.py())?),
        Flight::ScopeAtYield => Some(task.scope_error(task.py())?),
        // What it waited for brought something else, and would not be cancelled.
        Flight::Nothing | Flight::Request | Flight::Scope => brought,
    })
}

#[inline]
fn send<'py>(coro: &Bound<'py, PyAny>) -> Did<'py> {
    let py = coro.py();
    let mut result = null_mut();
    // SAFETY: rule 1; on NEXT and RETURN the result is a strong reference.
    let sent = unsafe { ffi::PyIter_Send(coro.as_ptr(), ffi::Py_None(), &raw mut result) };
    match sent {
        // SAFETY: as above.
        ffi::PySendResult::PYGEN_NEXT => Did::Yielded(unsafe { Bound::from_owned_ptr(py, result) }),
        ffi::PySendResult::PYGEN_RETURN => {
            // SAFETY: as above.
            Did::Returned(unsafe { Bound::from_owned_ptr(py, result) })
        }
        ffi::PySendResult::PYGEN_ERROR => Did::Raised(fetch(py).into()),
    }
}

#[cold]
fn throw<'py>(coro: &Bound<'py, PyAny>, exception: &Bound<'py, PyAny>) -> Did<'py> {
    let py = coro.py();
    match call::method1(coro, pyo3::intern!(py, "throw"), exception) {
        Ok(yielded) => Did::Yielded(yielded),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            match error.value(py).getattr(pyo3::intern!(py, "value")) {
                Ok(value) => Did::Returned(value),
                Err(error) => Did::Raised(error.into()),
            }
        }
        Err(error) => Did::Raised(error.into()),
    }
}

/// The coroutine raised.
#[cold]
fn fail(task: TaskRef<'_, '_>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    registry::forget(task)?;
    let ends_the_loop = ends_the_loop(py, &error);
    // (Not `value`: 3.11 has the traceback beside the exception, and this puts it there.)
    let raised = error.into_value(py).into_bound(py).into_any();
    if is_cancelled_error(&raised)? {
        // (Kept behind the end of it: to end it takes the message of an earlier request away.)
        task.future.keep_cancelled_error(raised);
        return task.future.cancel(None).map(drop);
    }
    task.future.set_exception(&raised)?;
    if ends_the_loop {
        return Err(PyErr::from_value(raised));
    }
    Ok(())
}

/// The coroutine paused, and handed out what it waits for.
#[inline]
fn pause<'py>(task: TaskRef<'_, 'py>, awaited: Bound<'py, PyAny>) -> Result<After, Raised> {
    if awaited.is_none() {
        // A bare yield: the next turn.
        if task.with(|state| state.scoped.cancelled && !state.scoped.deaf) {
            task.handle_yield()?;
            return Ok(After::Nothing);
        }
        return Ok(After::Again);
    }
    let Some(future) = FutureRef::exact(&awaited) else {
        pause_on_another(task, awaited)?;
        return Ok(After::Nothing);
    };
    if future.object.is(task.object()) {
        object_to(task, &awaited, Objection::Itself)?;
        return Ok(After::Nothing);
    }
    let event_loop = |state: &mut FutureState| state.event_loop.as_ref().map(Py::as_ptr);
    if future.with(event_loop) != task.future.with(event_loop) {
        object_to(task, &awaited, Objection::OtherLoop)?;
        return Ok(After::Nothing);
    }
    if !future.with(|state| std::mem::take(&mut state.blocking)) {
        object_to(task, &awaited, Objection::Yield)?;
        return Ok(After::Nothing);
    }
    future.add(Callback::Wake(task.object().clone().unbind()))?;
    registry::note_wait(&awaited, task.object())?;
    wait_for(task, awaited)?;
    Ok(After::Nothing)
}

/// Notes what the task waits for, and passes on a cancellation that came meanwhile.
#[inline]
fn wait_for<'py>(task: TaskRef<'_, 'py>, awaited: Bound<'py, PyAny>) -> Result<(), Raised> {
    let (old, due, cancelled) = task.with(|state| {
        let old = state.waiter.replace(awaited.clone().unbind());
        (old, state.cancellation.is_due(), state.scoped.cancelled)
    });
    drop(old);
    if due {
        let message = task.future.cancel_message();
        if super::cancel_awaited(&awaited, message.as_ref())? {
            // Done with by what is thrown when it comes back.
            task.with(|state| {
                let _reached: bool = state.cancellation.take_due();
                state.scoped.flight = Flight::Request;
            });
        }
    } else if cancelled {
        task.handle_park()?;
    }
    Ok(())
}

/// As [`pause`], for a future that is not one of ours, or a subclass's: by asyncio's protocol of futures.
fn pause_on_another<'py>(task: TaskRef<'_, 'py>, awaited: Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    let name = pyo3::intern!(py, "_asyncio_future_blocking");
    let blocking = awaited.getattr_opt(name)?.filter(|found| !found.is_none());
    let Some(blocking) = blocking else {
        // SAFETY: rule 1.
        let is_generator = unsafe { ffi::PyGen_CheckExact(awaited.as_ptr()) } != 0;
        let objection = if is_generator {
            Objection::Generator
        } else {
            Objection::Bad
        };
        return object_to(task, &awaited, objection);
    };
    if awaited.is(task.object()) {
        return object_to(task, &awaited, Objection::Itself);
    }
    let get_loop = awaited.getattr_opt(pyo3::intern!(py, "get_loop"))?;
    let event_loop = match get_loop {
        Some(get_loop) => get_loop.call0()?,
        None => awaited.getattr(pyo3::intern!(py, "_loop"))?,
    };
    if !event_loop.is(&task.future.event_loop()?) {
        return object_to(task, &awaited, Objection::OtherLoop);
    }
    if !blocking.is_truthy()? {
        return object_to(task, &awaited, Objection::Yield);
    }
    registry::note_wait(&awaited, task.object())?;
    awaited.setattr(name, false)?;
    let keywords = PyDict::new(py);
    keywords.set_item(pyo3::intern!(py, "context"), super::context(task.object())?)?;
    let woken = wakeup::wakeup(task.object().clone())?;
    awaited.call_method(
        pyo3::intern!(py, "add_done_callback"),
        (woken,),
        Some(&keywords),
    )?;
    Ok(wait_for(task, awaited)?)
}

/// What can be wrong with what a coroutine hands out.
enum Objection {
    Itself,
    OtherLoop,
    Yield,
    Generator,
    Bad,
}

/// Tells the coroutine, at its next step, what is wrong with what it handed out.
#[cold]
fn object_to<'py>(
    task: TaskRef<'_, 'py>,
    awaited: &Bound<'py, PyAny>,
    objection: Objection,
) -> PyResult<()> {
    let (own, other) = (task.object().repr()?, awaited.repr()?);
    task.step_soon(Some(PyRuntimeError::new_err(match objection {
        Objection::Itself => format!("Task cannot await on itself: {own}"),
        Objection::OtherLoop => {
            format!("Task {own} got Future {other} attached to a different loop")
        }
        Objection::Yield => {
            format!("yield was used instead of yield from in task {own} with {other}")
        }
        Objection::Generator => {
            format!("yield was used instead of yield from for generator in task {own} with {other}")
        }
        Objection::Bad => format!("Task got bad yield: {other}"),
    })))
}
