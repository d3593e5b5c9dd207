//! A waker over a pipe, where there is no eventfd.

use crate::reactor::Trigger;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd, read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Becomes readable when anybody calls [`Waker::wake`]; register [`Waker::as_fd`] with the reactor, by [`Waker::TRIGGER`].
#[derive(Debug)]
pub struct Waker {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Waker {
    /// How it is registered.
    pub const TRIGGER: Trigger = Trigger::Level;

    /// A waker that has not been woken.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE`.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe()?;
        for end in [&reader, &writer] {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
        }
        Ok(Self { reader, writer })
    }

    /// Wakes the reactor; safe from any thread.
    ///
    /// # Errors
    ///
    /// None that a caller could answer: a full pipe is a wake-up that is already under way.
    pub fn wake(&self) -> io::Result<()> {
        match write(&self.writer, &[1]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// To be called when it was reported: takes the pending wake-ups.
    ///
    /// # Errors
    ///
    /// When the descriptor was closed under us.
    pub fn reset(&self) -> io::Result<()> {
        let mut bytes = [0; 512];
        loop {
            match read(&self.reader, &mut bytes) {
                Ok(count) if count == bytes.len() => {}
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
