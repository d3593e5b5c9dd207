//! How a TLS connection begins and ends. The phases and their order are `tepal_core::tls`'s.

use super::engine::{Bio, Direct, Engine, wants_more};
use super::lower::Lower;
use super::state::{Flags, READ_HIGH, Tls, WRITE_HIGH, with, with_engine};
use super::{read, write};
use crate::asyncio_streams::reader_of;
use crate::convert;
use crate::errors;
use crate::event_loop::Loop;
use crate::names;
use crate::raw::{call, native_state};
use crate::stream::is_buffered;
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::exceptions::{
    PyConnectionAbortedError, PyConnectionResetError, PyException, PyTimeoutError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{PyErr, PyResult, Python, intern};
use tepal_core::tls::{Bytes, Close, End, Session};
use tepal_core::transport::{FlowControl, WriteQueue};

/// What a TLS transport is made of.
pub(super) struct Parts<'a, 'py> {
    pub(super) event_loop: &'a Bound<'py, Loop>,
    pub(super) protocol: &'a Bound<'py, PyAny>,
    pub(super) ssl_object: &'a Bound<'py, PyAny>,
    /// Two `ssl.MemoryBIO`, under the object.
    pub(super) bios: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    pub(super) waiter: Option<Bound<'py, PyAny>>,
    /// In seconds.
    pub(super) handshake_timeout: f64,
    /// In seconds.
    pub(super) shutdown_timeout: f64,
    /// The protocol knows of its connection already.
    pub(super) made: bool,
    /// The direct engine may be used if there is one.
    pub(super) direct: bool,
}

/// A transport without a lower transport; the layer is told of that later.
///
/// # Errors
///
/// What `isinstance` on the protocol raises.
pub(super) fn open<'py>(
    parts: Parts<'_, 'py>,
    layer: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = layer.py();
    let class = CLASS.import(py, "tepal._tls", "SSLTransport")?;
    let direct = if parts.direct {
        Direct::over(parts.ssl_object)?
    } else {
        None
    };
    let engine: Box<dyn Engine> = match direct {
        Some(direct) => Box::new(direct),
        None => {
            let (incoming, outgoing) = parts.bios;
            let ssl_object = parts.ssl_object.clone().unbind();
            Box::new(Bio::new(ssl_object, incoming.unbind(), outgoing.unbind()))
        }
    };
    let buffered_protocol = is_buffered(parts.protocol)?;
    let state = Tls {
        event_loop: parts.event_loop.clone().unbind(),
        session: Session::new(parts.made),
        engine: Some(engine),
        ssl_object: Some(parts.ssl_object.clone().unbind()),
        lower: None,
        layer: Some(layer.clone().unbind()),
        reader: reader_of(parts.protocol)?,
        protocol: Some(parts.protocol.clone().unbind()),
        waiter: parts.waiter.map(Bound::unbind),
        timer: None,
        handshake_timeout: parts.handshake_timeout,
        shutdown_timeout: parts.shutdown_timeout,
        queue: WriteQueue::new(),
        flow: FlowControl::with_default(WRITE_HIGH),
        read_flow: FlowControl::with_default(READ_HIGH),
        lost_writes: 0,
        flags: Flags {
            buffered_protocol,
            ..Default::default()
        },
    };
    // SAFETY: the class derives from the type that `methods::register` made, and its `__init__` has nothing to do.
    unsafe { native_state::make(class, state) }
}

/// The lower transport is there: the handshake begins.
///
/// # Errors
///
/// As [`receive`].
pub(super) fn connected(tls: &Bound<'_, PyAny>, lower: &Bound<'_, PyAny>) -> PyResult<()> {
    let lower = Lower::of(lower)?;
    let begins = with(tls, |_, state| {
        if state.session.handle_connected() {
            state.lower = Some(lower);
            Some(state.handshake_timeout)
        } else {
            None
        }
    });
    let Some(Some(timeout)) = begins else {
        return Ok(());
    };
    arm(tls, timeout, "_handshake_timed_out")?;
    shake(tls)
}

/// Bytes came from the lower transport.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, what its `connection_made` raises, and what an exception
/// handler lets out.
#[inline]
pub(crate) fn receive(tls: &Bound<'_, PyAny>, bytes: &[u8]) -> PyResult<()> {
    match with(tls, |_, state| state.session.handle_bytes()) {
        None | Some(Bytes::Ignore) => Ok(()),
        Some(Bytes::Read) => read::read(tls, bytes),
        Some(Bytes::ReadThenShutdown) => flush_then_shutdown(tls, bytes),
        Some(what) => {
            let py = tls.py();
            with_engine(tls, |engine| engine.keep(py, bytes)).unwrap_or(Ok(()))?;
            if what == Bytes::Handshake {
                shake(tls)
            } else {
                say_goodbye(tls)
            }
        }
    }
}

/// One step of the handshake: as far as the peer's bytes go.
fn shake(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    let Some(Some(ssl_object)) = with(tls, |py, state| ssl_object(py, state)) else {
        return Ok(());
    };
    match ssl_object
        .bind(py)
        .call_method0(intern!(py, "do_handshake"))
    {
        Ok(_) => shaken(tls),
        Err(error) if wants_more(py, &error) => write::gather_records(tls),
        Err(error) if error.is_instance_of::<PyException>(py) => fail_handshake(tls, error),
        Err(error) => Err(error),
    }
}

fn shaken(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    disarm(tls)?;
    let told = with(tls, |py, state| {
        let made = state.session.handle_shaken()?;
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((made, protocol))
    });
    let Some(Some((made, protocol))) = told else {
        return Ok(());
    };
    // What ends the handshake leaves together with what the protocol has to say first.
    write::gather_records(tls)?;
    if made {
        call::method1(protocol.bind(py), names::connection_made(py), tls)?;
    }
    wake(tls, None)?;
    if with(tls, |_, state| state.flags.dirty) != Some(true) {
        write::flush(py, tls)?;
    }
    read::read(tls, &[])
}

/// The handshake has failed: the peer is told why (an alert), the waiter, and nobody else; strangers do fail.
fn fail_handshake(tls: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let py = tls.py();
    disarm(tls)?;
    with(tls, |_, state| state.session.handle_abort());
    let is_certificate = {
        static KIND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let kind = KIND.import(py, "ssl", "SSLCertVerificationError")?;
        error.is_instance(py, kind)
    };
    let message = if is_certificate {
        "SSL handshake failed on verifying the certificate"
    } else {
        "SSL handshake failed"
    };
    let told = fail(tls, error.clone_ref(py), message);
    told.and(wake(tls, Some(error)))
}

/// The handshake has taken too long.
///
/// # Errors
///
/// What an exception handler lets out.
pub(super) fn handshake_timed_out(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let timeout = with(tls, |_, state| {
        let shaking = state.session.phase() == tepal_core::tls::Phase::Handshake;
        shaking.then_some(state.handshake_timeout)
    });
    let Some(Some(timeout)) = timeout else {
        return Ok(());
    };
    let seconds = timeout.into_pyobject(tls.py())?;
    let message =
        format!("SSL handshake is taking longer than {seconds} seconds: aborting the connection");
    let error = PyConnectionAbortedError::new_err(message);
    fail(tls, error, "Fatal error on transport")
}

/// `close()` of a program. Who closes what is closed already has no more questions, so the session goes with the
/// connection and its context with it, whoever still holds the transport; so asyncio has it
/// (`test_ssl.TestSSL.test_create_connection_memory_leak`).
///
/// # Errors
///
/// As [`receive`].
pub(super) fn close_for_program(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let unused = with(tls, |_, state| {
        state.flags.forgotten |= state.flags.closed;
        forget(state)
    });
    drop(unused);
    close(tls)
}

/// Gives the session up when it is over and nobody will ask for it.
fn forget(state: &mut Tls) -> Option<Py<PyAny>> {
    let over = state.session.phase() == tepal_core::tls::Phase::Over && state.lower.is_none();
    (over && state.flags.forgotten)
        .then(|| state.ssl_object.take())
        .flatten()
}

fn ssl_object(py: Python<'_>, state: &Tls) -> Option<Py<PyAny>> {
    Some(state.ssl_object.as_ref()?.clone_ref(py))
}

/// What waits is read and written, then the peer is told.
///
/// # Errors
///
/// As [`receive`].
pub(super) fn close(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let next = with(tls, |_, state| {
        state.flags.closed = true;
        (state.session.handle_close(), state.shutdown_timeout)
    });
    match next {
        None | Some((Close::Nothing, _)) => Ok(()),
        Some((Close::Abort, _)) => abort(tls, None),
        Some((Close::Flush, timeout)) => {
            arm(tls, timeout, "_shutdown_timed_out")?;
            flush_then_shutdown(tls, &[])
        }
    }
}

/// `abort()`, and the end of a broken connection.
///
/// # Errors
///
/// What a foreign transport's methods raise.
pub(super) fn abort(tls: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let py = tls.py();
    // What the running job has written would have gone already, in asyncio.
    let gathered = with(tls, |_, state| std::mem::take(&mut state.flags.dirty));
    if gathered == Some(true) {
        // An error changes nothing any more: the connection is dropped below.
        drop(write::encrypt(tls, false));
    }
    let lower = with(tls, |py, state| {
        state.flags.closed = true;
        state.session.handle_abort();
        state.lower.as_ref().map(|lower| lower.clone_ref(py))
    });
    match lower.flatten() {
        Some(lower) => lower.force_close(py, error),
        None => Ok(()),
    }
}

/// Reports an error in asyncio's manner and drops the connection.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt, and what an exception handler lets out.
#[cold]
pub(super) fn fail(tls: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = tls.py();
    if errors::ends_the_loop(py, &error) {
        return Err(error);
    }
    // The peer may be told why (an alert). If even that cannot be sent, the connection is broken, which is being said.
    drop(write::send_records(tls));
    let parties = with(tls, |py, state| {
        let lower = state.lower.as_ref()?.clone_ref(py);
        let layer = state.layer.as_ref()?.clone_ref(py);
        Some((lower, layer, state.event_loop.clone_ref(py)))
    });
    let Some(Some((lower, layer, event_loop))) = parties else {
        return Ok(());
    };
    lower.fail(event_loop.bind(py), layer.bind(py), error, message)
}

/// What is left to read and to write, and then the goodbye.
fn flush_then_shutdown(tls: &Bound<'_, PyAny>, input: &[u8]) -> PyResult<()> {
    read::read(tls, input)?;
    if with(tls, |_, state| state.session.handle_flushed()) == Some(true) {
        // When the stream's end came first, nobody has set the limit; a peer that reads nothing has no other.
        let unlimited = with(tls, |_, state| {
            state.timer.is_none().then_some(state.shutdown_timeout)
        });
        if let Some(Some(timeout)) = unlimited {
            arm(tls, timeout, "_shutdown_timed_out")?;
        }
        // Plain text may have waited for the lower transport; after the goodbye nothing may follow.
        if let Err(error) = write::encrypt(tls, true) {
            return fail(tls, error, "Fatal error on SSL protocol");
        }
        write::control_writing(tls)?;
        return say_goodbye(tls);
    }
    Ok(())
}

/// One step of the goodbye: ours is sent, and the peer's awaited until the time limit.
fn say_goodbye(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    let facts = with(tls, |py, state| {
        Some((ssl_object(py, state)?, state.session.has_ended()))
    });
    let Some(Some((ssl_object, ended))) = facts else {
        return Ok(());
    };
    if !ended {
        let unwrapped = ssl_object.bind(py).call_method0(intern!(py, "unwrap"));
        match unwrapped {
            Ok(_) => {}
            Err(error) if wants_more(py, &error) => return write::gather_records(tls),
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => {
                return fail(tls, error, "Fatal error on transport");
            }
            Err(error) => return Err(error),
        }
    }
    write::gather_records(tls)?;
    read::finish(tls)?;
    let lower = with(tls, |py, state| {
        let lower = state.lower.as_ref()?.object().clone_ref(py);
        Some((lower, state.event_loop.clone_ref(py)))
    });
    // The time limit stays: the peer may never read what is still to be sent.
    if let Some(Some((lower, event_loop))) = lower {
        let close = lower.bind(py).getattr(intern!(py, "close"))?;
        event_loop.bind(py).call_method1("call_soon", (close,))?;
    }
    Ok(())
}

/// The goodbye has taken too long.
///
/// # Errors
///
/// What a foreign transport's methods raise.
pub(super) fn shutdown_timed_out(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    abort(tls, Some(PyTimeoutError::new_err("SSL shutdown timed out")))
}

/// `resume_reading`, a turn later.
///
/// # Errors
///
/// As [`receive`].
pub(super) fn read_on(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    receive(tls, &[])
}

/// The lower stream has ended; whether its transport stays open until we close it.
///
/// # Errors
///
/// As [`receive`].
pub(super) fn handle_end(tls: &Bound<'_, PyAny>) -> PyResult<bool> {
    let end = with(tls, |_, state| state.session.handle_end(state.flags.paused));
    match end {
        None | Some(End::Ignore) => Ok(false),
        Some(End::KeepForReader) => Ok(true),
        Some(End::FailHandshake) => {
            let error = PyConnectionResetError::new_err(());
            fail_handshake(tls, error).map(|()| false)
        }
        Some(End::ReadThenShutdown) => flush_then_shutdown(tls, &[]).map(|()| false),
        Some(End::Shutdown) => say_goodbye(tls).map(|()| false),
    }
}

/// The lower transport is gone.
///
/// # Errors
///
/// What a replaced `call_soon` or a foreign future raises.
pub(super) fn lost(tls: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    let disarmed = disarm(tls);
    let taken = with(tls, |py, state| {
        state.flags.closed = true;
        let due = state.session.handle_lost();
        // In this order: nothing that is dropped below may still be reached.
        (
            due,
            state.protocol.take(),
            state.lower.take(),
            state.engine.take(),
            state.queue.take_all(),
            state.event_loop.clone_ref(py),
        )
    });
    let Some((due, protocol, lower, engine, chunks, event_loop)) = taken else {
        return Ok(());
    };
    drop((lower, engine, chunks));
    drop(with(tls, |_, state| forget(state)));
    let told = match protocol {
        Some(protocol) if due => protocol
            .bind(py)
            .getattr(names::connection_lost(py))
            .and_then(|method| {
                let event_loop = event_loop.bind(py);
                event_loop
                    .call_method1("call_soon", (method, error))
                    .map(drop)
            }),
        _ => Ok(()),
    };
    let error = if error.is_none() {
        // Somebody still waits for the handshake: there will be none.
        PyConnectionResetError::new_err("the connection was closed during the SSL handshake")
    } else {
        PyErr::from_value(error.clone())
    };
    let woken = wake(tls, Some(error));
    disarmed.and(told).and(woken)
}

/// Tells the waiter how the handshake went; once.
fn wake(tls: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let py = tls.py();
    let Some(Some(waiter)) = with(tls, |_, state| state.waiter.take()) else {
        return Ok(());
    };
    let waiter = waiter.bind(py);
    match error {
        None => convert::set_result_unless_done(waiter, py.None().bind(py)),
        // A future takes no CancelledError; one that is done is not cancelled any more.
        Some(error) if error.is_instance_of::<CancelledError>(py) => {
            waiter.call_method0("cancel").map(drop)
        }
        Some(error) => convert::set_exception_unless_done(waiter, error.value(py)),
    }
}

/// Sets the time limit; one at a time.
fn arm(tls: &Bound<'_, PyAny>, seconds: f64, method: &str) -> PyResult<()> {
    disarm(tls)?;
    let Some(event_loop) = with(tls, |py, state| state.event_loop.clone_ref(py)) else {
        return Ok(());
    };
    let callback = tls.getattr(method)?;
    let timer = event_loop
        .bind(tls.py())
        .call_method1("call_later", (seconds, callback))?;
    with(tls, |_, state| state.timer = Some(timer.unbind()));
    Ok(())
}

fn disarm(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    match with(tls, |_, state| state.timer.take()).flatten() {
        Some(timer) => timer.bind(tls.py()).call_method0("cancel").map(drop),
        None => Ok(()),
    }
}
