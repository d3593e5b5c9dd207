//! What an endpoint knows.

use super::peers::Peers;
use crate::event_loop::Loop;
use crate::raw::Object;
use crate::raw::native_state::{self, NativeState};
use crate::stream::Chunk;
use pyo3::Python;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicUsize;
use tepal_core::transport::{Burst, DatagramQueue, FlowControl};
use tepal_sys::reactor::{Interest, Token};
use tepal_sys::socket::Address;

/// What each waiting datagram counts for beyond its payload, in bytes: as asyncio has it, from 3.13 on.
const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };

/// What an endpoint is made of.
pub(crate) struct Parts<'a, 'py> {
    pub(crate) socket: Bound<'py, PyAny>,
    pub(crate) fd: RawFd,
    pub(crate) kind: Kind,
    /// The socket is connected: the kernel knows where datagrams go.
    pub(crate) connected: bool,
    pub(crate) protocol: &'a Bound<'py, PyAny>,
    /// The one address that datagrams go to, if there is one.
    pub(crate) address: Option<Bound<'py, PyAny>>,
    /// Told when reading has begun.
    pub(crate) waiter: Option<Bound<'py, PyAny>>,
    /// All of the protocol's methods that the loop calls run in it.
    pub(crate) context: Bound<'py, PyAny>,
}

/// How an endpoint talks to its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By descriptor; IPv4.
    V4,
    /// By descriptor; IPv6.
    V6,
    /// By descriptor; addresses are paths and names.
    Unix,
    /// Through the methods of the socket object: a family that we do not know, or a class of somebody's own, which
    /// may have its own idea of `recvfrom`.
    Foreign,
}

/// Where a datagram goes.
pub(crate) enum Target {
    /// To the address that the socket is connected to.
    Connected,
    /// To an address.
    Address(Address),
    /// To whatever the socket object makes of this; `None` cannot be sent to, and the socket object says how.
    Object(Py<PyAny>),
}

/// The state of an endpoint, from `open` to the collector.
pub(crate) struct Datagrams {
    pub(super) event_loop: Py<Loop>,
    /// `None` once closed.
    pub(super) socket: Option<Py<PyAny>>,
    pub(super) fd: RawFd,
    pub(super) kind: Kind,
    pub(super) connected: bool,
    /// Of the registration, while there is one.
    pub(super) token: Option<Token>,
    pub(super) registered: Interest,
    /// `None` after `connection_lost`.
    pub(super) protocol: Option<Py<PyAny>>,
    pub(super) context: Py<PyAny>,
    /// Told when reading has begun.
    pub(super) waiter: Option<Py<PyAny>>,
    /// What `connection_lost` will be told.
    pub(super) error: Option<Py<PyAny>>,
    pub(super) address: Option<Py<PyAny>>,
    pub(super) peers: Peers,
    pub(super) burst: Burst,
    pub(super) queue: DatagramQueue<Chunk, Target>,
    pub(super) flow: FlowControl,
    /// Datagrams sent after the connection was lost; above a threshold each is logged.
    pub(super) lost_sends: u32,
    pub(super) flags: Flags,
}

/// Yes-or-no facts of an endpoint.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// `connection_made` was called.
    pub(super) begun: bool,
    /// `pause_reading` was called.
    pub(super) paused: bool,
    /// `close` or `abort` was called, or the endpoint broke.
    pub(super) closing: bool,
    /// `connection_lost` is scheduled.
    pub(super) lost: bool,
}

impl Datagrams {
    pub(super) fn new(parts: &Parts<'_, '_>, event_loop: &Bound<'_, Loop>) -> Self {
        Self {
            event_loop: event_loop.clone().unbind(),
            socket: Some(parts.socket.clone().unbind()),
            fd: parts.fd,
            kind: parts.kind,
            connected: parts.connected,
            token: None,
            registered: Interest::default(),
            protocol: Some(parts.protocol.clone().unbind()),
            context: parts.context.clone().unbind(),
            waiter: parts.waiter.clone().map(Bound::unbind),
            error: None,
            address: parts.address.clone().map(Bound::unbind),
            peers: Peers::default(),
            burst: Burst::new(),
            queue: DatagramQueue::new(HEADER),
            flow: FlowControl::new(),
            lost_sends: 0,
            flags: Flags::default(),
        }
    }

    /// Whether datagrams are handed to the protocol.
    #[inline]
    pub(super) fn is_reading(&self) -> bool {
        self.flags.begun && !self.flags.paused && !self.flags.closing
    }

    /// Whether a datagram may go straight to the descriptor.
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        !self.flags.closing && self.queue.is_empty() && self.kind != Kind::Foreign
    }

    /// What the endpoint waits for.
    pub(super) fn interest(&self) -> Interest {
        Interest {
            readable: self.is_reading(),
            writable: !self.queue.is_empty() && !self.flags.lost,
        }
    }
}

static OFFSET: AtomicUsize = AtomicUsize::new(0);

impl NativeState for Datagrams {
    const OFFSET: &'static AtomicUsize = &OFFSET;

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        let always = [&self.context, self.event_loop.as_any()];
        let optional = [
            &self.socket,
            &self.protocol,
            &self.waiter,
            &self.error,
            &self.address,
        ];
        // The payloads are `bytes`, which hold nothing.
        let targets = self.queue.iter().filter_map(|(_, target)| match target {
            Target::Object(object) => Some(object),
            _ => None,
        });
        let held = always.into_iter().chain(optional.into_iter().flatten());
        native_state::show_all(held.chain(self.peers.objects()).chain(targets), see)
    }
}

/// Borrows the state of a transport; `None` when it was never opened or was cleared by the collector.
///
/// Callers hold an object whose type was checked: by the method table, by `open`, or by the loop's own tables.
#[inline]
pub(super) fn with<R>(
    endpoint: &Bound<'_, PyAny>,
    act: impl FnOnce(Python<'_>, &mut Datagrams) -> R,
) -> Option<R> {
    // SAFETY: see above.
    unsafe { native_state::with(endpoint, act) }
}
