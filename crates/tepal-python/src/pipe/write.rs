//! From the program to the pipe.
//!
//! As on streams (`stream/write.rs`), what one job writes is gathered and leaves with one call when the job ends, or
//! sooner when more waits than [`SOON`] or than the high mark; outside jobs bytes leave at once.

use super::life;
use super::state::{Pipe, with};
use crate::convert;
use crate::event_loop::{Dirty, Driver, Loop};
use crate::protocols;
use crate::stream::{Chunk, Finished, SOON};
use pyo3::exceptions::PyBrokenPipeError;
use pyo3::prelude::*;
use std::io;
use tepal_core::transport::FlowEvent;
use tepal_sys::pipe::{self, Kind};

/// So many writes after the end go without a word (asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`).
const SILENT_WRITES: u32 = 5;

/// `write(data)`.
///
/// # Errors
///
/// TypeError for what is not bytes-like.
#[inline]
pub(super) fn write(transport: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let bytes = convert::written(data)?;
    if bytes.as_bytes().is_empty() {
        return Ok(());
    }
    push(transport, Chunk::from(bytes))?;
    settle(transport)
}

/// Queues a chunk; a pipe that is closing swallows it, as asyncio does.
fn push(transport: &Bound<'_, PyAny>, chunk: Chunk) -> PyResult<()> {
    let refused = with(transport, |_, state| {
        if state.flags.closing || state.flags.lost {
            let before = state.lost_writes;
            state.lost_writes += 1;
            return Err((chunk, before));
        }
        Ok(state.queue.push(chunk))
    });
    match refused {
        Some(Err((chunk, before))) => {
            drop(chunk);
            if before >= SILENT_WRITES {
                let message = "pipe closed by peer or os.write(pipe, data) raised exception.";
                let logger = transport.py().import("asyncio.log")?.getattr("logger")?;
                logger.call_method1("warning", (message,))?;
            }
        }
        Some(Ok(empty)) => drop(empty),
        None => {}
    }
    Ok(())
}

/// After a write: now, at the end of the job, or when the kernel has room.
#[inline]
fn settle(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    enum Next {
        Nothing,
        Flush,
        Gather(Py<Loop>),
        Full,
    }
    let next = with(transport, |py, state| {
        let buffered = state.queue.buffered();
        let flags = &mut state.flags;
        if buffered == 0 || flags.lost {
            return Next::Nothing;
        }
        if flags.blocked {
            return Next::Full;
        }
        if buffered > SOON || buffered > state.flow.high() || !state.event_loop.get().in_job() {
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
                .add_dirty(transport.py(), Dirty::Pipe(transport.clone().unbind()));
            Ok(())
        }
        Some(Next::Full) => pause_if_full(transport),
        Some(Next::Flush) => {
            flush(transport)?;
            pause_if_full(transport)
        }
    }
}

/// Writes what waits, as far as the kernel takes it.
///
/// # Errors
///
/// What an exception handler lets out; the pipe's own errors end it.
pub(crate) fn flush(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut done = Finished::default();
    let sent = with(transport, |_, state| {
        state.flags.dirty = false;
        if state.flags.lost || state.flags.blocked {
            return Ok(false);
        }
        send_queued(state, &mut done)?;
        Ok(state.flags.blocked && state.kind == Kind::Device)
    });
    drop(done);
    match sent {
        None | Some(Ok(false)) => Ok(()),
        // Pipes and sockets are watched from the beginning.
        Some(Ok(true)) => life::watch_room(transport, true),
        Some(Err(error)) => {
            with(transport, |_, state| state.lost_writes += 1);
            life::fail(transport, &error, "Fatal write error on pipe transport")
        }
    }
}

/// Writes what the running job has gathered, as far as the kernel takes it, before the rest is dropped. An error changes
/// nothing any more.
#[cold]
pub(super) fn send_gathered(transport: &Bound<'_, PyAny>) {
    let mut done = Finished::default();
    with(transport, |_, state| {
        if !std::mem::take(&mut state.flags.dirty) || state.flags.lost || state.flags.blocked {
            return;
        }
        drop(send_queued(state, &mut done));
    });
    drop(done);
}

/// Hands the queue to the kernel until it is empty or the kernel is full (`Flags::blocked`).
fn send_queued(state: &mut Pipe, done: &mut Finished<Chunk>) -> io::Result<()> {
    let fd = tepal_sys::fd::borrow(state.fd)?;
    while !state.queue.is_empty() {
        match pipe::write_gather(fd, state.queue.pieces(), state.queue.buffered())? {
            Some(count) => state.queue.handle_sent(count, |chunk| done.add(chunk)),
            None => {
                state.flags.blocked = true;
                break;
            }
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
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let waited = with(transport, |_, state| {
        std::mem::take(&mut state.flags.blocked).then_some(state.kind)
    });
    let Some(Some(kind)) = waited else {
        return Ok(());
    };
    if kind == Kind::Device {
        life::watch_room(transport, false)?;
    }
    flush(transport)?;
    if life::enter(driver, transport)?.is_none() {
        return Ok(());
    }
    let resumed = resume_if_drained(transport);
    // The end is settled whatever the protocol raised: nobody else would.
    let settled = settle_end(transport);
    resumed.and(settled)
}

/// The reader went away (on a socket: or sent something, which asyncio takes for the same).
///
/// # Errors
///
/// What logging raises.
pub(super) fn handle_reader_gone(
    driver: &mut Driver<'_, '_>,
    transport: &Bound<'_, PyAny>,
) -> PyResult<()> {
    driver.entered.leave(driver.py)?;
    let waits = with(transport, |_, state| {
        (!state.flags.lost).then(|| !state.queue.is_empty())
    });
    let Some(Some(waits)) = waits else {
        return Ok(());
    };
    let told = life::tell_closed_by_peer(driver.event_loop, transport);
    let error = waits.then(|| PyBrokenPipeError::new_err(()));
    let ended = life::abort(transport, error);
    told.and(ended)
}

/// `write_eof()` and `close()`: the pipe ends once what waits has left.
///
/// # Errors
///
/// What an exception handler lets out.
pub(super) fn write_eof(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let began = with(transport, |_, state| {
        !std::mem::replace(&mut state.flags.closing, true)
    });
    if began != Some(true) {
        return Ok(());
    }
    flush(transport)?;
    settle_end(transport)
}

/// When nothing waits any more and the pipe is closing: its end.
fn settle_end(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let ends = with(transport, |_, state| {
        state.flags.closing && !state.flags.lost && state.queue.is_empty()
    });
    if ends != Some(true) {
        return Ok(());
    }
    life::stop_watching(transport)?;
    life::schedule_lost(transport, None)
}

/// Tells the protocol to pause when too much waits.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(super) fn pause_if_full(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let event = with(transport, |_, state| {
        if state.flags.lost {
            return FlowEvent::None;
        }
        let buffered = state.queue.buffered();
        state.flow.handle_grown(buffered)
    });
    tell(transport, event)
}

/// Tells the protocol to go on when enough has left.
fn resume_if_drained(transport: &Bound<'_, PyAny>) -> PyResult<()> {
    let event = with(transport, |_, state| {
        // What was dropped has not drained: a `drain()` that waits is told of the loss instead.
        if state.flags.lost {
            return FlowEvent::None;
        }
        let buffered = state.queue.buffered();
        state.flow.handle_drained(buffered)
    });
    tell(transport, event)
}

fn tell(transport: &Bound<'_, PyAny>, event: Option<FlowEvent>) -> PyResult<()> {
    let event = match event {
        None | Some(FlowEvent::None) => return Ok(()),
        Some(event) => event,
    };
    let found = with(transport, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((protocol, state.event_loop.clone_ref(py)))
    });
    match found.flatten() {
        Some((protocol, event_loop)) => {
            let py = transport.py();
            protocols::tell_flow(event_loop.bind(py), transport, protocol.bind(py), event)
        }
        None => Ok(()),
    }
}
