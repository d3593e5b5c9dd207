//! From the socket to the protocol.

use super::life;
use super::state::{Datagrams, Kind, with};
use crate::convert;
use crate::errors;
use crate::event_loop::{Driver, initialized};
use crate::names;
use crate::protocols;
use crate::raw::call;
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::io;
use std::mem::MaybeUninit;
use tepal_sys::socket::{self, Address};

/// What one call to the kernel gave.
enum Taken {
    /// The endpoint does not read (any more).
    Stop,
    /// No datagram waits.
    Empty,
    /// A datagram of so many bytes, from a peer that is remembered.
    Known(usize, Py<PyAny>),
    /// The same, from another.
    New(usize, Option<Address>),
    Failed(io::Error),
}

/// The socket can be read: datagrams go to the protocol, as many as the core allows for one job, and as long as the
/// protocol wants them. A protocol that pauses or closes in the middle gets no further one of the batch.
///
/// # Errors
///
/// As `handle_ready`.
pub(super) fn handle_readable(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let plan = with(endpoint, |py, state| {
        let plan = (
            state.kind,
            state.burst.poll_budget(),
            state.context.clone_ref(py),
        );
        state.is_reading().then_some(plan)
    });
    let Some(Some((kind, budget, context))) = plan else {
        return Ok(());
    };
    // SAFETY: an endpoint's context is one (`Parts`).
    unsafe { driver.entered.enter(driver.py, context.as_ptr())? };
    if kind == Kind::Foreign {
        return read_through_object(driver, endpoint);
    }
    let mut count = 0;
    let mut outcome = Ok(true);
    while count < budget && matches!(outcome, Ok(true)) {
        outcome = read_one(driver, endpoint);
        count += u32::from(!matches!(outcome, Ok(false)));
    }
    with(endpoint, |_, state| state.burst.handle_received(count));
    outcome.map(drop)
}

/// Takes one datagram, or an error, to the protocol; whether another may be asked for.
fn read_one(driver: &mut Driver<'_, '_>, endpoint: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = driver.py;
    let room = &mut driver.scratch;
    let taken = with(endpoint, |py, state| {
        let protocol = state.protocol.as_ref().filter(|_| state.is_reading());
        match protocol.map(|protocol| protocol.clone_ref(py)) {
            Some(protocol) => (take(py, state, room), Some(protocol)),
            None => (Taken::Stop, None),
        }
    });
    let Some((taken, Some(protocol))) = taken else {
        return Ok(false);
    };
    let protocol = protocol.into_bound(py);
    let (length, sender) = match taken {
        Taken::Stop | Taken::Empty => return Ok(false),
        Taken::Failed(error) => {
            tell_error(driver, endpoint, &protocol, errors::from_io(py, &error))?;
            return Ok(false);
        }
        Taken::Known(length, sender) => (length, sender.into_bound(py)),
        Taken::New(length, None) => (length, py.None().into_bound(py)),
        Taken::New(length, Some(address)) => {
            let shown = convert::address(py, &address)?;
            let kept = shown.clone().unbind();
            let driven_out = with(endpoint, |_, state| state.peers.add(address, kept));
            drop(driven_out);
            (length, shown)
        }
    };
    let data = PyBytes::new(py, initialized(&driver.scratch[..length]));
    hand_over(driver, endpoint, &protocol, data.as_any(), &sender)?;
    Ok(true)
}

/// Asks the kernel for a datagram. Runs no Python code.
#[inline]
fn take(py: Python<'_>, state: &mut Datagrams, room: &mut [MaybeUninit<u8>]) -> Taken {
    let received = tepal_sys::fd::borrow(state.fd).and_then(|fd| socket::receive_from(fd, room));
    match received {
        Ok(None) => Taken::Empty,
        Ok(Some((length, sender))) => {
            let known = sender
                .as_ref()
                .and_then(|sender| state.peers.find(py, sender));
            match known {
                Some(known) => Taken::Known(length, known),
                None => Taken::New(length, sender),
            }
        }
        Err(error) => Taken::Failed(error),
    }
}

/// One datagram through the socket object's own `recvfrom`.
fn read_through_object(driver: &mut Driver<'_, '_>, endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = driver.py;
    let parties = with(endpoint, |py, state| {
        let socket = state.socket.as_ref()?.clone_ref(py);
        Some((socket, state.protocol.as_ref()?.clone_ref(py)))
    });
    let Some(Some((socket, protocol))) = parties else {
        return Ok(());
    };
    let protocol = protocol.into_bound(py);
    let received = socket
        .bind(py)
        .call_method1(pyo3::intern!(py, "recvfrom"), (driver.scratch.len(),))
        .and_then(|received| received.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>());
    match received {
        Ok((data, sender)) => hand_over(driver, endpoint, &protocol, &data, &sender),
        Err(error) if would_block(py, &error) => Ok(()),
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            tell_error(driver, endpoint, &protocol, error)
        }
        Err(error) => {
            driver.entered.leave(py)?;
            life::fail(endpoint, error, "Fatal read error on datagram transport")
        }
    }
}

/// Whether a socket object's method says that it would block.
pub(super) fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

fn hand_over(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    data: &Bound<'_, PyAny>,
    sender: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let name = names::datagram_received(driver.py);
    match call::method2(protocol, name, data, sender) {
        Ok(_) => Ok(()),
        Err(error) => raised(driver, endpoint, protocol, name, error),
    }
}

/// Calls `error_received`.
#[cold]
fn tell_error(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    error: PyErr,
) -> PyResult<()> {
    let name = names::error_received(driver.py);
    match call::method1(protocol, name, error.value(driver.py)) {
        Ok(_) => Ok(()),
        Err(error) => raised(driver, endpoint, protocol, name, error),
    }
}

/// A protocol's method raised. The endpoint goes on, as in asyncio: a datagram that one cannot read says nothing about
/// the next.
#[cold]
pub(super) fn raised(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    error: PyErr,
) -> PyResult<()> {
    driver.entered.leave(driver.py)?;
    protocols::report(driver.event_loop, endpoint, protocol, name, error)?;
    // Back to where the rest of the batch is handled.
    if let Some(context) = with(endpoint, |py, state| state.context.clone_ref(py)) {
        // SAFETY: an endpoint's context is one (`Parts`).
        unsafe { driver.entered.enter(driver.py, context.as_ptr())? };
    }
    Ok(())
}

/// `pause_reading()`: not in asyncio's documents for datagrams, but its transports have it.
///
/// # Errors
///
/// What an exception handler lets out.
pub(super) fn pause(endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    with(endpoint, |_, state| {
        if !state.flags.closing {
            state.flags.paused = true;
        }
    });
    life::update_interest(endpoint)
}

/// `resume_reading()`.
///
/// # Errors
///
/// What an exception handler lets out.
pub(super) fn resume(endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    with(endpoint, |_, state| state.flags.paused = false);
    life::update_interest(endpoint)
}
