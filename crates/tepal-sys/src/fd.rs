//! Numbers that claim to be file descriptors.
//!
//! asyncio's interface speaks in bare numbers (`add_reader(5, …)`), which Rust's I/O safety cannot vouch for. This is
//! the one place where such a number becomes a descriptor.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Lends a descriptor number for one system call.
///
/// # Errors
///
/// `EBADF` for a negative number.
#[inline]
pub fn borrow<'fd>(fd: RawFd) -> io::Result<BorrowedFd<'fd>> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(
            rustix::io::Errno::BADF.raw_os_error(),
        ));
    }
    // SAFETY: `borrow_raw` asks that the descriptor stay open for the borrow and not be -1. The number is not
    // negative, and the borrow lasts for one system call: a number that is closed makes that call answer EBADF,
    // and memory is never reached through it.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Takes a descriptor over: it is closed when the result is dropped.
///
/// # Safety
///
/// `fd` is open, and nobody else closes it.
#[must_use]
pub unsafe fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
