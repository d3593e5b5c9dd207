//! A waker over an eventfd: one descriptor, any number of wake-ups in one readiness.
//!
//! Each write is a new edge for epoll(7), whether the counter was read or not, so nobody reads it: a system call less for each wake-up.

use crate::reactor::Trigger;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Becomes readable when anybody calls [`Waker::wake`]; register [`Waker::as_fd`] with the reactor, by [`Waker::TRIGGER`].
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// How it is registered.
    pub const TRIGGER: Trigger = Trigger::Edge;

    /// A waker that has not been woken.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { fd })
    }

    /// Wakes the reactor; safe from any thread.
    ///
    /// # Errors
    ///
    /// None that a caller could answer.
    pub fn wake(&self) -> io::Result<()> {
        let one = 1u64.to_ne_bytes();
        loop {
            match write(&self.fd, &one) {
                Ok(_) => return Ok(()),
                // Full, after some 10^19 wake-ups: only a counter that can be written makes an edge.
                Err(Errno::AGAIN) => match read(&self.fd, &mut [0; 8]) {
                    Ok(_) | Err(Errno::AGAIN) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// To be called when it was reported.
    ///
    /// # Errors
    ///
    /// None.
    #[inline]
    pub fn reset(&self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
