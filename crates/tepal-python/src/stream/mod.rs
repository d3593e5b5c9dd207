//! `_tepal.StreamTransport`: a TCP or Unix stream, from `connection_made` to `connection_lost`.
//!
//! A native type over `asyncio.Transport` (`raw/native_type.rs`); `tepal._transports.SocketTransport` adds what is
//! cold. `state.rs` is what a stream knows, `read.rs` and `write.rs` move bytes, `life.rs` begins and ends it,
//! `methods.rs` is what Python calls.
//!
//! A stream is registered edge-triggered and never again (writing is added when the kernel's buffer is first
//! full), so pausing and resuming cost no system call. What is written within one job leaves when the job ends.

mod life;
mod methods;
mod read;
mod state;
mod write;

pub(crate) use life::{begin, is_closing, open};
pub(crate) use methods::register;
pub(crate) use state::{Parts, Socket};
pub(crate) use write::flush;

use crate::event_loop::Driver;
use pyo3::prelude::*;

/// Something for a stream to do in a turn.
pub(crate) enum StreamJob {
    /// Call `connection_made`, start reading, and tell the waiter.
    Begin(Option<Py<PyAny>>),
    /// The kernel says that the socket is ready (or a read was put off to this turn).
    Io {
        readable: bool,
        writable: bool,
        /// The peer has finished writing.
        read_closed: bool,
    },
    /// Call `connection_lost`.
    Lost,
}

impl StreamJob {
    /// Go on reading in the next turn.
    const READ_ON: Self = Self::Io {
        readable: true,
        writable: false,
        read_closed: false,
    };
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
        StreamJob::Begin(waiter) => {
            let waiter = waiter.map(|waiter| waiter.into_bound(driver.py));
            begin(driver, &stream, waiter.as_ref())
        }
        StreamJob::Io {
            readable,
            writable,
            read_closed,
        } => {
            if writable {
                write::handle_writable(driver, &stream)?;
            }
            if readable {
                read::handle_readable(driver, &stream, read_closed)?;
            }
            Ok(())
        }
        StreamJob::Lost => life::lose(driver, &stream),
    }
}
