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
        self.poll(if patient { None } else { Some(&SILENCE) })?;
        if self.events.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server said nothing for 10 s",
            ));
        }
        Ok(self.keys())
    }

    /// Waits, no longer than so many milliseconds, and gives the keys that are ready: none when the time is over.
    pub(crate) fn wait_at_most(
        &mut self,
        millis: u32,
    ) -> io::Result<impl Iterator<Item = usize> + use<'_>> {
        self.poll(Some(&Timespec {
            tv_sec: i64::from(millis / 1000),
            tv_nsec: i64::from(millis % 1000 * 1_000_000),
        }))?;
        Ok(self.keys())
    }

    fn poll(&mut self, limit: Option<&Timespec>) -> io::Result<()> {
        self.events.clear();
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.events.iter().map(|event| {
            // A key was a `usize` when it was handed in.
            usize::try_from(event.data.u64()).unwrap_or(usize::MAX)
        })
    }
}

fn data(key: usize) -> EventData {
    EventData::new_u64(key as u64)
}
