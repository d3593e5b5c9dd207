//! macOS and the BSDs: kqueue.
//!
//! Facts that the code relies on, from kqueue(2): a filter per direction; `EV_ADD` on a known filter changes it;
//! closing the descriptor removes its filters; `EV_CLEAR` reports edges, `EV_ONESHOT` removes the filter once it
//! has reported; `EV_EOF` on the read filter tells that the peer has finished.

use super::{Event, Interest, Token, Trigger};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::kqueue::{self, EventFilter, EventFlags};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub(super) const NAME: &str = "kqueue";

/// Events fetched by one wait; more stay in the kernel for the next.
const BATCH: usize = 256;

/// A set of descriptors and what to report of them.
#[derive(Debug)]
pub struct Reactor {
    queue: OwnedFd,
}

/// Room for the events of one wait, reused from wait to wait.
pub struct Events {
    list: Vec<kqueue::Event>,
}

// SAFETY: a kevent's user data is a pointer-sized field; ours are always numbers (`Token`).
unsafe impl Send for Events {}

impl Reactor {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: kqueue::kqueue()?,
        })
    }

    /// Registers a descriptor, or changes how it is registered; `known` is of no use here.
    ///
    /// # Errors
    ///
    /// `EBADF` for a closed descriptor, `ENOMEM`, and whatever makes a descriptor unfit to be waited for.
    pub fn set(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
        _known: bool,
    ) -> io::Result<()> {
        let mut flags = EventFlags::ADD;
        match trigger {
            Trigger::Level => {}
            Trigger::Edge => flags |= EventFlags::CLEAR,
            Trigger::Once => flags |= EventFlags::ONESHOT,
        }
        for (wanted, filter) in [
            (interest.readable, EventFilter::Read(fd.as_raw_fd())),
            (interest.writable, EventFilter::Write(fd.as_raw_fd())),
        ] {
            if wanted {
                self.change(filter, flags, token)?;
            } else {
                self.delete(filter)?;
            }
        }
        Ok(())
    }

    /// Forgets a descriptor; one that the kernel has forgotten already, because it was closed, is no error.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.delete(EventFilter::Read(fd.as_raw_fd()))?;
        self.delete(EventFilter::Write(fd.as_raw_fd()))
    }

    /// Waits for events: up to `timeout` seconds, not at all for 0, for ever without one. A signal ends the wait
    /// early, with no events and [`io::ErrorKind::Interrupted`].
    ///
    /// # Errors
    ///
    /// `EINTR` as said; others mean that the reactor itself is broken.
    pub fn wait(&self, events: &mut Events, timeout: Option<f64>) -> io::Result<()> {
        /// A day is long enough to sleep before looking again.
        const DAY: f64 = 86_400.0;
        let timeout = timeout.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, DAY)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        events.list.clear();
        // SAFETY: rustix asks that descriptors in the change list stay open for the call; the list is empty.
        unsafe {
            kqueue::kevent_timespec(
                &self.queue,
                &[],
                spare_capacity(&mut events.list),
                timeout.as_ref(),
            )?;
        }
        Ok(())
    }

    fn delete(&self, filter: EventFilter) -> io::Result<()> {
        match self.change(filter, EventFlags::DELETE, Token(0)) {
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::NOENT | Errno::BADF)
                ) =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn change(&self, filter: EventFilter, flags: EventFlags, token: Token) -> io::Result<()> {
        let data = std::ptr::without_provenance_mut(token.0 as usize);
        let changes = [kqueue::Event::new(filter, flags, data)];
        let mut none: [kqueue::Event; 0] = [];
        // SAFETY: the caller of `set` and `remove` lends the descriptor for this call.
        unsafe { kqueue::kevent_timespec(&self.queue, &changes, &mut none, None)? };
        Ok(())
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Events {
    /// Room for one wait's events.
    #[must_use]
    pub fn new() -> Self {
        Self {
            list: Vec::with_capacity(BATCH),
        }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.list.iter().map(|event| {
            let flags = event.flags();
            let ended = flags.intersects(EventFlags::EOF | EventFlags::ERROR);
            let reading = matches!(event.filter(), EventFilter::Read(_));
            Event {
                token: Token(event.udata().addr() as u64),
                readable: reading || ended,
                writable: !reading || flags.contains(EventFlags::ERROR),
                read_closed: reading && ended,
            }
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
