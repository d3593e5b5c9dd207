//! Pipes, FIFOs, terminals: the calls a pipe transport makes, none of which blocks.
//!
//! They read and write with read(2) and writev(2), which every kind of descriptor has; sockets have better ones
//! (`socket/mod.rs`). A write to a pipe that nobody reads answers `EPIPE`: Python ignores SIGPIPE, from its first line.

use crate::socket::{Attempt, COPIED, GATHER, attempt};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

/// What can be behind a descriptor that a pipe transport takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pipe or FIFO.
    Fifo,
    /// A socket of any type.
    Socket,
    /// A terminal, or another character device.
    Device,
}

/// Looks at a descriptor and makes it non-blocking; `None`, and nothing is changed, for a regular file and whatever
/// else is not of a [`Kind`].
///
/// # Errors
///
/// `EBADF` for a closed descriptor.
pub fn adopt(fd: BorrowedFd<'_>) -> std::io::Result<Option<Kind>> {
    let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
    if !matches!(
        kind,
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice
    ) {
        return Ok(None);
    }
    let flags = fcntl_getfl(fd)?;
    if !flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    }
    Ok(Some(match kind {
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::Device,
    }))
}

/// Whether an error says no more than that the other side of a pseudo-terminal is closed.
#[must_use]
pub fn is_other_side_closed(error: &std::io::Error) -> bool {
    io::Errno::from_io_error(error) == Some(io::Errno::IO)
}

/// Reads into `room`; the number of bytes (0 at the end of the stream), or `None` when it would block.
///
/// # Errors
///
/// What read(2) gives; `EIO` from a pseudo-terminal whose other side is closed.
#[inline]
pub fn read(fd: BorrowedFd<'_>, room: &mut [MaybeUninit<u8>]) -> Attempt<usize> {
    attempt(|| io::read(fd, &mut *room).map(|(filled, _)| filled.len()))
}

/// Writes up to [`GATHER`] pieces, of `total` bytes in all, with one call; the number of bytes taken, or `None` when it
/// would block.
///
/// # Errors
///
/// What write(2) gives, `EPIPE` above all.
pub fn write_gather<'bytes>(
    fd: BorrowedFd<'_>,
    mut pieces: impl Iterator<Item = &'bytes [u8]>,
    total: usize,
) -> Attempt<usize> {
    let first = pieces.next().unwrap_or_default();
    if first.len() == total {
        return attempt(|| io::write(fd, first));
    }
    if total <= COPIED {
        // One write of up to PIPE_BUF bytes is whole or not at all, whoever else writes to the pipe.
        let mut copy = [0; COPIED];
        let mut length = 0;
        for piece in std::iter::once(first).chain(pieces) {
            copy[length..length + piece.len()].copy_from_slice(piece);
            length += piece.len();
        }
        return attempt(|| io::write(fd, &copy[..length]));
    }
    let mut slices = [IoSlice::new(&[]); GATHER];
    slices[0] = IoSlice::new(first);
    let mut count = 1;
    for piece in pieces.take(GATHER - 1) {
        slices[count] = IoSlice::new(piece);
        count += 1;
    }
    attempt(|| io::writev(fd, &slices[..count]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn tells_pipes_from_files() {
        let (near, far) = rustix::pipe::pipe().unwrap();
        assert_eq!(adopt(near.as_fd()).unwrap(), Some(Kind::Fifo));
        assert!(fcntl_getfl(&near).unwrap().contains(OFlags::NONBLOCK));
        assert!(!fcntl_getfl(&far).unwrap().contains(OFlags::NONBLOCK));
        let file = std::fs::File::open("/proc/self/exe")
            .unwrap_or_else(|_| std::fs::File::open("/bin/sh").unwrap());
        let before = fcntl_getfl(&file).unwrap();
        assert_eq!(adopt(file.as_fd()).unwrap(), None);
        assert_eq!(fcntl_getfl(&file).unwrap(), before);
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(adopt(null.as_fd()).unwrap(), Some(Kind::Device));
    }

    #[test]
    fn what_is_gathered_arrives_in_order() {
        for (size, sent_at_once) in [(3, 100), (100, GATHER)] {
            let (near, far) = rustix::pipe::pipe().unwrap();
            adopt(near.as_fd()).unwrap();
            adopt(far.as_fd()).unwrap();
            let pieces: Vec<Vec<u8>> = (0..100u8).map(|byte| vec![byte; size]).collect();
            let all = pieces.concat();
            let pieces = pieces.iter().map(Vec::as_slice);
            let sent = write_gather(far.as_fd(), pieces, all.len()).unwrap();
            assert_eq!(sent, Some(sent_at_once * size));
            let mut room = [MaybeUninit::uninit(); 16 * 1024];
            assert_eq!(read(near.as_fd(), &mut room).unwrap(), sent);
            assert_eq!(read(near.as_fd(), &mut room).unwrap(), None);
            drop(far);
            assert_eq!(read(near.as_fd(), &mut room).unwrap(), Some(0));
        }
    }
}
