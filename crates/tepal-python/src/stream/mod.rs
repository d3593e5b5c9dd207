//! `_tepal.StreamTransport`: a TCP or Unix stream, from `connection_made` to `connection_lost`.
//!
//! A native type over `asyncio.Transport` (`raw/native_type.rs`); `tepal._transports.SocketTransport` adds what is
//! cold. `state.rs` is what a stream knows, `read.rs` (with `incoming.rs`), `write.rs` and `file.rs` move bytes, `life.rs` begins and ends
//! it, `methods.rs` is what Python calls.
//!
//! A stream is registered edge-triggered and never again (writing is added when the kernel's buffer is first
//! full), so pausing and resuming cost no system call. What is written within one job leaves when the job ends.

mod file;
pub(crate) mod incoming;
mod life;
mod methods;
mod read;
mod state;
mod write;

pub(crate) use life::{abort, begin, is_closing, open};
pub(crate) use methods::{check_limits, flow_limits, is_plain, register};
pub(crate) use read::is_buffered;
pub(crate) use state::{Chunk, Parts, Socket};
pub(crate) use write::{Finished, SOON, flush, gather, send};

use crate::event_loop::Driver;
use pyo3::prelude::*;
use tepal_sys::reactor::Event;

/// Something for a stream to do in a turn. A whole word, so that a job is two and moves as two.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum StreamJob {
    /// Call `connection_made`, start reading, and tell the waiter.
    Begin,
    /// The socket can be read, or a read was put off to this turn.
    Read,
    /// The socket can be read, and the peer has finished writing.
    ReadToEnd,
    /// The socket can be written.
    Write,
    /// Both.
    ReadWrite,
    /// Both, and the peer has finished writing.
    ReadToEndWrite,
    /// Call `connection_lost`.
    Lost,
}

impl StreamJob {
    /// What the kernel's word asks for.
    pub(crate) fn of(event: &Event) -> Self {
        match (event.readable, event.read_closed, event.writable) {
            (true, true, true) => Self::ReadToEndWrite,
            (true, false, true) => Self::ReadWrite,
            (true, true, false) => Self::ReadToEnd,
            (true, false, false) => Self::Read,
            (false, ..) => Self::Write,
        }
    }
}

/// Does a stream's job.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn run_job(
    driver: &mut Driver<'_, '_>,
    object: Py<PyAny>,
    job: StreamJob,
) -> PyResult<()> {
    let stream = object.into_bound(driver.py);
    match job {
        StreamJob::Begin => return begin(driver, &stream),
        StreamJob::Lost => return life::lose(driver, &stream),
        StreamJob::Write | StreamJob::ReadWrite | StreamJob::ReadToEndWrite => {
            write::handle_writable(driver, &stream)?;
        }
        StreamJob::Read | StreamJob::ReadToEnd => {}
    }
    match job {
        StreamJob::Read | StreamJob::ReadWrite => read::handle_readable(driver, &stream, false),
        StreamJob::ReadToEnd | StreamJob::ReadToEndWrite => {
            read::handle_readable(driver, &stream, true)
        }
        StreamJob::Begin | StreamJob::Write | StreamJob::Lost => Ok(()),
    }
}
