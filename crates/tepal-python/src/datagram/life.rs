//! How an endpoint begins and ends.
//!
//! The order is asyncio's: `connection_made`, then datagrams, then `connection_lost` in a later turn, exactly once;
//! `close` and `abort` never call the protocol from inside.

use super::state::{Datagrams, Parts, with};
use crate::convert;
use crate::errors;
use crate::event_loop::{Driver, Job, Loop, Source};
use crate::names;
use crate::protocols;
use crate::raw::{call, native_state};
use pyo3::PyResult;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use tepal_sys::reactor::Trigger;

/// A transport over a datagram socket; nothing is called yet.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn open<'py>(
    event_loop: &Bound<'py, Loop>,
    parts: &Parts<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = event_loop.py();
    let class = CLASS.import(py, "tepal._datagrams", "DatagramTransport")?;
    // SAFETY: the class derives from the type that `methods::register` made, and its `__init__` has nothing to do.
    unsafe { native_state::make(class, Datagrams::new(parts, event_loop)) }
}

/// Calls `connection_made`, starts reading, and tells the waiter.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn begin(driver: &mut Driver<'_, '_>, endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let Some(Some((protocol, context))) = with(endpoint, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((protocol, state.context.clone_ref(py)))
    }) else {
        return Ok(());
    };
    // SAFETY: an endpoint's context is one (`Parts`).
    unsafe { driver.entered.enter(py, context.as_ptr())? };
    let protocol = protocol.bind(py);
    let name = names::connection_made(py);
    let made = match call::method1(protocol, name, endpoint) {
        Ok(_) => Ok(()),
        Err(error) => {
            driver.entered.leave(py)?;
            protocols::report(driver.event_loop, endpoint, protocol, name, error)
        }
    };
    // Whatever it raised: in asyncio these two are callbacks of their own, which a loop that is run again comes to.
    with(endpoint, |_, state| state.flags.begun = true);
    let begun = update_interest(endpoint);
    let told = match with(endpoint, |_, state| state.waiter.take()).flatten() {
        Some(waiter) => convert::set_result_unless_done(waiter.bind(py), py.None().bind(py)),
        None => Ok(()),
    };
    made.and(begun).and(told)
}

/// Tells the kernel what the endpoint waits for, if that has changed.
///
/// # Errors
///
/// What an exception handler lets out; a registration that fails ends the endpoint.
pub(super) fn update_interest(endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = endpoint.py();
    let change = with(endpoint, |py, state| {
        let wanted = state.interest();
        if wanted == state.registered || state.socket.is_none() {
            return None;
        }
        state.registered = wanted;
        let event_loop = state.event_loop.clone_ref(py);
        Some((event_loop, state.fd, state.token, wanted))
    });
    let Some(Some((event_loop, fd, token, wanted))) = change else {
        return Ok(());
    };
    let event_loop = event_loop.get();
    if wanted.is_empty() {
        return forget(event_loop, endpoint);
    }
    let known = token.is_some();
    let token = token.unwrap_or_else(|| {
        let source = Source::Datagrams(endpoint.clone().unbind());
        let (token, old) = event_loop.with(py, |state| state.install(fd, source));
        drop(old);
        with(endpoint, |_, state| state.token = Some(token));
        token
    });
    match event_loop.register(py, fd, token, wanted, Trigger::Level, known) {
        Ok(()) => Ok(()),
        Err(error) => fail(endpoint, error, "Fatal error on datagram transport"),
    }
}

/// Takes the endpoint out of the loop's table and of the kernel's.
fn forget(event_loop: &Loop, endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = endpoint.py();
    let registration = with(endpoint, |_, state| {
        state.registered = Default::default();
        state.token.take().map(|token| (token, state.fd))
    });
    if let Some(Some((token, fd))) = registration {
        let source = event_loop.with(py, |state| state.uninstall(token));
        drop(source);
        if !event_loop.is_closed_now() {
            return event_loop.unregister(py, fd);
        }
    }
    Ok(())
}

/// `close()`: what waits is sent first.
///
/// # Errors
///
/// RuntimeError in a forked child.
pub(super) fn close(endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let began = with(endpoint, |_, state| {
        !std::mem::replace(&mut state.flags.closing, true)
    });
    if began != Some(true) {
        return Ok(());
    }
    settle_end(endpoint);
    update_interest(endpoint)
}

/// `abort()`, and the end of an endpoint that broke: what waits is dropped.
///
/// # Errors
///
/// RuntimeError in a forked child.
pub(super) fn abort(endpoint: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let py = endpoint.py();
    let error = error.map(|error| error.into_value(py).into_any());
    let dropped = with(endpoint, |_, state| {
        if state.flags.lost {
            return None;
        }
        state.flags.closing = true;
        state.error = error;
        Some(state.queue.take_all())
    });
    if let Some(Some(dropped)) = dropped {
        drop(dropped);
        settle_end(endpoint);
        return update_interest(endpoint);
    }
    Ok(())
}

/// Puts `connection_lost` into a coming turn once the endpoint is closing and nothing waits any more.
pub(super) fn settle_end(endpoint: &Bound<'_, PyAny>) {
    let event_loop = with(endpoint, |py, state| {
        if !state.flags.closing || !state.queue.is_empty() || state.flags.lost {
            return None;
        }
        state.flags.lost = true;
        Some(state.event_loop.clone_ref(py))
    });
    if let Some(Some(event_loop)) = event_loop {
        let job = Job::DatagramsLost(endpoint.clone().unbind());
        event_loop.get().schedule(endpoint.py(), job);
    }
}

/// Ends an endpoint that broke.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt, and what an exception handler lets out.
pub(super) fn fail(endpoint: &Bound<'_, PyAny>, error: PyErr, message: &str) -> PyResult<()> {
    let py = endpoint.py();
    if errors::ends_the_loop(py, &error) {
        return Err(error);
    }
    let parties = with(endpoint, |py, state| {
        let protocol = state.protocol.as_ref();
        let protocol = protocol.map_or_else(|| py.None(), |protocol| protocol.clone_ref(py));
        (state.event_loop.clone_ref(py), protocol)
    });
    let Some((event_loop, protocol)) = parties else {
        return Ok(());
    };
    let told = protocols::report_fatal(
        event_loop.bind(py),
        endpoint,
        protocol.bind(py),
        message,
        &error,
    );
    abort(endpoint, Some(error)).and(told)
}

/// Calls `connection_lost` and closes the socket.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn lose(driver: &mut Driver<'_, '_>, endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let taken = with(endpoint, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((protocol, state.error.take(), state.context.clone_ref(py)))
    });
    let Some(Some((protocol, error, context))) = taken else {
        return Ok(());
    };
    // SAFETY: an endpoint's context is one (`Parts`).
    unsafe { driver.entered.enter(py, context.as_ptr())? };
    let protocol = protocol.into_bound(py);
    let error = error.unwrap_or_else(|| py.None());
    let name = names::connection_lost(py);
    let told = match call::method1(&protocol, name, error.bind(py)) {
        Ok(_) => Ok(()),
        Err(error) => {
            driver.entered.leave(py)?;
            protocols::report(driver.event_loop, endpoint, &protocol, name, error)
        }
    };
    let forgotten = forget(driver.event_loop.get(), endpoint);
    let (protocol, closed) = (
        with(endpoint, |_, state| state.protocol.take()),
        drop_socket(endpoint),
    );
    drop(protocol);
    told.and(forgotten).and(closed)
}

/// Closes the socket; no protocol is called.
///
/// # Errors
///
/// What a socket object's `close` raises.
pub(super) fn drop_socket(endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    match with(endpoint, |_, state| state.socket.take()).flatten() {
        Some(socket) => socket.bind(endpoint.py()).call_method0("close").map(drop),
        None => Ok(()),
    }
}

/// Whether `close` or `abort` was called, or the endpoint broke.
pub(crate) fn is_closing(endpoint: &Bound<'_, PyAny>) -> bool {
    with(endpoint, |_, state| state.flags.closing).unwrap_or(true)
}
