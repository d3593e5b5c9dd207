//! From the program to the records.

use super::life;
use super::state::{Tls, with, with_engine};
use crate::convert;
use crate::event_loop::Dirty;
use crate::protocols;
use crate::stream::{Chunk, Finished};
use pyo3::prelude::*;
use pyo3::{PyResult, Python};
use std::cell::Cell;
use tepal_core::transport::FlowEvent;

/// More than this does not wait for the end of the job, in bytes.
const SOON: usize = 64 * 1024;

/// So much is encrypted before it is handed to the lower transport, in bytes.
const BATCH: usize = 256 * 1024;

/// Pieces smaller than a record are put together up to this many bytes: a record is never longer.
const RECORD: usize = 16 * 1024;

/// So many writes after the end go without a word (asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`).
const SILENT_WRITES: u32 = 5;

thread_local! {
    /// Memory for records on their way, so that an idle connection holds none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Where small pieces become one record.
    static JOINED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// `write(data)`.
///
/// # Errors
///
/// TypeError for what is not bytes-like, and what an exception handler lets out.
#[inline]
pub(super) fn write(tls: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    let bytes = convert::written(data)?;
    if bytes.as_bytes().is_empty() {
        return Ok(());
    }
    push(tls, Chunk::from(bytes))?;
    settle(tls)
}

/// `writelines(chunks)`.
///
/// # Errors
///
/// As [`write`], and what iterating raises; what came before an error is written.
pub(super) fn write_lines(tls: &Bound<'_, PyAny>, chunks: &Bound<'_, PyAny>) -> PyResult<()> {
    for chunk in chunks.try_iter()? {
        let bytes = convert::written(&chunk?)?;
        if !bytes.as_bytes().is_empty() {
            push(tls, Chunk::from(bytes))?;
        }
    }
    settle(tls)
}

/// Queues a chunk, or swallows it when the connection is closing, as asyncio does.
pub(super) fn push(tls: &Bound<'_, PyAny>, chunk: Chunk) -> PyResult<()> {
    let refused = with(tls, |_, state| {
        if state.session.takes_writes() {
            drop(state.queue.push(chunk)); // An empty one, which callers do not pass.
            return None;
        }
        state.lost_writes += 1;
        Some((chunk, state.lost_writes))
    });
    if let Some(Some((chunk, writes))) = refused {
        drop(chunk);
        if writes > SILENT_WRITES {
            let logger = tls.py().import("asyncio.log")?.getattr("logger")?;
            logger.call_method1("warning", ("SSL connection is closed",))?;
        }
    }
    Ok(())
}

/// After a write: now, at the end of the job, or when the handshake is done or the lower transport has room.
#[inline]
fn settle(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    enum Next {
        Nothing,
        Flush,
        Gather(Py<crate::event_loop::Loop>),
    }
    let next = with(tls, |py, state| {
        let buffered = state.queue.buffered();
        if buffered == 0 {
            return Next::Nothing;
        }
        let may_flow =
            state.session.phase() == tepal_core::tls::Phase::Open && !state.flags.lower_paused;
        if !may_flow || buffered > SOON || !state.event_loop.get().in_job() {
            return Next::Flush;
        }
        if std::mem::replace(&mut state.flags.dirty, true) {
            return Next::Nothing;
        }
        Next::Gather(state.event_loop.clone_ref(py))
    });
    match next {
        None | Some(Next::Nothing) => Ok(()),
        Some(Next::Gather(event_loop)) => {
            event_loop
                .get()
                .add_dirty(tls.py(), Dirty::Tls(tls.clone().unbind()));
            Ok(())
        }
        Some(Next::Flush) => flush(tls.py(), tls),
    }
}

/// Encrypts and sends what waits, as far as the lower transport wants it, and tells the protocol when it should stop
/// or may go on.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn flush(_py: Python<'_>, tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let may_flow = with(tls, |_, state| {
        state.flags.dirty = false;
        state.session.phase() == tepal_core::tls::Phase::Open
            && !state.flags.lower_paused
            && !state.queue.is_empty()
    });
    if may_flow == Some(true)
        && let Err(error) = encrypt(tls, false)
    {
        life::fail(tls, error, "Fatal error on SSL protocol")?;
    }
    control_writing(tls)
}

/// Encrypts and sends what waits; `all` of it, or as far as the lower transport wants it.
///
/// # Errors
///
/// `ssl.SSLError`, and what a foreign transport's `write` raises.
pub(super) fn encrypt(tls: &Bound<'_, PyAny>, all: bool) -> PyResult<()> {
    loop {
        let mut progress = Ok(());
        let worked = with_engine(tls, |engine| {
            let py = tls.py();
            let mut batched = 0;
            if let Ok(output) = engine.output(py)
                && output.capacity() == 0
            {
                *output = SPARE.take();
            }
            while batched < BATCH {
                let Some(piece) = next_piece(tls) else {
                    break;
                };
                let written = engine.write(py, piece.bytes());
                let length = piece.bytes().len();
                piece.recycle();
                match written {
                    Ok(count) => {
                        take_sent(tls, count);
                        batched += count;
                        if count < length {
                            break;
                        }
                    }
                    Err(error) => {
                        progress = Err(error);
                        break;
                    }
                }
            }
            (batched, engine.output(py).map(std::mem::take))
        });
        let Some((batched, output)) = worked else {
            return Ok(());
        };
        let sent = output.and_then(|output| send(tls, output));
        progress.and(sent)?;
        let again = with(tls, |_, state| {
            !state.queue.is_empty() && (all || !state.flags.lower_paused)
        });
        if batched == 0 || again != Some(true) {
            return Ok(());
        }
    }
}

/// Hands the engine's records to the lower transport. What is not plain text any more cannot wait here.
///
/// # Errors
///
/// What a foreign transport's `write` raises.
pub(super) fn send_records(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    match with_engine(tls, |engine| engine.output(py).map(std::mem::take)) {
        None => Ok(()),
        Some(output) => send(tls, output?),
    }
}

/// As [`send_records`], with whatever else the running job sends.
///
/// # Errors
///
/// As [`send_records`].
pub(super) fn gather_records(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    let output = with_engine(tls, |engine| engine.output(py).map(std::mem::take));
    let lower = with(tls, |py, state| {
        state.lower.as_ref().map(|lower| lower.clone_ref(py))
    });
    match (output.transpose()?, lower.flatten()) {
        (Some(mut output), Some(lower)) if !output.is_empty() => lower.gather(py, &mut output),
        _ => Ok(()),
    }
}

fn send(tls: &Bound<'_, PyAny>, mut output: Vec<u8>) -> PyResult<()> {
    let sent = if output.is_empty() {
        Ok(())
    } else {
        let lower = with(tls, |py, state| {
            state.lower.as_ref().map(|lower| lower.clone_ref(py))
        });
        match lower.flatten() {
            Some(lower) => lower.send(tls.py(), &mut output),
            None => Ok(()),
        }
    };
    output.clear();
    // Memory for a message of a megabyte or so may stay, once for the thread.
    if output.capacity() <= 4 * BATCH {
        SPARE.set(output);
    }
    sent
}

/// Bytes for one call of the engine.
enum Piece {
    /// The rest of the queue's first chunk.
    Whole(Chunk, usize),
    /// Small chunks, put together.
    Joined(Vec<u8>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(chunk, from) => &chunk.as_ref()[*from..],
            Self::Joined(bytes) => bytes,
        }
    }

    fn recycle(self) {
        if let Self::Joined(mut bytes) = self {
            bytes.clear();
            JOINED.set(bytes);
        }
    }
}

/// What is to be encrypted next. It stays in the queue until it is.
fn next_piece(tls: &Bound<'_, PyAny>) -> Option<Piece> {
    with(tls, |py, state| {
        let (first, from) = state.queue.front()?;
        let length = first.as_ref().len() - from;
        if length >= RECORD || length == state.queue.buffered() {
            return Some(Piece::Whole(first.share(py), from));
        }
        let mut joined = JOINED.take();
        for piece in state.queue.pieces() {
            let room = RECORD - joined.len();
            joined.extend_from_slice(&piece[..piece.len().min(room)]);
            if joined.len() == RECORD {
                break;
            }
        }
        Some(Piece::Joined(joined))
    })
    .flatten()
}

fn take_sent(tls: &Bound<'_, PyAny>, count: usize) {
    let mut done = Finished::default();
    with(tls, |_, state| {
        // Less than it was when the connection was lost meanwhile.
        let count = count.min(state.queue.buffered());
        state.queue.handle_sent(count, |chunk| done.add(chunk));
    });
    drop(done);
}

/// Tells the protocol to pause or to go on.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(super) fn control_writing(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let event = with(tls, |_, state: &mut Tls| {
        let buffered = state.queue.buffered();
        match state.flow.handle_grown(buffered) {
            FlowEvent::None => state.flow.handle_drained(buffered),
            event => event,
        }
    });
    let Some(event) = event.filter(|event| *event != FlowEvent::None) else {
        return Ok(());
    };
    let parties = with(tls, |py, state| {
        let protocol = state.protocol.as_ref()?.clone_ref(py);
        Some((state.event_loop.clone_ref(py), protocol))
    });
    match parties.flatten() {
        Some((event_loop, protocol)) => {
            let py = tls.py();
            protocols::tell_flow(event_loop.bind(py), tls, protocol.bind(py), event)
        }
        None => Ok(()),
    }
}
