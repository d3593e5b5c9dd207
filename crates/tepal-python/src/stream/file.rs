//! From a file to the socket, by the kernel: the bytes do not pass through this process, nor its turns through Python.
//!
//! The kernel is asked until it is full or one turn's share has gone; then the others have theirs, and the next edge,
//! or the next turn, goes on. Errors of the socket are the caller's alone: as in asyncio the transport finds out by
//! itself when it next reads or writes.

use super::StreamJob;
use super::state::with;
use super::write;
use crate::convert;
use crate::errors;
use crate::event_loop::{Job, Loop};
use pyo3::exceptions::{PyConnectionError, PyRuntimeError};
use pyo3::prelude::*;
use std::io;
use std::os::fd::RawFd;
use tepal_core::transport::FilePart;
use tepal_sys::socket;

pyo3::import_exception!(asyncio.exceptions, SendfileNotAvailableError);

/// How many bytes may go in one turn, so that a fast peer does not keep the loop from everybody else.
const TURN: usize = 1024 * 1024;

/// A file on its way.
pub(crate) struct Sending {
    /// The file's descriptor. It is the caller's, who keeps it open until he ends the sending.
    source: RawFd,
    part: FilePart,
    /// Told when all has gone or nothing can go any more; `None` once told.
    pub(super) done: Option<Py<PyAny>>,
}

/// Sends a part of a file after what was written before, and tells `done`. Until [`end`], writes are refused.
///
/// # Errors
///
/// RuntimeError when a file is being sent, ConnectionError when the connection is at its end, and what flushing and a
/// foreign future raise.
pub(super) fn start(
    stream: &Bound<'_, PyAny>,
    source: RawFd,
    part: FilePart,
    done: Py<PyAny>,
) -> PyResult<()> {
    enum Refusal {
        Closing,
        Busy,
    }
    let refusal = with(stream, |_, state| {
        if state.flags.closing || state.flags.lost {
            return Some((Refusal::Closing, done));
        }
        if state.file.is_some() {
            return Some((Refusal::Busy, done));
        }
        state.file = Some(Box::new(Sending {
            source,
            part,
            done: Some(done),
        }));
        None
    });
    match refusal {
        Some(None) => {
            write::flush(stream.py(), stream)?;
            advance(stream)
        }
        Some(Some((Refusal::Busy, _))) => Err(PyRuntimeError::new_err(
            "another sendfile() on this transport is in progress",
        )),
        Some(Some((Refusal::Closing, _))) | None => Err(closed()),
    }
}

/// Sends no more of the file; how many bytes of it have left.
pub(super) fn end(stream: &Bound<'_, PyAny>) -> u64 {
    let ended = with(stream, |_, state| state.file.take()).flatten();
    ended.map_or(0, |file| file.part.sent())
}

/// The connection is lost: whoever waits for the file is told.
///
/// # Errors
///
/// What a foreign future raises.
pub(super) fn break_off(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    tell(stream, Some(closed()))
}

/// Sends as much as the kernel takes and this turn may, if a file is to be sent and nothing else waits before it.
///
/// # Errors
///
/// What an exception handler lets out, and what a foreign future raises.
pub(super) fn advance(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = stream.py();
    let mut room = TURN;
    loop {
        let step = with(stream, |_, state| {
            let flags = &state.flags;
            if flags.closing || flags.lost || flags.blocked || !state.queue.is_empty() {
                return None;
            }
            let file = state.file.as_ref().filter(|file| file.done.is_some())?;
            Some((state.socket.fd(), file.source, file.part.poll_ask(room)))
        });
        let Some(Some((fd, source, ask))) = step else {
            return Ok(());
        };
        let Some((offset, count)) = ask else {
            return tell(stream, None);
        };
        // Detached, because a file that is not in memory is read here.
        let sent = py.detach(|| {
            let (fd, source) = (tepal_sys::fd::borrow(fd)?, tepal_sys::fd::borrow(source)?);
            socket::send_file(fd, source, offset, count)
        });
        match sent {
            Ok(Some(bytes)) => {
                room -= bytes;
                with(stream, |_, state| {
                    if let Some(file) = &mut state.file {
                        file.part.handle_sent(bytes);
                    }
                });
                if room == 0 {
                    return put_off(stream);
                }
            }
            Ok(None) => {
                with(stream, |_, state| state.flags.blocked = true);
                return write::watch_writing(stream);
            }
            Err(error) => return tell(stream, Some(failure(stream, &error))),
        }
    }
}

/// The next turn goes on, as if the kernel had been full until then.
fn put_off(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let event_loop: Option<Py<Loop>> = with(stream, |py, state| {
        state.flags.blocked = true;
        state.event_loop.clone_ref(py)
    });
    if let Some(event_loop) = event_loop {
        let job = Job::Stream(stream.clone().unbind(), StreamJob::Write);
        event_loop.get().schedule(stream.py(), job);
    }
    Ok(())
}

/// Tells whoever waits, once.
fn tell(stream: &Bound<'_, PyAny>, error: Option<PyErr>) -> PyResult<()> {
    let py = stream.py();
    let waiting = with(stream, |_, state| {
        state.file.as_mut().and_then(|file| file.done.take())
    });
    match (waiting.flatten(), error) {
        (None, _) => Ok(()),
        (Some(future), None) => {
            convert::set_result_unless_done(future.bind(py), py.None().bind(py))
        }
        (Some(future), Some(error)) => {
            convert::set_exception_unless_done(future.bind(py), error.value(py))
        }
    }
}

/// What a failed call means to whoever waits: the end of the connection, or, before the first byte has left, that another
/// way may work.
#[cold]
fn failure(stream: &Bound<'_, PyAny>, error: &io::Error) -> PyErr {
    let py = stream.py();
    if error.kind() == io::ErrorKind::NotConnected {
        // Kernels differ in what they say of a connection that ended in the middle.
        return closed();
    }
    let raised = errors::from_io(py, error);
    let begun = with(stream, |_, state| {
        state.file.as_ref().is_some_and(|file| file.part.sent() > 0)
    });
    if begun == Some(true) || raised.is_instance_of::<PyConnectionError>(py) {
        return raised;
    }
    let unavailable = SendfileNotAvailableError::new_err("os.sendfile call failed");
    unavailable.set_cause(py, Some(raised));
    unavailable
}

#[cold]
fn closed() -> PyErr {
    PyConnectionError::new_err("Connection is closed by peer")
}
