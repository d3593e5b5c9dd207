//! How a pipe begins and ends.
//!
//! The order is asyncio's: `connection_made`, then bytes; `eof_received` and `connection_lost` in the turn after the end
//! was read, each exactly once; `close` and `abort` never call the protocol from inside.

use super::schedule;
use super::state::{Due, Flags, Pipe, Role, with};
use super::write;
use crate::errors;
use crate::event_loop::{Driver, Loop, Side};
use crate::names;
use crate::raw::{call, context, native_state};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};
use std::io;
use tepal_core::transport::{FlowControl, WriteQueue};
use tepal_sys::pipe;
use tepal_sys::reactor::Trigger;

/// A transport over a file object; nothing is called yet but its `fileno`.
///
/// # Errors
///
/// ValueError with asyncio's words for a regular file, OSError from the kernel, and what `fileno` raises.
pub(crate) fn open<'py>(
    event_loop: &Bound<'py, Loop>,
    role: Role,
    file: &Bound<'py, PyAny>,
    protocol: &Bound<'py, PyAny>,
    waiter: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static READER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static WRITER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = event_loop.py();
    event_loop.get().check_open()?;
    let class = match role {
        Role::Read => READER.import(py, "tepal._pipes", "ReadPipeTransport")?,
        Role::Write => WRITER.import(py, "tepal._pipes", "WritePipeTransport")?,
    };
    let fd = file.call_method0("fileno")?.extract()?;
    let kind = tepal_sys::fd::borrow(fd)
        .and_then(pipe::adopt)
        .map_err(|error| errors::from_io(py, &error))?
        .ok_or_else(|| {
            PyValueError::new_err(match role {
                Role::Read => "Pipe transport is for pipes/sockets only.",
                Role::Write => "Pipe transport is only for pipes, sockets and character devices",
            })
        })?;
    let context = context::given_or_current(py, None)?;
    let state = Pipe {
        event_loop: event_loop.clone().unbind(),
        role,
        kind,
        file: Some(file.clone().unbind()),
        fd,
        protocol: Some(protocol.clone().unbind()),
        context: context.unbind(),
        waiter: waiter.map(|waiter| waiter.clone().unbind()),
        error: None,
        queue: WriteQueue::new(),
        flow: FlowControl::new(),
        lost_writes: 0,
        due: Default::default(),
        flags: Flags::default(),
    };
    // SAFETY: both classes derive from ours and have no `__init__`.
    let transport = unsafe { native_state::make(class, state)? };
    schedule(&transport, Due::Begin);
    Ok(transport)
}

/// Enters the pipe's context; the protocol, unless it is gone.
///
/// # Errors
///
/// RuntimeError when somebody else has entered the context.
pub(super) fn enter(
    driver: &mut Driver<'_, '_>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<Option<Py<PyAny>>> {
    let found = with(transport, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((protocol, state.context.clone_ref(py)))
    });
    let Some(Some((protocol, context))) = found else {
        return Ok(None);
    };
    // SAFETY: a pipe's context is one (`open`).
    unsafe { driver.entered.enter(driver.py, context.as_ptr())? };
    Ok(Some(protocol))
}

/// Calls `connection_made`, starts watching, and tells the waiter.
///
/// # Errors
///
/// As `run_job`.
pub(super) fn begin(driver: &mut Driver<'_, '_>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let Some(protocol) = enter(driver, transport)? else {
        return Ok(());
    };
    let made = match call::method1(protocol.bind(py), names::connection_made(py), transport) {
        Ok(_) => Ok(()),
        Err(error) => report(driver, transport, names::connection_made(py), error),
    };
    // Whatever it raised: in asyncio these two are callbacks of their own.
    let watched = match watch(transport) {
        Ok(()) => Ok(()),
        Err(error) => {
            driver.entered.leave(py)?;
            let message = "Exception in callback loop.add_reader()";
            let details = [("transport", transport), ("protocol", protocol.bind(py))];
            errors::report(driver.event_loop, message, &error, &details)
        }
    };
    let told = match with(transport, |_, state| state.waiter.take()).flatten() {
        Some(waiter) => crate::convert::set_result_unless_done(waiter.bind(py), py.None().bind(py)),
        None => Ok(()),
    };
    made.and(watched).and(told)
}

/// Has the kernel asked, as this kind of pipe needs it (`Pipe::watched`).
///
/// # Errors
///
/// OSError from the kernel: `EPERM` for a device that cannot be waited for.
pub(super) fn watch(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let asked = with(transport, |py, state| {
        let ended = state.flags.closing && state.role == Role::Read || state.flags.lost;
        (!ended).then(|| (state.event_loop.clone_ref(py), state.fd, state.watched()))
    });
    if let Some(Some((event_loop, fd, (sides, trigger)))) = asked {
        for side in sides {
            event_loop.get().watch_pipe(transport, fd, *side, trigger)?;
        }
    }
    Ok(())
}

/// Watches a device for room, or no more.
///
/// # Errors
///
/// OSError from the kernel: `EPERM` for a device that cannot be waited for.
pub(super) fn watch_room(transport: &Bound<'_, PyAny>, wanted: bool) -> PyResult<()> {
    let found = with(transport, |py, state| {
        (state.event_loop.clone_ref(py), state.fd)
    });
    let Some((event_loop, fd)) = found else {
        return Ok(());
    };
    let event_loop = event_loop.get();
    if wanted {
        event_loop.watch_pipe(transport, fd, Side::Write, Trigger::Level)
    } else {
        event_loop.unwatch_pipe(transport, fd, Side::Write)
    }
}

/// Has the kernel asked no more.
///
/// # Errors
///
/// None that is known.
pub(super) fn stop_watching(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let found = with(transport, |py, state| {
        (state.event_loop.clone_ref(py), state.fd)
    });
    let Some((event_loop, fd)) = found else {
        return Ok(());
    };
    let read = event_loop.get().unwatch_pipe(transport, fd, Side::Read);
    let write = event_loop.get().unwatch_pipe(transport, fd, Side::Write);
    read.and(write)
}

/// A protocol's method raised where asyncio calls it as a callback.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt, and what an exception handler lets out.
#[cold]
pub(super) fn report(
    driver: &mut Driver<'_, '_>,
    transport: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    error: PyErr,
) -> PyResult<()> {
    let py = driver.py;
    driver.entered.leave(py)?;
    let protocol = with(transport, |py, state| {
        state
            .protocol
            .as_ref()
            .map(|protocol| protocol.clone_ref(py))
    });
    let protocol = protocol.flatten().unwrap_or_else(|| py.None());
    let protocol = protocol.bind(py);
    let method = protocol.getattr(name).unwrap_or_else(|_| protocol.clone());
    errors::report_protocol(driver.event_loop, &method, transport, protocol, error)
}

/// Debug mode: the other side has closed.
///
/// # Errors
///
/// What logging raises.
pub(super) fn tell_closed_by_peer(
    event_loop: &Bound<'_, Loop>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if !event_loop.get().debug() {
        return Ok(());
    }
    let logger = transport.py().import("asyncio.log")?.getattr("logger")?;
    logger
        .call_method1("info", ("%r was closed by peer", transport))
        .map(drop)
}

/// Ends a pipe that broke. What belongs to pipes' lives is told to the protocol alone: any OSError of a write, and of
/// reads `EIO`, by which a pseudo-terminal says that its other side is closed. The rest goes to the loop's exception
/// handler too.
///
/// # Errors
///
/// What an exception handler lets out.
#[cold]
pub(super) fn fail(transport: &Bound<'_, PyAny>, error: &io::Error, message: &str) -> PyResult<()> {
    let py = transport.py();
    let found = with(transport, |py, state| {
        let protocol = state
            .protocol
            .as_ref()
            .map(|protocol| protocol.clone_ref(py));
        (state.event_loop.clone_ref(py), protocol, state.role)
    });
    let Some((event_loop, protocol, role)) = found else {
        return Ok(());
    };
    let raised = errors::from_io(py, error);
    let told = if role == Role::Write || tepal_sys::pipe::is_other_side_closed(error) {
        if event_loop.get().debug() {
            let keywords = PyDict::new(py);
            keywords.set_item("exc_info", raised.value(py))?;
            let logger = py.import("asyncio.log")?.getattr("logger")?;
            logger
                .call_method("debug", ("%r: %s", transport, message), Some(&keywords))
                .map(drop)
        } else {
            Ok(())
        }
    } else {
        let protocol = protocol.unwrap_or_else(|| py.None());
        let details = [("transport", transport), ("protocol", protocol.bind(py))];
        errors::report(event_loop.bind(py), message, &raised, &details)
    };
    let ended = abort(transport, Some(raised));
    told.and(ended)
}

/// `abort()`, a read pipe's `close()`, and the end of a broken pipe: what waits for the kernel is dropped, what only waits
/// for the end of the job goes.
///
/// # Errors
///
/// What closing the file raises, on a closed loop.
pub(super) fn abort(transport: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    write::send_gathered(transport);
    let dropped = with(transport, |_, state| {
        state.flags.closing = true;
        state.queue.take_all()
    });
    drop(dropped);
    stop_watching(transport)?;
    schedule_lost(transport, error)
}

/// Puts `connection_lost` into a coming turn. On a loop that is closed there is none: the file is closed at once, and the
/// protocol is not called.
///
/// # Errors
///
/// What closing the file raises, on a closed loop.
pub(super) fn schedule_lost(transport: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let py = transport.py();
    let error = error.map(|error| error.into_value(py).into_any());
    let closed = with(transport, |_, state| {
        if std::mem::replace(&mut state.flags.lost, true) {
            return None;
        }
        state.error = error;
        Some(state.event_loop.get().is_closed_now())
    });
    match closed.flatten() {
        Some(true) => close_file(transport),
        Some(false) => {
            schedule(transport, Due::Lost);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Calls `connection_lost` and closes the file.
///
/// # Errors
///
/// As `run_job`, and what closing the file raises.
pub(super) fn lose(driver: &mut Driver<'_, '_>, transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let told = match enter(driver, transport)? {
        None => Ok(()),
        Some(protocol) => {
            let error = with(transport, |_, state| state.error.take()).flatten();
            let error = error.unwrap_or_else(|| py.None());
            match call::method1(
                protocol.bind(py),
                names::connection_lost(py),
                error.bind(py),
            ) {
                Ok(_) => Ok(()),
                Err(error) => report(driver, transport, names::connection_lost(py), error),
            }
        }
    };
    let closed = match close_file(transport) {
        Ok(()) => Ok(()),
        Err(error) => report(driver, transport, names::connection_lost(py), error),
    };
    told.and(closed)
}

/// Closes the file and lets go of the protocol.
fn close_file(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let taken = with(transport, |_, state| {
        (
            state.file.take(),
            state.protocol.take(),
            state.waiter.take(),
        )
    });
    match taken {
        Some((Some(file), protocol, waiter)) => {
            drop((protocol, waiter));
            file.bind(transport.py()).call_method0("close").map(drop)
        }
        _ => Ok(()),
    }
}

/// Whether `close`, `abort` or `write_eof` was called, or the pipe ended or broke.
pub(super) fn is_closing(transport: &Bound<'_, PyAny>) -> bool {
    with(transport, |_, state| state.flags.closing).unwrap_or(true)
}
