//! From the records to the program.

use super::engine::Engine;
use super::life;
use super::state::{with, with_engine};
use super::write;
use crate::asyncio_streams::{StreamReader, reader_of};
use crate::errors;
use crate::event_loop::initialized;
use crate::names;
use crate::raw::bytes::Unfinished;
use crate::raw::call;
use crate::stream::is_buffered;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefMethods};
use pyo3::{PyResult, Python};
use std::cell::Cell;
use std::mem::MaybeUninit;
use tepal_core::tls::Phase;
use tepal_core::transport::FlowEvent;
use tepal_sys::buffer::ReadBuffer;
use tepal_sys::libssl::Read;

/// How much one `data_received` may bring (asyncio's `SSLProtocol.max_size`), and so the room for one decryption.
const ROOM: usize = 256 * 1024;

/// From so many bytes on it is cheaper to decrypt into the `bytes` object itself.
const LARGE: usize = 8 * 1024;

thread_local! {
    /// Room for plain text. Taken while in use: the protocol is called after it has been put back.
    static PLAIN: Cell<Option<ReadBuffer>> = const { Cell::new(None) };
}

/// Decrypts and delivers what has come, `input` last. What a paused program does not take is kept.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(super) fn read(tls: &Bound<'_, PyAny>, mut input: &[u8]) -> PyResult<()> {
    loop {
        let plan = with(tls, |py, state| {
            let reads = matches!(state.session.phase(), Phase::Open | Phase::Flushing);
            if state.flags.paused || !reads {
                return None;
            }
            let protocol = state.protocol.as_ref()?.clone_ref(py);
            let reader = state.reader.as_ref().map(|reader| reader.clone_ref(py));
            Some((protocol, state.flags.buffered_protocol, reader))
        });
        let Some(Some((protocol, buffered, reader))) = plan else {
            return keep(tls, input);
        };
        let protocol = protocol.into_bound(tls.py());
        let input = std::mem::take(&mut input);
        let reader = reader.and_then(|reader| reader.bind(tls.py()).upgrade());
        let step = if buffered {
            read_into_protocol(tls, &protocol, input)
        } else if let Some(reader) = reader {
            read_into_reader(tls, reader.cast::<StreamReader>()?.get(), input)
        } else {
            read_bytes(tls, &protocol, input)
        };
        match step {
            Ok(Read::Full) => {}
            Ok(Read::Drained) => return after_reading(tls),
            Ok(Read::Finished) => {
                finish(tls)?;
                return after_reading(tls).and_then(|()| life::close(tls));
            }
            Err(error) if errors::ends_the_loop(tls.py(), &error) => return Err(error),
            Err(error) => return life::fail(tls, error, "Fatal error on SSL protocol"),
        }
    }
}

fn read_bytes(tls: &Bound<'_, PyAny>, protocol: &Bound<'_, PyAny>, input: &[u8]) -> PyResult<Read> {
    let py = tls.py();
    let worked = with_engine(tls, |engine| {
        if input.len() > LARGE {
            return read_in_place(py, engine, input);
        }
        let mut room = PLAIN.take().unwrap_or_else(|| ReadBuffer::new(ROOM));
        let (count, outcome) = engine.read(py, input, &mut room);
        let data = (count > 0).then(|| PyBytes::new(py, initialized(&room[..count])));
        PLAIN.set(Some(room));
        (data, outcome)
    });
    let Some((data, outcome)) = worked else {
        return Ok(Read::Drained);
    };
    if let Some(data) = data {
        call::method1(protocol, names::data_received(py), data.as_any())?;
    }
    outcome
}

/// As above, into the buffer of a reader of ours.
fn read_into_reader(tls: &Bound<'_, PyAny>, reader: &StreamReader, input: &[u8]) -> PyResult<Read> {
    let py = tls.py();
    let worked = with_engine(tls, |engine| {
        let mut room = PLAIN.take().unwrap_or_else(|| ReadBuffer::new(ROOM));
        let (count, outcome) = engine.read(py, input, &mut room);
        (room, count, outcome)
    });
    let Some((room, count, outcome)) = worked else {
        return Ok(Read::Drained);
    };
    let fed = if count > 0 {
        reader.feed(py, initialized(&room[..count]))
    } else {
        Ok(())
    };
    PLAIN.set(Some(room));
    fed.and(outcome)
}

/// As `read_bytes` without the copy: plain text is never longer than its records, so their length is room enough.
fn read_in_place<'py>(
    py: Python<'py>,
    engine: &mut dyn Engine,
    input: &[u8],
) -> (Option<Bound<'py, PyBytes>>, PyResult<Read>) {
    let mut data = match engine
        .pending(py)
        .and_then(|pending| Unfinished::new(py, pending + input.len()))
    {
        Ok(data) => data,
        Err(error) => return (None, Err(error)),
    };
    let (count, outcome) = engine.read(py, input, data.room());
    match data.finish(count) {
        Ok(data) => ((count > 0).then_some(data), outcome),
        Err(error) => (None, Err(error)),
    }
}

fn read_into_protocol(
    tls: &Bound<'_, PyAny>,
    protocol: &Bound<'_, PyAny>,
    input: &[u8],
) -> PyResult<Read> {
    let py = tls.py();
    let pending = with_engine(tls, |engine| engine.pending(py)).unwrap_or(Ok(0))? + input.len();
    let buffer = protocol.call_method1(names::get_buffer(py), (pending,));
    let view = match buffer.and_then(|buffer| PyUntypedBuffer::get(&buffer)) {
        Ok(view) if view.len_bytes() == 0 => Err(PyRuntimeError::new_err(
            "get_buffer() returned an empty buffer",
        )),
        Ok(view) if view.readonly() || !view.is_c_contiguous() => {
            Err(pyo3::exceptions::PyBufferError::new_err(
                "a writable buffer that is contiguous in memory is required",
            ))
        }
        other => other,
    };
    let view = match view {
        Ok(view) => view,
        Err(error) => {
            keep(tls, input)?;
            return Err(error);
        }
    };
    let worked = with_engine(tls, |engine| {
        // SAFETY: the view keeps the memory alive and in place and is writable; the engine only writes to it. (A
        // callback of the SSL context that writes to the same buffer spoils nothing but its bytes.)
        let room = unsafe {
            std::slice::from_raw_parts_mut(
                view.buf_ptr().cast::<MaybeUninit<u8>>(),
                view.len_bytes(),
            )
        };
        engine.read(py, input, room)
    });
    drop(view);
    let Some((count, outcome)) = worked else {
        return Ok(Read::Drained);
    };
    if count > 0 {
        protocol.call_method1(names::buffer_updated(py), (count,))?;
    }
    outcome
}

/// What reading has caused is sent (a key update's answer), what could not be written before is, and the lower
/// transport is told whether we want more.
fn after_reading(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let waits = with(tls, |_, state| {
        !state.queue.is_empty() && !state.flags.dirty && !state.flags.lower_paused
    });
    let sent = if waits == Some(true) {
        write::encrypt(tls, false)
    } else {
        write::send_records(tls)
    };
    match sent {
        Ok(()) => control_reading(tls),
        Err(error) => life::fail(tls, error, "Fatal error on SSL protocol"),
    }
}

/// Keeps bytes that nobody reads now.
fn keep(tls: &Bound<'_, PyAny>, input: &[u8]) -> PyResult<()> {
    if !input.is_empty() {
        let py = tls.py();
        with_engine(tls, |engine| engine.keep(py, input)).unwrap_or(Ok(()))?;
    }
    control_reading(tls)
}

/// Tells the lower transport to pause while too much waits unread.
///
/// # Errors
///
/// What a foreign transport's methods raise.
pub(super) fn control_reading(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    // Nothing waits that the program did not refuse, unless the peer stopped in the middle of a record.
    let interested = with(tls, |_, state| {
        state.flags.paused || state.read_flow.is_paused()
    });
    if interested != Some(true) {
        return Ok(());
    }
    let py = tls.py();
    let Some(pending) = with_engine(tls, |engine| engine.pending(py)) else {
        return Ok(());
    };
    let pending = pending?;
    let told = with(tls, |py, state| {
        let event = match state.read_flow.handle_grown(pending) {
            FlowEvent::None => state.read_flow.handle_drained(pending),
            event => event,
        };
        let lower = state.lower.as_ref()?.object().clone_ref(py);
        Some((event, lower))
    });
    let Some(Some((event, lower))) = told else {
        return Ok(());
    };
    let name = match event {
        FlowEvent::None => return Ok(()),
        FlowEvent::Pause => "pause_reading",
        FlowEvent::Resume => "resume_reading",
    };
    lower.bind(py).call_method0(name).map(drop)
}

/// Tells the protocol that the peer has finished; once.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(super) fn finish(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = tls.py();
    let protocol = with(tls, |py, state| {
        let due = state.session.handle_finished();
        due.then(|| {
            state
                .protocol
                .as_ref()
                .map(|protocol| protocol.clone_ref(py))
        })
    });
    let Some(Some(Some(protocol))) = protocol else {
        return Ok(());
    };
    let answer = call::method0(protocol.bind(py), names::eof_received(py))
        .and_then(|keep_open| keep_open.is_truthy());
    match answer {
        Ok(false) => Ok(()),
        Ok(true) => {
            let logger = py.import("asyncio.log")?.getattr("logger")?;
            let text = "returning true from eof_received() has no effect when using ssl";
            logger.call_method1("warning", (text,)).map(drop)
        }
        Err(error) if errors::ends_the_loop(py, &error) => Err(error),
        Err(error) => life::fail(tls, error, "Error calling eof_received()"),
    }
}

/// `pause_reading()`.
pub(super) fn pause(tls: &Bound<'_, PyAny>) {
    with(tls, |_, state| state.flags.paused = true);
}

/// `resume_reading()`: what was kept is delivered in a coming turn.
///
/// # Errors
///
/// What a replaced `call_soon` raises.
pub(super) fn resume(tls: &Bound<'_, PyAny>) -> PyResult<()> {
    let event_loop = with(tls, |py, state| {
        std::mem::take(&mut state.flags.paused).then(|| state.event_loop.clone_ref(py))
    });
    if let Some(Some(event_loop)) = event_loop {
        let resume = tls.getattr("_read_on")?;
        event_loop
            .bind(tls.py())
            .call_method1("call_soon", (resume,))?;
    }
    Ok(())
}

/// Makes the next bytes go to another protocol.
///
/// # Errors
///
/// What `isinstance` raises.
pub(super) fn set_protocol(tls: &Bound<'_, PyAny>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
    let buffered = is_buffered(protocol)?;
    let reader = reader_of(protocol)?;
    let old = with(tls, |_, state| {
        state.flags.buffered_protocol = buffered;
        (
            state.protocol.replace(protocol.clone().unbind()),
            std::mem::replace(&mut state.reader, reader),
        )
    });
    drop(old);
    Ok(())
}
