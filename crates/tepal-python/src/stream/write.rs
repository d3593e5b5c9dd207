//! From the program to the socket.
//!
//! What one job writes is gathered and leaves with one call when the job ends (`Loop::add_dirty`), or sooner when
//! more waits than [`SOON`] or than the high mark. Outside jobs bytes leave at once. A program that writes and then
//! blocks its own thread keeps the bytes until it returns to the loop (DESIGN.md, "gathered writes").

use super::state::{Chunk, Outgoing, Stream, with};
use super::{file, life};
use crate::convert;
use crate::errors;
use crate::event_loop::{Dirty, Driver};
use crate::protocols;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use std::io;
use tepal_core::transport::FlowEvent;
use tepal_sys::reactor::{Interest, Trigger};
use tepal_sys::socket;

/// More than this does not wait for the end of the job, in bytes.
pub(crate) const SOON: usize = 64 * 1024;

/// So many writes after the connection was lost go without a word. (asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES` is 5
/// and counts the loss as well.)
const SILENT_WRITES: u32 = 4;

/// `write(data)`.
///
/// # Errors
///
/// TypeError for what is not bytes-like, RuntimeError after `write_eof`.
#[inline]
pub(super) fn write(stream: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let bytes = convert::written(data)?;
    if with(stream, |_, state| state.refuses_writes()) == Some(true) {
        return Err(refused(stream, "write"));
    }
    if bytes.as_bytes().is_empty() {
        return Ok(());
    }
    push(stream, Outgoing::Chunk(Chunk::from(bytes)))?;
    settle(stream)
}

/// `writelines(chunks)`.
///
/// # Errors
///
/// As [`write`], and what iterating raises; what came before an error is written.
pub(super) fn write_lines(stream: &Bound<'_, PyAny>, chunks: &Bound<'_, PyAny>) -> PyResult<()> {
    if with(stream, |_, state| state.refuses_writes()) == Some(true) {
        return Err(refused(stream, "writelines"));
    }
    for chunk in chunks.try_iter()? {
        let bytes = convert::written(&chunk?)?;
        if !bytes.as_bytes().is_empty() {
            push(stream, Outgoing::Chunk(Chunk::from(bytes)))?;
        }
    }
    settle(stream)
}

/// Why `method` cannot write.
#[cold]
fn refused(stream: &Bound<'_, PyAny>, method: &str) -> PyErr {
    let ended = with(stream, |_, state| state.flags.write_ended) == Some(true);
    PyRuntimeError::new_err(if ended {
        format!("Cannot call {method}() after write_eof()")
    } else {
        format!("unable to {method}; sendfile is in progress")
    })
}

/// Queues a chunk; a lost connection swallows it, as asyncio does.
fn push(stream: &Bound<'_, PyAny>, chunk: Outgoing) -> PyResult<()> {
    enum Pushed {
        Queued(Option<Outgoing>),
        Lost { chunk: Outgoing, writes: u32 },
    }
    let pushed = with(stream, |_, state| {
        if state.flags.lost {
            state.lost_writes += 1;
            return Pushed::Lost {
                chunk,
                writes: state.lost_writes,
            };
        }
        Pushed::Queued(state.queue.push(chunk))
    });
    match pushed {
        Some(Pushed::Lost { chunk, writes }) => {
            drop(chunk);
            if writes > SILENT_WRITES {
                let logger = stream.py().import("asyncio.log")?.getattr("logger")?;
                logger.call_method1("warning", ("socket.send() raised exception.",))?;
            }
        }
        Some(Pushed::Queued(empty)) => drop(empty),
        None => return Err(PyTypeError::new_err("this transport has no connection")),
    }
    Ok(())
}

/// After a write: now, at the end of the job, or when the kernel has room.
#[inline]
fn settle(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    enum Next {
        Nothing,
        Flush,
        Gather(Py<crate::event_loop::Loop>),
        Full,
    }
    let next = with(stream, |py, state| {
        let buffered = state.queue.buffered();
        let flags = &mut state.flags;
        if buffered == 0 || flags.lost {
            return Next::Nothing;
        }
        if flags.blocked {
            return if buffered > state.flow.high() {
                Next::Full
            } else {
                Next::Nothing
            };
        }
        if buffered > SOON {
            state.event_loop.get().count_moved(buffered);
            return Next::Flush;
        }
        if buffered > state.flow.high() || !state.event_loop.get().in_job() {
            return Next::Flush;
        }
        if flags.dirty {
            return Next::Nothing;
        }
        flags.dirty = true;
        Next::Gather(state.event_loop.clone_ref(py))
    });
    match next {
        None | Some(Next::Nothing) => Ok(()),
        Some(Next::Gather(event_loop)) => {
            event_loop
                .get()
                .add_dirty(stream.py(), Dirty::Stream(stream.clone().unbind()));
            Ok(())
        }
        Some(Next::Full) => pause_if_full(stream),
        Some(Next::Flush) => {
            flush(stream.py(), stream)?;
            pause_if_full(stream)
        }
    }
}

/// Sends what waits, as far as the kernel takes it.
///
/// # Errors
///
/// What an exception handler lets out; the socket's own errors end the connection.
pub(crate) fn flush(py: Python<'_>, stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut done = Finished::default();
    let sent = with(stream, |_, state| {
        state.flags.dirty = false;
        if state.flags.lost || state.flags.blocked {
            return Ok(());
        }
        send_queued(state, &mut done)
    });
    drop(done);
    match sent {
        None => Ok(()),
        Some(Err(error)) => life::fail(
            stream,
            errors::from_io(py, &error),
            "Fatal write error on socket transport",
        ),
        Some(Ok(())) => watch_writing(stream),
    }
}

/// Sends the records of a TLS transport above, behind whatever waits. What is left in `records` is its memory, for
/// the next ones.
///
/// # Errors
///
/// As [`flush`].
pub(crate) fn send(stream: &Bound<'_, PyAny>, records: &mut Vec<u8>) -> PyResult<()> {
    // The common case needs no queue: nothing waits, and the kernel takes everything.
    let sent = with(stream, |_, state| {
        if !state.queue.is_empty() || state.flags.blocked || state.flags.lost {
            return 0;
        }
        // An error is found again by `flush`, and told there.
        let fd = tepal_sys::fd::borrow(state.socket.fd());
        fd.and_then(|fd| socket::send(fd, records))
            .ok()
            .flatten()
            .unwrap_or(0)
    });
    let sent = sent.unwrap_or(0);
    if sent == records.len() {
        records.clear();
        return Ok(());
    }
    records.drain(..sent);
    push(stream, Outgoing::Records(std::mem::take(records)))?;
    flush(stream.py(), stream)?;
    pause_if_full(stream)
}

/// As [`send`], together with whatever else the running job sends.
///
/// # Errors
///
/// As [`flush`].
pub(crate) fn gather(stream: &Bound<'_, PyAny>, records: Vec<u8>) -> PyResult<()> {
    if records.is_empty() {
        return Ok(());
    }
    push(stream, Outgoing::Records(records))?;
    settle(stream)
}

/// Sends what the running job has gathered, as far as the kernel takes it: the connection is about to be dropped, and
/// in asyncio these bytes would have gone (`test_what_is_written_right_before_abort_has_gone`). An error changes
/// nothing any more.
#[cold]
pub(super) fn send_gathered(stream: &Bound<'_, PyAny>) {
    let mut done = Finished::default();
    with(stream, |_, state| {
        if !std::mem::take(&mut state.flags.dirty) || state.flags.lost || state.flags.blocked {
            return;
        }
        drop(send_queued(state, &mut done));
    });
    drop(done);
}

/// Hands the queue to the kernel until it is empty or the kernel is full (`Flags::blocked`).
fn send_queued(state: &mut Stream, done: &mut Finished<Outgoing>) -> io::Result<()> {
    let fd = tepal_sys::fd::borrow(state.socket.fd())?;
    while !state.queue.is_empty() {
        match socket::send_gather(fd, state.queue.pieces(), state.queue.buffered())? {
            Some(count) => state.queue.handle_sent(count, |chunk| done.add(chunk)),
            None => {
                state.flags.blocked = true;
                break;
            }
        }
    }
    Ok(())
}

/// Chunks that were sent, to be dropped outside the borrow; one, the common case, needs no allocation.
pub(crate) struct Finished<C> {
    first: Option<C>,
    others: Vec<C>,
}

impl<C> Default for Finished<C> {
    fn default() -> Self {
        Self {
            first: None,
            others: Vec::new(),
        }
    }
}

impl<C> Finished<C> {
    pub(crate) fn add(&mut self, chunk: C) {
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.others.push(chunk);
        }
    }
}

/// Asks the reactor for writability when the kernel's buffer is first full; edges come by themselves from then on.
pub(super) fn watch_writing(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let ask = with(stream, |py, state| {
        let flags = &mut state.flags;
        let token = state.token?;
        if !flags.blocked || flags.watches_writing {
            return None;
        }
        flags.watches_writing = true;
        Some((state.event_loop.clone_ref(py), state.socket.fd(), token))
    });
    if let Some(Some((event_loop, fd, token))) = ask {
        let registered =
            event_loop
                .get()
                .register(stream.py(), fd, token, Interest::BOTH, Trigger::Edge, true);
        if let Err(error) = registered {
            return life::fail(stream, error, "Fatal write error on socket transport");
        }
    }
    Ok(())
}

/// The kernel has room again.
///
/// # Errors
///
/// As `run_job`.
pub(super) fn handle_writable(
    driver: &mut Driver<'_, '_>,
    stream: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let waited = with(stream, |py, state| {
        let waited = std::mem::take(&mut state.flags.blocked);
        waited.then(|| state.context.clone_ref(py))
    });
    let Some(Some(context)) = waited else {
        return Ok(());
    };
    flush(driver.py, stream)?;
    // SAFETY: a stream's context is one (`Parts`).
    unsafe { driver.entered.enter(driver.py, context.as_ptr())? };
    let resumed = resume_if_drained(stream);
    // The end is settled in any case: nobody else would (`test_an_end_in_the_middle_of_pausing`).
    let settled = match life::settle_end(stream) {
        Err(error) if error.is_instance_of::<PyOSError>(driver.py) => {
            life::fail(stream, error, "Fatal write error on socket transport")
        }
        settled => settled,
    };
    resumed.and(settled).and(file::advance(stream))
}

/// Tells the protocol to pause when too much waits.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(super) fn pause_if_full(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let event = with(stream, |_, state| {
        if state.flags.lost {
            return FlowEvent::None;
        }
        let buffered = state.queue.buffered();
        state.flow.handle_grown(buffered)
    });
    tell_flow(stream, event)
}

/// Tells the protocol to go on when enough has left.
///
/// # Errors
///
/// As [`pause_if_full`].
pub(super) fn resume_if_drained(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let event = with(stream, |_, state| {
        // What was dropped has not drained: a `drain()` that waits is told of the loss instead.
        if state.flags.lost {
            return FlowEvent::None;
        }
        let buffered = state.queue.buffered();
        state.flow.handle_drained(buffered)
    });
    tell_flow(stream, event)
}

fn tell_flow(stream: &Bound<'_, PyAny>, event: Option<FlowEvent>) -> PyResult<()> {
    let event = match event {
        None | Some(FlowEvent::None) => return Ok(()),
        Some(event) => event,
    };
    let parties = with(stream, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((state.event_loop.clone_ref(py), protocol))
    });
    let Some(Some((event_loop, protocol))) = parties else {
        return Ok(());
    };
    let py = stream.py();
    protocols::tell_flow(event_loop.bind(py), stream, protocol.bind(py), event)
}

/// `write_eof()`: the end of the stream follows the bytes that wait.
///
/// # Errors
///
/// OSError when the connection is gone.
pub(super) fn write_eof(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    let wanted = with(stream, |_, state| {
        let flags = &mut state.flags;
        if flags.closing || flags.write_ended {
            return false;
        }
        flags.write_ended = true;
        true
    });
    if wanted == Some(true) {
        flush(stream.py(), stream)?;
        life::settle_end(stream)?;
    }
    Ok(())
}
