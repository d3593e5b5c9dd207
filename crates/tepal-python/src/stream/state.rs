//! What a stream knows.

use super::file::Sending;
use crate::asyncio_streams;
use crate::event_loop::Loop;
use crate::raw::Object;
use crate::raw::native_state::{self, NativeState};
use crate::tls;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyWeakrefReference};
use pyo3::{Python, ffi};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicUsize;
use tepal_core::transport::{FlowControl, WriteQueue};
use tepal_sys::reactor::Token;
use tepal_sys::socket::Address;

/// Who owns the descriptor.
pub(crate) enum Socket {
    /// We do; nobody has asked for a socket object yet.
    Native(OwnedFd),
    /// A `socket.socket`.
    Python(Py<PyAny>, RawFd),
    /// Nobody any more.
    Closed,
}

impl Socket {
    /// The descriptor's number; -1 once closed.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Self::Native(fd) => fd.as_raw_fd(),
            Self::Python(_, fd) => *fd,
            Self::Closed => -1,
        }
    }
}

/// What a stream is made of.
pub(crate) struct Parts<'a, 'py> {
    pub(crate) socket: Socket,
    pub(crate) protocol: &'a Bound<'py, PyAny>,
    /// All of the protocol's methods that the loop calls run in it.
    pub(crate) context: &'a Bound<'py, PyAny>,
    pub(crate) server: Option<&'a Bound<'py, PyAny>>,
    pub(crate) peer: Option<Address>,
    /// Told when reading has begun.
    pub(crate) waiter: Option<&'a Bound<'py, PyAny>>,
}

/// Bytes to write: an immutable object, kept without a copy.
pub(crate) struct Chunk(Py<PyBytes>);

impl From<Bound<'_, PyBytes>> for Chunk {
    fn from(bytes: Bound<'_, PyBytes>) -> Self {
        Self(bytes.unbind())
    }
}

impl Chunk {
    /// The object itself.
    pub(crate) fn bytes<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyBytes> {
        self.0.bind(py)
    }

    /// The same bytes again.
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a `bytes` object is immutable and stays where it is as long as our reference lives, attached or
        // not; the two calls only read its header.
        unsafe {
            let object = self.0.as_ptr();
            let length = ffi::Py_SIZE(object) as usize;
            std::slice::from_raw_parts(ffi::PyBytes_AS_STRING(object).cast::<u8>(), length)
        }
    }
}

/// What a stream sends.
pub(crate) enum Outgoing {
    /// What a program wrote.
    Chunk(Chunk),
    /// Records that TLS made of it.
    Records(Vec<u8>),
}

impl AsRef<[u8]> for Outgoing {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Chunk(chunk) => chunk.as_ref(),
            Self::Records(bytes) => bytes,
        }
    }
}

/// Who takes what a stream reads.
pub(super) enum Taker {
    /// The protocol's `data_received`, in Python.
    Protocol,
    /// The TLS transport behind the protocol, without a call into Python.
    Tls(Py<PyAny>),
    /// The reader behind the protocol, likewise; weak, as the protocol has it.
    Reader(Py<PyWeakrefReference>),
}

impl Taker {
    /// # Errors
    ///
    /// What looking at the protocol raises.
    pub(super) fn of(protocol: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Some(upper) = tls::transport_of(protocol) {
            return Ok(Self::Tls(upper.unbind()));
        }
        let reader = asyncio_streams::reader_of(protocol)?;
        Ok(reader.map_or(Self::Protocol, Self::Reader))
    }

    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Protocol => Self::Protocol,
            Self::Tls(upper) => Self::Tls(upper.clone_ref(py)),
            Self::Reader(reader) => Self::Reader(reader.clone_ref(py)),
        }
    }

    fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Protocol => None,
            Self::Tls(upper) => Some(upper),
            Self::Reader(reader) => Some(reader.as_any()),
        }
    }
}

/// The state of a stream, from `open` to the collector.
pub(crate) struct Stream {
    pub(super) event_loop: Py<Loop>,
    pub(super) socket: Socket,
    pub(super) token: Option<Token>,
    /// `None` after `connection_lost`.
    pub(super) protocol: Option<Py<PyAny>>,
    /// Who takes the bytes.
    pub(super) taker: Taker,
    pub(super) server: Option<Py<PyAny>>,
    pub(super) context: Py<PyAny>,
    /// Told when reading has begun.
    pub(super) waiter: Option<Py<PyAny>>,
    /// What `connection_lost` will be told.
    pub(super) error: Option<Py<PyAny>>,
    pub(super) queue: WriteQueue<Outgoing>,
    pub(super) flow: FlowControl,
    /// The file that `sendfile` sends. It begins when the queue is empty, and refuses writes as long as it is here.
    pub(super) file: Option<Box<Sending>>,
    pub(super) peer: Option<Address>,
    pub(super) local: Option<Address>,
    /// Writes after the connection was lost; above a threshold each is logged.
    pub(super) lost_writes: u32,
    pub(super) flags: Flags,
}

impl Stream {
    /// Whether `write` would raise: after `write_eof`, and while a file is being sent.
    #[inline]
    pub(super) fn refuses_writes(&self) -> bool {
        self.flags.write_ended || self.file.is_some()
    }
}

/// Yes-or-no facts of a stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// The protocol is a `BufferedProtocol`.
    pub(super) buffered_protocol: bool,
    /// The last read was part of something large (`incoming::LARGE`).
    pub(super) large: bool,
    /// `connection_made` was called and the kernel tells us of readiness.
    pub(super) begun: bool,
    /// `pause_reading` was called.
    pub(super) paused: bool,
    /// Readiness came while paused, or a read was cut short: read when resumed.
    pub(super) readable: bool,
    /// The peer has finished writing.
    pub(super) peer_finished: bool,
    /// The end of the stream was read; nothing more comes.
    pub(super) ended: bool,
    /// `close` or `abort` was called, or the connection broke.
    pub(super) closing: bool,
    /// `connection_lost` is scheduled; no byte can be sent any more.
    pub(super) lost: bool,
    /// `write_eof` was called.
    pub(super) write_ended: bool,
    /// In the loop's list of streams to flush.
    pub(super) dirty: bool,
    /// The kernel's buffer is full; its event will come.
    pub(super) blocked: bool,
    /// The reactor reports writability too.
    pub(super) watches_writing: bool,
}

static OFFSET: AtomicUsize = AtomicUsize::new(0);

impl NativeState for Stream {
    const OFFSET: &'static AtomicUsize = &OFFSET;

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        // The queue holds `bytes`, which hold nothing.
        let always = [&self.context, self.event_loop.as_any()];
        let socket = match &self.socket {
            Socket::Python(object, _) => Some(object),
            Socket::Native(_) | Socket::Closed => None,
        };
        let optional = [
            self.protocol.as_ref(),
            self.taker.object(),
            self.server.as_ref(),
            self.error.as_ref(),
            self.waiter.as_ref(),
            self.file.as_ref().and_then(|file| file.done.as_ref()),
            socket,
        ];
        native_state::show_all(
            always.into_iter().chain(optional.into_iter().flatten()),
            see,
        )
    }
}

/// Borrows the state of a transport; `None` when it was never opened or was cleared by the collector.
///
/// Callers hold an object whose type was checked: by the method table, by `open`, or by the loop's own tables.
#[inline]
pub(super) fn with<R>(
    stream: &Bound<'_, PyAny>,
    act: impl FnOnce(Python<'_>, &mut Stream) -> R,
) -> Option<R> {
    // SAFETY: see above.
    unsafe { native_state::with(stream, act) }
}
