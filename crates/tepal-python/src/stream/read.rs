//! From the socket to the protocol.

use super::StreamJob;
use super::incoming::{self, Incoming};
use super::life::{self, close, end_reading};
use super::state::{Taker, with};
use crate::asyncio_streams::StreamReader;
use crate::errors;
use crate::event_loop::{Driver, Job, initialized, receive_into};
use crate::names;
use crate::raw::call;
use crate::tls;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytesMethods, PyWeakrefMethods};
use std::os::fd::RawFd;
use tepal_sys::socket;

/// The socket can be read: one read, unless it filled the room, and then the next turn's.
///
/// # Errors
///
/// As `run_job`.
pub(super) fn handle_readable(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    read_closed: bool,
) -> PyResult<()> {
    let plan = with(stream, |py, state| {
        let flags = &mut state.flags;
        flags.peer_finished |= read_closed;
        if flags.paused || !flags.begun {
            // The edge will not come again: remember it for `resume_reading`.
            flags.readable = true;
            return None;
        }
        if flags.closing || flags.ended {
            return None;
        }
        flags.readable = false;
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((
            state.socket.fd(),
            protocol,
            state.context.clone_ref(py),
            flags.buffered_protocol,
            state.taker.clone_ref(py),
            flags.large,
        ))
    });
    let Some(Some((fd, protocol, context, buffered, taker, large))) = plan else {
        return Ok(());
    };
    // SAFETY: a stream's context is one (`Parts`).
    unsafe { driver.entered.enter(driver.py, context.as_ptr())? };
    let protocol = protocol.into_bound(driver.py);
    if buffered {
        return read_into_protocol(driver, stream, &protocol, fd);
    }
    match &taker {
        Taker::Tls(upper) => return read_records(driver, stream, &protocol, upper, fd),
        Taker::Reader(reader) => {
            if let Some(reader) = reader.bind(driver.py).upgrade() {
                return read_into_reader(driver, stream, &protocol, &reader, fd, large);
            }
            // (Nobody holds it any more: the protocol knows.)
        }
        Taker::Protocol => {}
    }
    read_bytes(driver, stream, &protocol, fd, large)
}

/// What asyncio says when a protocol does not take its bytes.
const RECEIVING: &str = "Fatal error: protocol.data_received() call failed.";

/// Straight into the buffer of a reader of ours.
fn read_into_reader(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    reader: &Bound<'_, PyAny>,
    fd: RawFd,
    large: bool,
) -> PyResult<()> {
    let py = driver.py;
    let reader = reader.cast::<StreamReader>()?.get();
    let received = match tepal_sys::fd::borrow(fd) {
        Ok(fd) => reader.receive(py, fd, &mut driver.scratch, large),
        Err(error) => Ok(Err(error)),
    };
    let received = match received {
        Ok(received) => received,
        // (Somebody's buffer, which he holds on to.)
        Err(error) => return handle_raised(driver, stream, error, RECEIVING),
    };
    match received {
        Ok(None) => Ok(()),
        Ok(Some(received)) => {
            note(driver, stream, received.count, large);
            if received.count > 0
                && let Err(error) = reader.handle_fed(py)
            {
                return handle_raised(driver, stream, error, RECEIVING);
            }
            if received.ended {
                return handle_end(driver, stream, protocol);
            }
            read_on(driver, stream, received.full);
            Ok(())
        }
        Err(error) => fail_read(driver, stream, errors::from_io(py, &error)),
    }
}

/// An object for the protocol's `data_received`.
fn read_bytes(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    fd: RawFd,
    large: bool,
) -> PyResult<()> {
    let py = driver.py;
    let received = match tepal_sys::fd::borrow(fd) {
        Ok(fd) => incoming::receive(py, fd, &mut driver.scratch, large, usize::MAX),
        Err(error) => Ok(Err(error)),
    };
    match received {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(Incoming { data, full }))) => {
            let count = data.as_bytes().len();
            if count == 0 {
                return handle_end(driver, stream, protocol);
            }
            note(driver, stream, count, large);
            let taken = call::method1(protocol, names::data_received(py), data.as_any());
            drop(data);
            if let Err(error) = taken {
                return handle_raised(driver, stream, error, RECEIVING);
            }
            read_on(driver, stream, full);
            Ok(())
        }
        Ok(Err(error)) => fail_read(driver, stream, errors::from_io(py, &error)),
        // (No memory for it.)
        Err(error) => fail_read(driver, stream, error),
    }
}

/// Records for the TLS transport behind the protocol.
fn read_records(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    upper: &Py<PyAny>,
    fd: RawFd,
) -> PyResult<()> {
    let py = driver.py;
    let received =
        tepal_sys::fd::borrow(fd).and_then(|fd| socket::receive(fd, &mut driver.scratch));
    match received {
        Ok(None) => Ok(()),
        Ok(Some(0)) => handle_end(driver, stream, protocol),
        Ok(Some(count)) => {
            driver.event_loop.get().count_moved(count);
            let records = initialized(&driver.scratch[..count]);
            let full = count == driver.scratch.len();
            if let Err(error) = tls::receive(upper.bind(py), records) {
                return handle_raised(driver, stream, error, RECEIVING);
            }
            read_on(driver, stream, full);
            Ok(())
        }
        Err(error) => fail_read(driver, stream, errors::from_io(py, &error)),
    }
}

/// So much was read: the loop counts it, and the next read is as large.
#[inline]
fn note(driver: &Driver<'_, '_>, stream: &Bound<'_, PyAny>, count: usize, large: bool) {
    driver.event_loop.get().count_moved(count);
    let is_large = count >= incoming::LARGE;
    if is_large != large {
        with(stream, |_, state| state.flags.large = is_large);
    }
}

fn read_into_protocol(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    fd: RawFd,
) -> PyResult<()> {
    let py = driver.py;
    let buffer = protocol
        .call_method1(names::get_buffer(py), (-1,))
        .and_then(|buffer| PyUntypedBuffer::get(&buffer))
        .and_then(|view| {
            if view.len_bytes() == 0 {
                Err(PyRuntimeError::new_err(
                    "get_buffer() returned an empty buffer",
                ))
            } else {
                Ok(view)
            }
        });
    let view = match buffer {
        Ok(view) => view,
        Err(error) => {
            let message = "Fatal error: protocol.get_buffer() call failed.";
            return handle_raised(driver, stream, error, message);
        }
    };
    let received = tepal_sys::fd::borrow(fd)
        .map_err(|error| errors::from_io(py, &error))
        .and_then(|fd| receive_into(py, fd, &view));
    let room = view.len_bytes();
    drop(view);
    match received {
        Ok(None) => Ok(()),
        Ok(Some(0)) => handle_end(driver, stream, protocol),
        Ok(Some(count)) => {
            if let Err(error) = protocol.call_method1(names::buffer_updated(py), (count,)) {
                let message = "Fatal error: protocol.buffer_updated() call failed.";
                return handle_raised(driver, stream, error, message);
            }
            read_on(driver, stream, count == room);
            Ok(())
        }
        Err(error) => fail_read(driver, stream, error),
    }
}

/// After a read that may have left something: the next turn reads on. A read that filled its room may have left
/// bytes; when the peer has finished, the end of the stream follows, and its edge is past.
#[inline]
fn read_on(driver: &Driver<'_, '_>, stream: &Bound<'_, PyAny>, full: bool) {
    let again = with(stream, |_, state| {
        let flags = &mut state.flags;
        if !(full || flags.peer_finished) || flags.closing || flags.ended {
            return false;
        }
        if flags.paused {
            flags.readable = true;
            return false;
        }
        true
    });
    if again == Some(true) {
        let job = Job::Stream(stream.clone().unbind(), StreamJob::Read);
        driver.event_loop.get().schedule(driver.py, job);
    }
}

/// The end of the stream: the protocol says whether writing goes on.
fn handle_end(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = driver.py;
    let answer = call::method0(protocol, names::eof_received(py))
        .and_then(|keep_open| keep_open.is_truthy());
    match answer {
        Ok(keep_open) => {
            end_reading(stream);
            if keep_open { Ok(()) } else { close(stream) }
        }
        Err(error) => {
            let message = "Fatal error: protocol.eof_received() call failed.";
            handle_raised(driver, stream, error, message)
        }
    }
}

/// A protocol's method raised. What ends the loop leaves the connection as it is: the edge that brought us here will
/// not come again, so whoever runs the loop again must read on (`test_interrupted_protocols.py`).
#[cold]
fn handle_raised(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
    error: PyErr,
    message: &str,
) -> PyResult<()> {
    driver.entered.leave(driver.py)?;
    if errors::ends_the_loop(driver.py, &error) {
        read_on(driver, stream, true);
        return Err(error);
    }
    life::fail(stream, error, message)
}

/// The socket could not be read.
#[cold]
fn fail_read(driver: &mut Driver<'_, '_>, stream: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    driver.entered.leave(driver.py)?;
    life::fail(stream, error, "Fatal read error on socket transport")
}

/// `pause_reading()`.
pub(super) fn pause(stream: &Bound<'_, PyAny>) {
    with(stream, |_, state| {
        if !state.flags.closing {
            state.flags.paused = true;
        }
    });
}

/// `resume_reading()`.
pub(super) fn resume(stream: &Bound<'_, PyAny>) {
    let event_loop = with(stream, |py, state| {
        let flags = &mut state.flags;
        if flags.closing || !flags.paused {
            return None;
        }
        flags.paused = false;
        std::mem::take(&mut flags.readable).then(|| state.event_loop.clone_ref(py))
    });
    if let Some(Some(event_loop)) = event_loop {
        let job = Job::Stream(stream.clone().unbind(), StreamJob::Read);
        event_loop.get().schedule(stream.py(), job);
    }
}

/// Makes the next bytes go to another protocol.
///
/// # Errors
///
/// What `isinstance` raises.
pub(super) fn set_protocol(stream: &Bound<'_, PyAny>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let buffered = is_buffered(protocol)?;
    let taker = Taker::of(protocol)?;
    let old = with(stream, |_, state| {
        state.flags.buffered_protocol = buffered;
        (
            state.protocol.replace(protocol.clone().unbind()),
            std::mem::replace(&mut state.taker, taker),
        )
    });
    drop(old);
    Ok(())
}

/// Whether a protocol wants its bytes in a buffer of its own.
///
/// # Errors
///
/// What `isinstance` raises.
pub(crate) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    use pyo3::sync::PyOnceLock;
    static KIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    let kind = KIND.get_or_try_init(py, || {
        py.import("asyncio.protocols")?
            .getattr("BufferedProtocol")
            .map(Bound::unbind)
    })?;
    protocol.is_instance(kind.bind(py))
}
