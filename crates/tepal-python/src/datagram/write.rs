//! From the program to the socket.
//!
//! A datagram leaves when it is sent, or waits until the kernel has room. There is nothing to gather: two datagrams are
//! two, and whoever sends learns of an error before the call returns, through `error_received`.

use super::life;
use super::read::{raised, would_block};
use super::state::{Datagrams, Kind, Target, with};
use crate::convert;
use crate::errors;
use crate::event_loop::Driver;
use crate::names;
use crate::protocols;
use crate::raw::call;
use crate::stream::Chunk;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use std::net::{Ipv4Addr, Ipv6Addr};
use tepal_core::transport::FlowEvent;
use tepal_sys::socket::{self, Address, Attempt};

/// Whether an empty datagram is sent. asyncio drops it before 3.13, where programs may count on that.
const SENDS_EMPTY: bool = cfg!(Py_3_13);

/// The call after the end of a connected endpoint from which on each is logged
/// (asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`).
const LOGGED_FROM: u32 = 5;

/// What came of an attempt to send.
enum Sent {
    Done,
    Blocked,
    Failed(PyErr),
}

/// `sendto(data, addr)`.
///
/// # Errors
///
/// TypeError for what is not bytes-like, ValueError for another address than the endpoint's own, what
/// `error_received` raises, SystemExit and KeyboardInterrupt.
pub(super) fn send_to(
    endpoint: &Bound<'_, PyAny>,
    data: &Bound<'_, PyAny>,
    address: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let bytes = convert::written(data)?;
    if !SENDS_EMPTY && bytes.as_bytes().is_empty() {
        return Ok(());
    }
    let address = address.filter(|address| !address.is_none());
    match send_at_once(endpoint, bytes.as_bytes(), address) {
        Some(Ok(Some(_))) => Ok(()),
        Some(Err(error)) => tell_error(endpoint, errors::from_io(endpoint.py(), &error)),
        Some(Ok(None)) | None => send_with_care(endpoint, bytes, address),
    }
}

/// The common cases: an open endpoint with nothing in the way, and an address that is plain. `None` for all others.
#[inline]
fn send_at_once(
    endpoint: &Bound<'_, PyAny>,
    bytes: &[u8],
    address: Option<&Bound<'_, PyAny>>,
) -> Option<Attempt<usize>> {
    enum Way {
        Sent(Attempt<usize>),
        Read(Kind),
        Other,
    }
    let way = with(endpoint, |_, state| {
        let other_address = state.address.is_some() && address.is_some();
        if !state.is_clear() || other_address {
            return Way::Other;
        }
        if state.connected {
            return Way::Sent(
                tepal_sys::fd::borrow(state.fd).and_then(|fd| socket::send(fd, bytes)),
            );
        }
        match address {
            None => Way::Other,
            Some(address) => match state.peers.named(address) {
                Some(peer) => Way::Sent(send_by_descriptor(state, bytes, peer)),
                None => Way::Read(state.kind),
            },
        }
    });
    match way? {
        Way::Sent(attempt) => Some(attempt),
        Way::Other => None,
        Way::Read(kind) => {
            let peer = read_literal(kind, address?)?;
            let attempt = with(endpoint, |_, state| {
                state
                    .is_clear()
                    .then(|| send_by_descriptor(state, bytes, &peer))
            });
            attempt.flatten()
        }
    }
}

fn send_by_descriptor(state: &Datagrams, bytes: &[u8], address: &Address) -> Attempt<usize> {
    tepal_sys::fd::borrow(state.fd).and_then(|fd| socket::send_to(fd, bytes, address))
}

/// Whatever is not done at once, in asyncio's order.
fn send_with_care(
    endpoint: &Bound<'_, PyAny>,
    bytes: Bound<'_, PyBytes>,
    address: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    enum Next {
        Lost(u32),
        Send,
        Wait,
    }
    let py = endpoint.py();
    let own = with(endpoint, |py, state| {
        state.address.as_ref().map(|own| own.clone_ref(py))
    });
    let own = own.flatten().map(|own| own.into_bound(py));
    if let (Some(own), Some(address)) = (&own, address)
        && !address.is(own)
        && !address.eq(own)?
    {
        let shown = own.str()?;
        return Err(PyValueError::new_err(format!(
            "Invalid address: must be None or {shown}"
        )));
    }
    let next = with(endpoint, |_, state| {
        // An endpoint without an address of its own goes on until its socket is gone, as in asyncio.
        if state.socket.is_none() || (state.flags.lost && state.address.is_some()) {
            state.lost_sends = state.lost_sends.saturating_add(1);
            Next::Lost(state.lost_sends)
        } else if state.queue.is_empty() {
            Next::Send
        } else {
            Next::Wait
        }
    });
    let target = target(endpoint, own.as_ref().or(address));
    match next {
        None => return Ok(()),
        Some(Next::Lost(count)) => {
            if count >= LOGGED_FROM {
                let logger = py.import("asyncio.log")?.getattr("logger")?;
                logger.call_method1("warning", ("socket.send() raised exception.",))?;
            }
            return Ok(());
        }
        Some(Next::Wait) => {}
        Some(Next::Send) => match send_one(endpoint, &bytes, &target) {
            Sent::Done => return Ok(()),
            Sent::Failed(error) if error.is_instance_of::<PyOSError>(py) => {
                return tell_error(endpoint, error);
            }
            Sent::Failed(error) => return life::fail(endpoint, error, BROKEN),
            Sent::Blocked => {}
        },
    }
    let event = with(endpoint, |_, state| {
        state.queue.push(Chunk::from(bytes), target);
        state.flow.handle_grown(state.queue.buffered())
    });
    life::update_interest(endpoint)?;
    tell_flow(endpoint, event)
}

/// Where a datagram for `object` goes.
fn target(endpoint: &Bound<'_, PyAny>, object: Option<&Bound<'_, PyAny>>) -> Target {
    let known = with(endpoint, |_, state| {
        if state.connected {
            return (Some(Target::Connected), state.kind);
        }
        let peer = object.and_then(|object| state.peers.named(object));
        (peer.cloned().map(Target::Address), state.kind)
    });
    match (known, object) {
        (Some((Some(target), _)), _) => target,
        (Some((None, kind)), Some(object)) => read_literal(kind, object)
            .map_or_else(|| Target::Object(object.clone().unbind()), Target::Address),
        // The socket object refuses it in its own words.
        (_, None) => Target::Object(endpoint.py().None()),
        (None, Some(object)) => Target::Object(object.clone().unbind()),
    }
}

/// Hands one datagram to the kernel, or to the socket object.
fn send_one(endpoint: &Bound<'_, PyAny>, bytes: &Bound<'_, PyBytes>, target: &Target) -> Sent {
    let py = endpoint.py();
    enum Way {
        Tried(Attempt<usize>),
        Object(Option<Py<PyAny>>),
    }
    let way = with(endpoint, |py, state| match target {
        Target::Connected if state.kind != Kind::Foreign => {
            let payload = bytes.as_bytes();
            Way::Tried(tepal_sys::fd::borrow(state.fd).and_then(|fd| socket::send(fd, payload)))
        }
        Target::Address(address) => {
            Way::Tried(send_by_descriptor(state, bytes.as_bytes(), address))
        }
        Target::Connected | Target::Object(_) => {
            Way::Object(state.socket.as_ref().map(|socket| socket.clone_ref(py)))
        }
    });
    let called = match way {
        // The endpoint ended while it was sending.
        None | Some(Way::Object(None)) => return Sent::Done,
        Some(Way::Tried(Ok(Some(_)))) => return Sent::Done,
        Some(Way::Tried(Ok(None))) => return Sent::Blocked,
        Some(Way::Tried(Err(error))) => return Sent::Failed(errors::from_io(py, &error)),
        Some(Way::Object(Some(socket))) => match target {
            Target::Object(object) => socket
                .bind(py)
                .call_method1(pyo3::intern!(py, "sendto"), (bytes, object)),
            _ => socket
                .bind(py)
                .call_method1(pyo3::intern!(py, "send"), (bytes,)),
        },
    };
    match called {
        Ok(_) => Sent::Done,
        Err(error) if would_block(py, &error) => Sent::Blocked,
        Err(error) => Sent::Failed(error),
    }
}

/// The kernel has room again: what waits is sent, up to the first error. asyncio reports one error a turn, and so do
/// we: a peer that is gone refuses each datagram, and there may be thousands.
///
/// # Errors
///
/// As `handle_ready`.
pub(super) fn handle_writable(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = driver.py;
    let context = with(endpoint, |py, state| {
        let waits = !state.queue.is_empty() && !state.flags.lost;
        waits.then(|| state.context.clone_ref(py))
    });
    let Some(Some(context)) = context else {
        return Ok(());
    };
    // SAFETY: an endpoint's context is one (`Parts`).
    unsafe { driver.entered.enter(py, context.as_ptr())? };
    let mut outcome = Ok(());
    while let Some(Some((chunk, target))) = with(endpoint, |_, state| state.queue.poll()) {
        match send_one(endpoint, chunk.bytes(py), &target) {
            Sent::Done => {}
            Sent::Blocked => {
                let left = with(endpoint, |_, state| {
                    if state.flags.lost {
                        return Some((chunk, target));
                    }
                    state.queue.put_back(chunk, target);
                    None
                });
                drop(left);
                break;
            }
            Sent::Failed(error) => {
                outcome = handle_failed(driver, endpoint, error);
                break;
            }
        }
    }
    // Whatever was raised: nobody else would come back for these.
    let event = with(endpoint, |_, state| {
        if state.flags.lost {
            return FlowEvent::None;
        }
        state.flow.handle_drained(state.queue.buffered())
    });
    let resumed = tell_flow(endpoint, event);
    life::settle_end(endpoint);
    outcome.and(resumed).and(life::update_interest(endpoint))
}

/// A datagram that had waited could not be sent.
#[cold]
fn handle_failed(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
    error: PyErr,
) -> PyResult<()> {
    let py = driver.py;
    if !error.is_instance_of::<PyOSError>(py) {
        driver.entered.leave(py)?;
        return life::fail(endpoint, error, BROKEN);
    }
    let Some(Some(protocol)) = protocol(endpoint) else {
        return Ok(());
    };
    match tell_error(endpoint, error) {
        Ok(()) => Ok(()),
        Err(error) => {
            let name = names::error_received(py);
            raised(driver, endpoint, protocol.bind(py), name, error)
        }
    }
}

const BROKEN: &str = "Fatal write error on datagram transport";

/// Calls `error_received`, in the caller's context; what it raises is the caller's.
#[cold]
fn tell_error(endpoint: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let py = endpoint.py();
    match protocol(endpoint) {
        Some(Some(protocol)) => {
            let name = names::error_received(py);
            call::method1(protocol.bind(py), name, error.value(py)).map(drop)
        }
        _ => Ok(()),
    }
}

fn protocol(endpoint: &Bound<'_, PyAny>) -> Option<Option<Py<PyAny>>> {
    with(endpoint, |py, state| {
        let protocol = state.protocol.as_ref()?;
        Some(protocol.clone_ref(py))
    })
}

/// Tells the protocol to pause or to go on.
fn tell_flow(endpoint: &Bound<'_, PyAny>, event: Option<FlowEvent>) -> PyResult<()> {
    let event = match event {
        None | Some(FlowEvent::None) => return Ok(()),
        Some(event) => event,
    };
    let parties = with(endpoint, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((state.event_loop.clone_ref(py), protocol))
    });
    let Some(Some((event_loop, protocol))) = parties else {
        return Ok(());
    };
    let py = endpoint.py();
    protocols::tell_flow(event_loop.bind(py), endpoint, protocol.bind(py), event)
}

/// The marks were moved.
///
/// # Errors
///
/// As [`tell_flow`].
pub(super) fn pause_if_full(endpoint: &Bound<'_, PyAny>) -> PyResult<()> {
    let event = with(endpoint, |_, state| {
        state.flow.handle_grown(state.queue.buffered())
    });
    tell_flow(endpoint, event)
}

/// The address that an object names, if it is a literal in a plain tuple: what the socket module would make of it, with
/// less work. `None` leaves it to the socket module: names, zone ids, errors.
fn read_literal(kind: Kind, object: &Bound<'_, PyAny>) -> Option<Address> {
    let tuple = object.cast_exact::<PyTuple>().ok()?;
    let length = tuple.len();
    if length < 2 {
        return None;
    }
    let host = tuple.get_borrowed_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?;
    let host = host.to_str().ok()?;
    let number = |place: usize| -> Option<u32> {
        let number = tuple.get_borrowed_item(place).ok()?;
        number.cast_exact::<PyInt>().ok()?.extract().ok()
    };
    let port = u16::try_from(number(1)?).ok()?;
    match (kind, length) {
        (Kind::V4, 2) => Some(Address::V4(host.parse::<Ipv4Addr>().ok()?, port)),
        (Kind::V6, 2..=4) => {
            let flow = if length > 2 { number(2)? } else { 0 };
            let scope = if length > 3 { number(3)? } else { 0 };
            let host = host.parse::<Ipv6Addr>().ok()?;
            (flow <= MOST_FLOW).then_some(Address::V6(host, port, flow, scope))
        }
        _ => None,
    }
}

/// The largest flow information: 20 bits.
const MOST_FLOW: u32 = 0xf_ffff;
