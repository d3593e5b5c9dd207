//! Level-triggered epoll with a key per descriptor, and a guard against silence.
//!
//! Level-triggered, because then one `read` per readiness is enough: an edge would have to be
//! read until the kernel says "no more", a system call per message that the floor must not pay.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// A peer that says nothing for so long has hung; the benchmark must end all the same.
const SILENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
const BATCH: usize = 256;

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    ReadWrite,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(BATCH),
        })
    }

    pub(crate) fn add(&self, source: impl AsFd, key: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, data(key), EventFlags::IN)?)
    }

    pub(crate) fn modify(
        &self,
        source: impl AsFd,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let flags = match interest {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
        };
        Ok(epoll::modify(&self.epoll, source, data(key), flags)?)
    }

    /// Waits and gives the keys that are ready.
    ///
    /// # Errors
    /// `TimedOut` when nothing happened for ten seconds; a server may wait for ever with `patient`.
    pub(crate) fn wait(
        &mut self,
        patient: bool,
    ) -> io::Result<impl Iterator<Item = usize> + use<'_>> {
        self.events.clear();
        let limit = if patient { None } else { Some(&SILENCE) };
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the server said nothing for 10 s",
                    ));
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.events.iter().map(|event| {
            // A key was a `usize` when it was handed in.
            usize::try_from(event.data.u64()).unwrap_or(usize::MAX)
        }))
    }
}

fn data(key: usize) -> EventData {
    EventData::new_u64(key as u64)
}
