//! Sockets: the calls a transport makes, none of which blocks.

mod address;
mod datagram;

pub use address::{Address, ipv6_text};
pub use datagram::{receive_from, send_to};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{
    self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, sockopt,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Pieces that leave with one system call; sendmsg(2) takes 1024, and few programs write 64 pieces in one job.
pub const GATHER: usize = 64;

/// What a non-blocking call came to.
pub type Attempt<T> = io::Result<Option<T>>;

/// Reads into `room`; the number of bytes (0 at the end of the stream), or `None` when it would block.
///
/// # Errors
///
/// What recv(2) gives, `ECONNRESET` above all.
#[inline]
pub fn receive(fd: BorrowedFd<'_>, room: &mut [MaybeUninit<u8>]) -> Attempt<usize> {
    attempt(|| net::recv(fd, &mut *room, RecvFlags::empty()).map(|(_, count)| count))
}

/// As [`receive`], behind the bytes of a vector, as far as it has room.
///
/// # Errors
///
/// As [`receive`].
#[inline]
pub fn receive_behind(fd: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> Attempt<usize> {
    attempt(|| net::recv(fd, spare_capacity(bytes), RecvFlags::empty()).map(|(count, _)| count))
}

/// Writes one piece; the number of bytes taken, or `None` when it would block.
///
/// # Errors
///
/// What send(2) gives, `EPIPE` and `ECONNRESET` above all; no SIGPIPE is raised.
#[inline]
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Attempt<usize> {
    attempt(|| net::send(fd, bytes, SendFlags::NOSIGNAL))
}

/// Up to this many bytes, copying the pieces together costs less than handing them over as a list.
pub(crate) const COPIED: usize = 4096;

/// Writes up to [`GATHER`] pieces, of `total` bytes in all, with one call; the number of bytes taken, or `None` when it
/// would block.
///
/// # Errors
///
/// As [`send`].
pub fn send_gather<'bytes>(
    fd: BorrowedFd<'_>,
    mut pieces: impl Iterator<Item = &'bytes [u8]>,
    total: usize,
) -> Attempt<usize> {
    let first = pieces.next().unwrap_or_default();
    if first.len() == total {
        return send(fd, first);
    }
    if total <= COPIED {
        let mut copy = [0; COPIED];
        let mut length = 0;
        for piece in std::iter::once(first).chain(pieces) {
            copy[length..length + piece.len()].copy_from_slice(piece);
            length += piece.len();
        }
        return send(fd, &copy[..length]);
    }
    let mut slices = [IoSlice::new(&[]); GATHER];
    slices[0] = IoSlice::new(first);
    let mut count = 1;
    for piece in pieces.take(GATHER - 1) {
        slices[count] = IoSlice::new(piece);
        count += 1;
    }
    attempt(|| {
        net::sendmsg(
            fd,
            &slices[..count],
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        )
    })
}

/// Sends up to `count` bytes of a file, from `offset` on, without their passing through this process; the number of
/// bytes taken (0 at the end of the file), or `None` when the socket would block. The file's own position does not move.
///
/// # Errors
///
/// What sendfile(2) gives: as [`send`] for the socket, `EINVAL` for a file that cannot be sent so.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn send_file(
    fd: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    count: usize,
) -> Attempt<usize> {
    attempt(|| {
        let mut offset = offset;
        rustix::fs::sendfile(fd, file, Some(&mut offset), count)
    })
}

/// Sending a file without its bytes passing through this process.
///
/// # Errors
///
/// `ENOSYS`, always: each of the other systems has a call of its own shape, and none is used yet.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn send_file(
    _fd: BorrowedFd<'_>,
    _file: BorrowedFd<'_>,
    _offset: u64,
    _count: usize,
) -> Attempt<usize> {
    Err(Errno::NOSYS.into())
}

/// Takes a connection that waits at a listening socket, non-blocking and close-on-exec, with its peer's address.
///
/// # Errors
///
/// What accept4(2) gives: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, or the new connection's own network error.
#[cfg(not(target_vendor = "apple"))]
pub fn accept(fd: BorrowedFd<'_>) -> Attempt<(OwnedFd, Address)> {
    attempt(|| net::acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC))
        .map(|taken| taken.map(|(socket, peer)| (socket, Address::from_peer(peer))))
}

/// Takes a connection that waits at a listening socket, non-blocking and close-on-exec, with its peer's address.
///
/// # Errors
///
/// What accept(2) gives: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, or the new connection's own network error.
#[cfg(target_vendor = "apple")]
pub fn accept(fd: BorrowedFd<'_>) -> Attempt<(OwnedFd, Address)> {
    let Some((socket, peer)) = attempt(|| net::acceptfrom(fd))? else {
        return Ok(None);
    };
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Some((socket, Address::from_peer(peer))))
}

/// Why a connection could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptFailure {
    /// That connection is gone; the next may be taken at once.
    Gone,
    /// No descriptor or memory is left; trying again at once would spin.
    Exhausted,
    /// The listening socket itself does not work.
    Broken,
}

impl AcceptFailure {
    /// Tells the errors of [`accept`] apart, as accept(2) describes them.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNABORTED | Errno::INTR) => Self::Gone,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Exhausted,
            _ => Self::Broken,
        }
    }
}

/// Sends the end of the stream; reading goes on.
///
/// # Errors
///
/// `ENOTCONN` when the connection is gone.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(net::shutdown(fd, Shutdown::Write)?)
}

/// The address of this end.
///
/// # Errors
///
/// What getsockname(2) gives.
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    Ok(Address::from(net::getsockname(fd)?))
}

/// The address of the other end.
///
/// # Errors
///
/// `ENOTCONN` when there is none.
pub fn peer_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    Ok(Address::from_peer(net::getpeername(fd)?))
}

/// Turns Nagle's algorithm off on a TCP socket.
///
/// # Errors
///
/// What setsockopt(2) gives.
pub fn set_nodelay(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(fd, true)?)
}

/// Repeats a call that a signal interrupted, and tells "would block" from an error.
#[inline]
pub(crate) fn attempt<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Attempt<T> {
    loop {
        match call() {
            Ok(value) => return Ok(Some(value)),
            Err(Errno::INTR) => {}
            // EAGAIN and EWOULDBLOCK are one number on every platform that we know.
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, socketpair};
    use std::os::fd::AsFd;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_file_is_sent_from_where_it_is_asked_for() {
        use std::io::Write;
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let (sent, empty) = (std::env::temp_dir(), &mut [MaybeUninit::uninit(); 100]);
        let path = sent.join(format!("tepal-send-file-{}", std::process::id()));
        let mut file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        let send = |offset, count| send_file(near.as_fd(), file.as_fd(), offset, count).unwrap();
        assert_eq!(send(2, 3), Some(3));
        assert_eq!(send(8, 100), Some(2));
        assert_eq!(send(10, 100), Some(0));
        assert_eq!(receive(far.as_fd(), empty).unwrap(), Some(5));
        while send(0, 10).is_some() {}
        drop(far);
        let broken = send_file(near.as_fd(), file.as_fd(), 0, 10).unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_gathered_arrives_in_order() {
        for (size, sent_at_once) in [(3, 100), (100, GATHER)] {
            let (near, far) = socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::NONBLOCK,
                None,
            )
            .unwrap();
            let pieces: Vec<Vec<u8>> = (0..100u8).map(|byte| vec![byte; size]).collect();
            let all = pieces.concat();
            let sent = send_gather(near.as_fd(), pieces.iter().map(Vec::as_slice), all.len());
            let sent = sent.unwrap().unwrap();
            assert_eq!(sent, sent_at_once * size);
            let mut room = [MaybeUninit::uninit(); 16 * 1024];
            let count = receive(far.as_fd(), &mut room).unwrap().unwrap();
            assert_eq!(count, sent);
            // SAFETY: the kernel filled `count` bytes.
            let received = unsafe { &*(std::ptr::from_ref(&room[..count]) as *const [u8]) };
            assert_eq!(received, &all[..count]);
            assert_eq!(receive(far.as_fd(), &mut room).unwrap(), None);
            drop(near);
            assert_eq!(receive(far.as_fd(), &mut room).unwrap(), Some(0));
            let broken = send(far.as_fd(), b"x").unwrap_err();
            assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
