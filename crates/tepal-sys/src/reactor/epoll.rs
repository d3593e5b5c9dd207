//! Linux: epoll.
//!
//! Facts that the code relies on, from epoll(7) and epoll_ctl(2): the kernel tracks open file descriptions, not
//! numbers, so closing the last number removes a registration silently, and `EPOLL_CTL_MOD` on a reused number
//! answers `ENOENT`. With `EPOLLET` a stream socket that gave fewer bytes than asked for is drained, and the next
//! arrival is a new edge; `EPOLLRDHUP` tells that the end has arrived too. `EPOLLERR` and `EPOLLHUP` are always
//! reported.

use super::{Event, Interest, Token, Trigger};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) const NAME: &str = "epoll";

/// Events fetched by one wait; more stay in the kernel for the next.
const BATCH: usize = 256;

/// A set of descriptors and what to report of them.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
}

/// Room for the events of one wait, reused from wait to wait.
pub struct Events {
    list: Vec<epoll::Event>,
}

// SAFETY: an epoll event's data is a union that may hold a pointer; ours are always numbers (`Token`).
unsafe impl Send for Events {}

impl Reactor {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Registers a descriptor, or changes how it is registered. `known` says that it probably is: it saves a system
    /// call when right and costs one when wrong.
    ///
    /// # Errors
    ///
    /// `EBADF` for a closed descriptor, `EPERM` for one that cannot be waited for (a regular file), `ENOSPC` and
    /// `ENOMEM`.
    pub fn set(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
        trigger: Trigger,
        known: bool,
    ) -> io::Result<()> {
        let mut flags = epoll::EventFlags::empty();
        if interest.readable {
            flags |= epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        }
        if interest.writable {
            flags |= epoll::EventFlags::OUT;
        }
        match trigger {
            Trigger::Level => {}
            Trigger::Edge => flags |= epoll::EventFlags::ET,
            Trigger::Once => flags |= epoll::EventFlags::ONESHOT,
        }
        let data = epoll::EventData::new_u64(token.0);
        let change = || epoll::modify(&self.epoll, fd, data, flags);
        let add = || epoll::add(&self.epoll, fd, data, flags);
        let outcome = if known {
            change().or_else(|error| {
                if error == Errno::NOENT {
                    add()
                } else {
                    Err(error)
                }
            })
        } else {
            add().or_else(|error| {
                if error == Errno::EXIST {
                    change()
                } else {
                    Err(error)
                }
            })
        };
        Ok(outcome?)
    }

    /// Forgets a descriptor; one that the kernel has forgotten already, because it was closed, is no error.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match epoll::delete(&self.epoll, fd) {
            Ok(()) | Err(Errno::NOENT | Errno::BADF) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for events: up to `timeout` seconds, not at all for 0, for ever without one. A signal ends the wait
    /// early, with no events and [`io::ErrorKind::Interrupted`].
    ///
    /// # Errors
    ///
    /// `EINTR` as said; others mean that the reactor itself is broken.
    pub fn wait(&self, events: &mut Events, timeout: Option<f64>) -> io::Result<()> {
        let timeout = timeout.map(round_up);
        events.list.clear();
        epoll::wait(
            &self.epoll,
            spare_capacity(&mut events.list),
            timeout.as_ref(),
        )?;
        Ok(())
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
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
            let flags = event.flags;
            let both = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
            Event {
                token: Token(event.data.u64()),
                readable: flags.intersects(both | epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
                writable: flags.intersects(both | epoll::EventFlags::OUT),
                read_closed: flags.intersects(both | epoll::EventFlags::RDHUP),
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

/// Whole milliseconds, rounded up: a wait that ends before its deadline would spin through empty turns until then.
fn round_up(seconds: f64) -> Timespec {
    /// epoll_wait(2) takes an `int` of milliseconds; a day is long enough to sleep before looking again.
    const DAY: f64 = 86_400e3;
    let millis = (seconds * 1e3).ceil().clamp(0.0, DAY) as i64;
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}
