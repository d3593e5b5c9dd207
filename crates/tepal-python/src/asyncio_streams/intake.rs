//! How a reader's bytes come in, and where they lie until they are read.

use super::reader::{State, StreamReader};
use crate::event_loop;
use crate::stream::incoming::{self, Incoming};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PySlice};
use std::io;
use std::os::fd::BorrowedFd;
use tepal_core::transport::ByteBuffer;
use tepal_sys::buffer::ReadBuffer;
use tepal_sys::socket;

/// Where the bytes are.
pub(super) enum Store {
    Ours(ByteBuffer),
    /// In the object that somebody has asked for as `_buffer`, for he may change it.
    Theirs(Py<PyByteArray>),
}

/// What a transport has read for a reader.
pub(crate) struct Received {
    /// So many bytes; 0 when there were none.
    pub(crate) count: usize,
    /// All room was filled: there may be more.
    pub(crate) full: bool,
    /// The end of the stream was read.
    pub(crate) ended: bool,
}

impl Received {
    /// What was read in the middle of a stream, or, with nothing, at its end.
    fn some(count: usize, full: bool) -> Self {
        Self {
            count,
            full,
            ended: count == 0,
        }
    }
}

/// From so much room on a read goes straight into the buffer.
const WORTH_IT: usize = 512;

impl State {
    /// Whether so many bytes can be kept as a piece.
    pub(super) fn awaits_piece(&self, count: usize) -> bool {
        let is_empty = matches!(&self.store, Store::Ours(bytes) if bytes.is_empty());
        count <= self.wanted && self.waiter.is_some() && is_empty && self.piece.is_none()
    }
}

impl StreamReader {
    /// Reads from a socket: into what a `read` will return that waits for whatever comes, else into the buffer, by way of `scratch` when that has
    /// little room, and then it grows. `large` is as for [`incoming::receive`].
    ///
    /// # Errors
    ///
    /// What recv(2) gives.
    #[inline]
    pub(crate) fn receive(
        &self,
        py: Python<'_>,
        fd: BorrowedFd<'_>,
        scratch: &mut ReadBuffer,
        large: bool,
    ) -> PyResult<io::Result<Option<Received>>> {
        let most = self.with(py, |state| state.awaits_piece(1).then_some(state.wanted));
        if let Some(most) = most {
            return Ok(match incoming::receive(py, fd, scratch, large, most)? {
                Ok(Some(Incoming { data, full })) => {
                    let count = data.as_bytes().len();
                    self.take_in(data)?;
                    Ok(Some(Received::some(count, full)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            });
        }
        self.with_bytes(py, |bytes| {
            let mut before = 0;
            let room = bytes.spare();
            if room >= WORTH_IT {
                match socket::receive_behind(fd, bytes.tail())? {
                    Some(count) if count == room => before = count,
                    received => return Ok(received.map(|count| Received::some(count, false))),
                }
            }
            Ok(match socket::receive(fd, scratch)? {
                None if before == 0 => None,
                None => Some(Received::some(before, false)),
                Some(count) => {
                    bytes.extend(event_loop::initialized(&scratch[..count]));
                    Some(Received {
                        count: before + count,
                        full: count == scratch.len(),
                        ended: count == 0,
                    })
                }
            })
        })
    }

    /// Takes in bytes that came through TLS, or that somebody feeds.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::handle_fed`].
    pub(crate) fn feed(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        if self.with(py, |state| state.awaits_piece(data.len())) {
            self.take_in(PyBytes::new(py, data))?;
        } else {
            self.with_bytes(py, |bytes| bytes.extend(data))?;
        }
        self.handle_fed(py)
    }

    /// Works on the bytes, wherever they are.
    ///
    /// # Errors
    ///
    /// What writing back into somebody's buffer raises.
    #[inline]
    pub(super) fn with_bytes<R>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut ByteBuffer) -> R,
    ) -> PyResult<R> {
        let mut act = Some(act);
        let (done, piece) = self.with(py, |state| {
            let piece = state.piece.take();
            let done = match &mut state.store {
                Store::Ours(bytes) => {
                    if let Some(piece) = &piece {
                        bytes.extend(piece.as_bytes(py));
                    }
                    Ok(act.take().map(|act| act(bytes)))
                }
                Store::Theirs(theirs) => Err(theirs.clone_ref(py)),
            };
            (done, piece)
        });
        drop(piece);
        match (done, act) {
            (Ok(Some(result)), _) => Ok(result),
            (Err(theirs), Some(act)) => with_theirs(theirs.bind(py), act),
            _ => Err(PyRuntimeError::new_err("a reader's buffer is in use")),
        }
    }

    /// The bytes that came while a `read` of at most so many waited, if they are still by themselves.
    #[inline]
    pub(super) fn take_piece<'py>(
        &self,
        py: Python<'py>,
        most: usize,
    ) -> Option<Bound<'py, PyBytes>> {
        let piece = self.with(py, |state| {
            let fits = |piece: &mut Py<PyBytes>| piece.as_bytes(py).len() <= most;
            state.piece.take_if(fits)
        });
        piece.map(|piece| piece.into_bound(py))
    }

    /// How many bytes wait to be read.
    pub(super) fn waiting(&self, py: Python<'_>) -> usize {
        self.with(py, |state| {
            let piece = state.piece.as_ref();
            let piece = piece.map_or(0, |piece| piece.as_bytes(py).len());
            piece
                + match &state.store {
                    Store::Ours(bytes) => bytes.len(),
                    Store::Theirs(theirs) => theirs.bind(py).len(),
                }
        })
    }

    /// Takes in bytes that came for the `read` that waits.
    ///
    /// # Errors
    ///
    /// As [`StreamReader::with_bytes`].
    fn take_in(&self, data: Bound<'_, PyBytes>) -> PyResult<()> {
        let py = data.py();
        let count = data.as_bytes().len();
        let data = self.with(py, |state| {
            if count > 0 && state.awaits_piece(count) {
                state.piece = Some(data.unbind());
                return None;
            }
            Some(data)
        });
        // More than he takes.
        data.map_or(Ok(()), |data| {
            self.with_bytes(py, |bytes| bytes.extend(data.as_bytes()))
        })
    }
}

/// Works on a copy of somebody's buffer and puts what has become of it back.
#[cold]
fn with_theirs<R>(
    theirs: &Bound<'_, PyByteArray>,
    act: impl FnOnce(&mut ByteBuffer) -> R,
) -> PyResult<R> {
    let py = theirs.py();
    let before = theirs.to_vec();
    let mut bytes = ByteBuffer::new();
    bytes.extend(&before);
    let result = act(&mut bytes);
    if bytes.bytes() != before {
        let all = PySlice::full(py);
        theirs.set_item(all, PyBytes::new(py, bytes.bytes()))?;
    }
    Ok(result)
}
