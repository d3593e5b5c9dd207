//! What a pipe knows.

use crate::event_loop::{Loop, Side};
use crate::raw::Object;
use crate::raw::native_state::{self, NativeState};
use crate::stream::Chunk;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicUsize;
use tepal_core::transport::{FlowControl, WriteQueue};
use tepal_sys::pipe::Kind;
use tepal_sys::reactor::Trigger;

/// Which direction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Read,
    Write,
}

/// What a pipe may have to do in a turn, in the order in which it is done when several things are due.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Due {
    /// Call `connection_made`, start watching, and tell the waiter.
    Begin,
    /// The kernel has room.
    Writable,
    /// There is something to read; on a write pipe: the reader is gone.
    Readable,
    /// Call `eof_received`.
    End,
    /// Call `connection_lost`.
    Lost,
}

/// What is due: a set. For each member one `Job::Pipe` stands in the loop's queue, so that a job is two words.
#[derive(Clone, Copy, Default)]
pub(super) struct DueSet(u8);

impl DueSet {
    const ORDER: [Due; 5] = [
        Due::Begin,
        Due::Writable,
        Due::Readable,
        Due::End,
        Due::Lost,
    ];

    /// Adds one; whether it was not there, so that a job must be scheduled.
    pub(super) fn add(&mut self, due: Due) -> bool {
        let bit = 1 << due as u8;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    /// Takes the first.
    pub(super) fn take(&mut self) -> Option<Due> {
        let due = Self::ORDER
            .into_iter()
            .find(|due| self.0 & (1 << *due as u8) != 0)?;
        self.0 &= !(1 << due as u8);
        Some(due)
    }
}

/// The state of a pipe, from `open` to the collector.
pub(super) struct Pipe {
    pub(super) event_loop: Py<Loop>,
    pub(super) role: Role,
    pub(super) kind: Kind,
    /// The user's file object; `None` once closed.
    pub(super) file: Option<Py<PyAny>>,
    pub(super) fd: RawFd,
    /// `None` after `connection_lost`.
    pub(super) protocol: Option<Py<PyAny>>,
    pub(super) context: Py<PyAny>,
    /// Told when the pipe is connected.
    pub(super) waiter: Option<Py<PyAny>>,
    /// What `connection_lost` will be told.
    pub(super) error: Option<Py<PyAny>>,
    pub(super) queue: WriteQueue<Chunk>,
    pub(super) flow: FlowControl,
    /// Writes after the end; above a threshold each is logged.
    pub(super) lost_writes: u32,
    pub(super) due: DueSet,
    pub(super) flags: Flags,
}

/// Yes-or-no facts of a pipe.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// `pause_reading` was called.
    pub(super) paused: bool,
    /// Something could be read while paused, so the kernel is asked no more.
    pub(super) unwatched: bool,
    /// `close`, `abort` or `write_eof` was called, or the pipe ended or broke.
    pub(super) closing: bool,
    /// `connection_lost` is scheduled; no byte can be sent any more.
    pub(super) lost: bool,
    /// In the loop's list of transports to flush.
    pub(super) dirty: bool,
    /// The kernel's buffer is full; its event will come.
    pub(super) blocked: bool,
}

impl Pipe {
    /// On which sides the kernel is asked from the beginning, and how.
    ///
    /// Reading needs levels: a terminal gives one line a read, a pipe may hold packets (and only its writer's end says so),
    /// and an edge would not come again for the next. A write pipe waits for edges of two kinds, room and the reader's
    /// end; a device has no reader and may not be pollable at all (`/dev/null`), so it is asked only when it is full.
    pub(super) fn watched(&self) -> (&'static [Side], Trigger) {
        match (self.role, self.kind) {
            (Role::Read, _) => (&[Side::Read], Trigger::Level),
            (Role::Write, Kind::Fifo) => (&[Side::Write], Trigger::Edge),
            // asyncio takes whatever can be read from a socket for its end.
            (Role::Write, Kind::Socket) => (&[Side::Write, Side::Read], Trigger::Edge),
            (Role::Write, Kind::Device) => (&[], Trigger::Level),
        }
    }
}

static OFFSET: AtomicUsize = AtomicUsize::new(0);

impl NativeState for Pipe {
    const OFFSET: &'static AtomicUsize = &OFFSET;

    fn show(&self, see: &mut dyn FnMut(Object) -> c_int) -> c_int {
        // The queue holds `bytes`, which hold nothing.
        let always = [&self.context, self.event_loop.as_any()];
        let optional = [&self.file, &self.protocol, &self.waiter, &self.error];
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
    pipe: &Bound<'_, PyAny>,
    act: impl FnOnce(Python<'_>, &mut Pipe) -> R,
) -> Option<R> {
    // SAFETY: see above.
    unsafe { native_state::with(pipe, act) }
}
