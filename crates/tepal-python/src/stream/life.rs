//! How a stream begins and ends.
//!
//! The order is asyncio's: `connection_made`, then bytes; `eof_received`, and in a later turn `connection_lost`,
//! exactly once; `close` and `abort` never call the protocol from inside.

use super::StreamJob;
use super::read::is_buffered;
use super::state::{Parts, Socket, Stream, Taker, with};
use super::{file, write};
use crate::errors;
use crate::event_loop::{Driver, Job, Loop, Source};
use crate::names;
use crate::protocols;
use crate::raw::{call, native_state};
use pyo3::PyResult;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use tepal_core::transport::{FlowControl, WriteQueue};
use tepal_sys::reactor::{Interest, Trigger};
use tepal_sys::socket;

/// A transport over a connected socket; nothing is called yet but `server._attach`.
///
/// # Errors
///
/// What `isinstance` on the protocol or the server raises.
pub(crate) fn open<'py>(
    event_loop: &Bound<'py, Loop>,
    parts: Parts<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let class = class(py)?;
    let buffered_protocol = is_buffered(parts.protocol)?;
    let state = Stream {
        event_loop: event_loop.clone().unbind(),
        socket: parts.socket,
        token: None,
        protocol: Some(parts.protocol.clone().unbind()),
        taker: Taker::of(parts.protocol)?,
        server: parts.server.map(|server| server.clone().unbind()),
        context: parts.context.clone().unbind(),
        waiter: parts.waiter.map(|waiter| waiter.clone().unbind()),
        error: None,
        queue: WriteQueue::new(),
        flow: FlowControl::new(),
        file: None,
        peer: parts.peer,
        local: None,
        lost_writes: 0,
        flags: super::state::Flags {
            buffered_protocol,
            ..Default::default()
        },
    };
    // SAFETY: the class derives from the type that `methods::register` made, and its `__init__` has nothing to do.
    let transport = unsafe { native_state::make(class, state)? };
    if let Some(server) = parts.server {
        call::method1(server, names::_attach(py), &transport)?;
    }
    Ok(transport)
}

/// The class that every stream is made of.
///
/// # Errors
///
/// What importing it raises.
pub(super) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "tepal._transports", "SocketTransport")
}

/// Calls `connection_made`, starts reading, and tells the waiter.
///
/// # Errors
///
/// As `run_job`.
pub(crate) fn begin(driver: &mut Driver<'_, '_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let Some(Some((protocol, context))) = with(stream, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((protocol, state.context.clone_ref(py)))
    }) else {
        return Ok(());
    };
    // SAFETY: a stream's context is one (`Parts`).
    unsafe { driver.entered.enter(py, context.as_ptr())? };
    let protocol = protocol.bind(py);
    let method = protocol.getattr(names::connection_made(py));
    let called = method
        .as_ref()
        .map_err(|error| error.clone_ref(py))
        .and_then(|method| method.call1((stream,)));
    let made = match called {
        Ok(_) => Ok(()),
        Err(error) => {
            driver.entered.leave(py)?;
            let method = method.unwrap_or_else(|_| protocol.clone());
            errors::report_protocol(driver.event_loop, &method, stream, protocol, error)
        }
    };
    // Whatever it raised: in asyncio these two are callbacks of their own, which a loop that is run again comes to
    // (`test_the_connection_is_made_all_the_same`).
    let begun = start_reading(driver.event_loop, stream);
    let told = match with(stream, |_, state| state.waiter.take()).flatten() {
        Some(waiter) => crate::convert::set_result_unless_done(waiter.bind(py), py.None().bind(py)),
        None => Ok(()),
    };
    made.and(begun).and(told)
}

/// Registers the socket: once, edge-triggered.
fn start_reading(event_loop: &Bound<'_, Loop>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = stream.py();
    let fd = with(stream, |_, state| {
        if state.flags.lost {
            return None;
        }
        state.flags.begun = true;
        Some((state.socket.fd(), state.flags.blocked))
    });
    let Some(Some((fd, blocked))) = fd else {
        return Ok(());
    };
    let source = Source::Stream(stream.clone().unbind());
    let (token, old) = event_loop.get().with(py, |state| state.install(fd, source));
    drop(old);
    with(stream, |_, state| {
        state.token = Some(token);
        state.flags.watches_writing = blocked;
    });
    let interest = if blocked {
        Interest::BOTH
    } else {
        Interest::READABLE
    };
    match event_loop
        .get()
        .register(py, fd, token, interest, Trigger::Edge, false)
    {
        Ok(()) => Ok(()),
        Err(error) => fail(stream, error, "Fatal read error on socket transport"),
    }
}

/// The end of the stream was read.
pub(super) fn end_reading(stream: &Bound<'_, PyAny>) {
    with(stream, |_, state| state.flags.ended = true);
}

/// `close()`: what waits is sent first.
///
/// # Errors
///
/// What an exception handler lets out.
pub(super) fn close(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let began = with(stream, |_, state| {
        !std::mem::replace(&mut state.flags.closing, true)
    });
    if began != Some(true) {
        return Ok(());
    }
    write::flush(stream.py(), stream)?;
    settle_end(stream)
}

/// `abort()`, and the end of a broken connection: what waits for the kernel is dropped, what only waits for the end of
/// the job goes.
pub(crate) fn abort(stream: &Bound<'_, PyAny>, error: Option<PyErr>) {
    let py = stream.py();
    write::send_gathered(stream);
    let error = error.map(|error| error.into_value(py).into_any());
    let dropped = with(stream, |_, state| {
        if state.flags.lost {
            return (Default::default(), false);
        }
        state.flags.closing = true;
        state.error = error;
        (state.queue.take_all(), true)
    });
    if let Some((chunks, true)) = dropped {
        drop(chunks);
        schedule_lost(stream);
    }
}

/// When nothing waits any more: the connection's end, or the stream's.
///
/// # Errors
///
/// What an exception handler lets out.
pub(super) fn settle_end(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    enum Next {
        Nothing,
        Lose,
        Shutdown(std::os::fd::RawFd),
    }
    let next = with(stream, |_, state| {
        if !state.queue.is_empty() || state.flags.lost {
            Next::Nothing
        } else if state.flags.closing {
            Next::Lose
        } else if state.flags.write_ended {
            Next::Shutdown(state.socket.fd())
        } else {
            Next::Nothing
        }
    });
    match next {
        None | Some(Next::Nothing) => Ok(()),
        Some(Next::Lose) => {
            schedule_lost(stream);
            Ok(())
        }
        Some(Next::Shutdown(fd)) => tepal_sys::fd::borrow(fd)
            .and_then(socket::shutdown_write)
            .map_err(|error| errors::from_io(stream.py(), &error)),
    }
}

/// Ends a connection that broke; OSErrors are the network's and are told to the protocol alone, the others are bugs
/// and told to the loop's exception handler too.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt, and what an exception handler lets out.
pub(super) fn fail(stream: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = stream.py();
    if errors::ends_the_loop(py, &error) {
        return Err(error);
    }
    let parties = with(stream, |py, state| {
        let protocol = state.protocol.as_ref();
        let protocol = protocol.map_or_else(|| py.None(), |protocol| protocol.clone_ref(py));
        (state.event_loop.clone_ref(py), protocol)
    });
    let Some((event_loop, protocol)) = parties else {
        return Ok(());
    };
    let told = protocols::report_fatal(
        event_loop.bind(py),
        stream,
        protocol.bind(py),
        message,
        &error,
    );
    abort(stream, Some(error));
    told
}

/// Puts `connection_lost` into a coming turn.
fn schedule_lost(stream: &Bound<'_, PyAny>) {
    let event_loop = with(stream, |py, state| {
        if std::mem::replace(&mut state.flags.lost, true) {
            return None;
        }
        Some(state.event_loop.clone_ref(py))
    });
    if let Some(Some(event_loop)) = event_loop {
        let job = Job::Stream(stream.clone().unbind(), StreamJob::Lost);
        event_loop.get().schedule(stream.py(), job);
    }
}

/// Calls `connection_lost` and closes the socket.
///
/// # Errors
///
/// As `run_job`.
pub(super) fn lose(driver: &mut Driver<'_, '_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let taken = with(stream, |py, state| {
        // What `get_extra_info` may still be asked for once the socket is gone.
        if state.local.is_none() {
            state.local = tepal_sys::fd::borrow(state.socket.fd())
                .and_then(socket::local_address)
                .ok();
        }
        let context = state.context.clone_ref(py);
        (
            state
                .protocol
                .as_ref()
                .map(|protocol| protocol.clone_ref(py)),
            state.error.take(),
            context,
        )
    });
    let Some((protocol, error, context)) = taken else {
        return Ok(());
    };
    // SAFETY: a stream's context is one (`Parts`).
    unsafe { driver.entered.enter(py, context.as_ptr())? };
    let outcome = match protocol {
        None => Ok(()),
        Some(protocol) => {
            let protocol = protocol.into_bound(py);
            let error = error.unwrap_or_else(|| py.None());
            match call::method1(&protocol, names::connection_lost(py), error.bind(py)) {
                Ok(_) => Ok(()),
                Err(error) => {
                    driver.entered.leave(py)?;
                    let method = protocol
                        .getattr(names::connection_lost(py))
                        .unwrap_or_else(|_| protocol.clone());
                    errors::report_protocol(driver.event_loop, &method, stream, &protocol, error)
                }
            }
        }
    };
    let told = file::break_off(stream);
    let closed = close_socket(driver.event_loop, stream);
    outcome.and(told).and(closed)
}

/// Closes the socket, tells the server, and lets go of the protocol.
fn close_socket(event_loop: &Bound<'_, Loop>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = stream.py();
    let taken = with(stream, |_, state| {
        let socket = std::mem::replace(&mut state.socket, Socket::Closed);
        (
            socket,
            state.token.take(),
            (
                state.protocol.take(),
                std::mem::replace(&mut state.taker, Taker::Protocol),
            ),
            state.server.take(),
        )
    });
    let Some((socket, token, protocols, server)) = taken else {
        return Ok(());
    };
    if let Some(token) = token {
        let source = event_loop.get().with(py, |state| state.uninstall(token));
        drop(source);
    }
    drop(protocols);
    let closed = match socket {
        Socket::Native(fd) => {
            drop(fd);
            Ok(())
        }
        Socket::Python(object, fd) => {
            // Another number may still name the connection, so the kernel would not forget it by itself.
            if token.is_some() && !event_loop.get().is_closed_now() {
                event_loop.get().unregister(py, fd)?;
            }
            object.bind(py).call_method0("close").map(drop)
        }
        Socket::Closed => Ok(()),
    };
    if let Some(server) = server {
        call::method1(server.bind(py), names::_detach(py), stream)?;
    }
    closed
}

/// Closes the socket of a transport that nobody holds any more; no protocol is called.
///
/// # Errors
///
/// What a socket object's `close` raises.
pub(super) fn drop_socket(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let socket = with(stream, |_, state| {
        std::mem::replace(&mut state.socket, Socket::Closed)
    });
    match socket {
        Some(Socket::Python(object, _)) => object.bind(stream.py()).call_method0("close").map(drop),
        _ => Ok(()),
    }
}

/// Whether `close` or `abort` was called, or the connection broke.
pub(crate) fn is_closing(stream: &Bound<'_, PyAny>) -> bool {
    with(stream, |_, state| state.flags.closing).unwrap_or(true)
}
