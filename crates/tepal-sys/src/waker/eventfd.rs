//! A waker over an eventfd: one descriptor, any number of wake-ups in one readiness.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Becomes readable when anybody calls [`Waker::wake`]; register [`Waker::as_fd`] with the reactor.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
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
    /// None that a caller could answer: a full counter is a wake-up that is already under way.
    pub fn wake(&self) -> io::Result<()> {
        match write(&self.fd, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the pending wake-ups; the waker is unreadable afterwards.
    ///
    /// # Errors
    ///
    /// When the descriptor was closed under us.
    pub fn reset(&self) -> io::Result<()> {
        match read(&self.fd, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
