//! Bytes on their way from a socket into an object of Python's.

use crate::event_loop::initialized;
use crate::raw::bytes::Unfinished;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::io;
use std::os::fd::BorrowedFd;
use tepal_sys::buffer::ReadBuffer;
use tepal_sys::socket;

/// From so many bytes on, a read is part of something large, and the next one will be, too.
pub(super) const LARGE: usize = 16 * 1024;

/// What one read has brought: at the end of the stream, nothing.
pub(crate) struct Incoming<'py> {
    pub(crate) data: Bound<'py, PyBytes>,
    /// All room was filled: there may be more.
    pub(crate) full: bool,
}

/// Reads into a `bytes` object.
///
/// By way of the loop's room for reads, so that the object is made as large as it has to be. Where much is to be expected (`large`) straight into
/// the object, of at most `most` bytes, which is then cut: a copy less, for an echo of 100 KiB a fifth of its time (benches: echo/streams,
/// 2026-11).
///
/// # Errors
///
/// MemoryError; what recv(2) gives.
pub(crate) fn receive<'py>(
    py: Python<'py>,
    fd: BorrowedFd<'_>,
    scratch: &mut ReadBuffer,
    large: bool,
    most: usize,
) -> PyResult<io::Result<Option<Incoming<'py>>>> {
    if large {
        let mut object = Unfinished::new(py, scratch.len().min(most))?;
        let room = object.room();
        if !is_slow(room.as_ptr().addr()) {
            let capacity = room.len();
            let received = match socket::receive(fd, room) {
                Ok(Some(count)) => count,
                other => return Ok(other.map(|_| None)),
            };
            let data = if received < LARGE {
                // (Cut to so little, it would leave a hole that the next one does not fit into.)
                PyBytes::new(py, initialized(&object.room()[..received]))
            } else {
                object.finish(received)?
            };
            let full = received == capacity;
            return Ok(Ok(Some(Incoming { data, full })));
        }
    }
    Ok(socket::receive(fd, scratch).map(|received| {
        received.map(|count| Incoming {
            data: PyBytes::new(py, initialized(&scratch[..count])),
            full: count == scratch.len(),
        })
    }))
}

/// Whether some processors copy to this place at half speed (benches/METHOD.md): it is near the beginning of a page, and not on it.
fn is_slow(address: usize) -> bool {
    (1..64).contains(&(address % 4096))
}
