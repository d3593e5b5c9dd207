//! Datagrams: taken and sent whole, with the address of the other end.

use super::{Address, Attempt, attempt};
use rustix::net::{
    self, RecvFlags, SendFlags, SocketAddrUnix, SocketAddrV4, SocketAddrV6, addr::SocketAddrArg,
};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

/// Takes a datagram into `room`: its length (what is longer than `room` is cut) and its sender, if the sender has an
/// address; `None` when none waits.
///
/// # Errors
///
/// What recvfrom(2) gives: `ECONNREFUSED` and its like for a datagram that was sent before, on a connected socket.
#[inline]
pub fn receive_from(
    fd: BorrowedFd<'_>,
    room: &mut [MaybeUninit<u8>],
) -> Attempt<(usize, Option<Address>)> {
    attempt(|| {
        net::recvfrom(fd, &mut *room, RecvFlags::empty())
            .map(|(_, count, sender)| (count, sender.map(Address::from)))
    })
}

/// Sends a datagram to an address; `None` when it would block.
///
/// # Errors
///
/// What sendto(2) gives: `EMSGSIZE` for one that is too large, `ENOBUFS`, `ENETUNREACH`, and an earlier datagram's
/// `ECONNREFUSED`. `EINVAL` for [`Address::Unnamed`] and for a path that is too long.
#[inline]
pub fn send_to(fd: BorrowedFd<'_>, bytes: &[u8], address: &Address) -> Attempt<usize> {
    match address {
        Address::V4(host, port) => sent(fd, bytes, &SocketAddrV4::new(*host, *port)),
        // The kernel wants the flow information in network order.
        Address::V6(host, port, flow, scope) => {
            let address = SocketAddrV6::new(*host, *port, flow.to_be(), *scope);
            sent(fd, bytes, &address)
        }
        Address::Path(path) => sent(fd, bytes, &SocketAddrUnix::new(&**path)?),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Address::Abstract(name) => {
            let name = name.strip_prefix(&[0]).unwrap_or(name);
            sent(fd, bytes, &SocketAddrUnix::new_abstract_name(name)?)
        }
        _ => Err(io::Error::from(rustix::io::Errno::INVAL)),
    }
}

fn sent(fd: BorrowedFd<'_>, bytes: &[u8], address: &impl SocketAddrArg) -> Attempt<usize> {
    attempt(|| net::sendto(fd, bytes, SendFlags::NOSIGNAL, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::local_address;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use std::net::Ipv4Addr;
    use std::os::fd::{AsFd, OwnedFd};

    fn bound(family: AddressFamily, address: &impl SocketAddrArg) -> OwnedFd {
        let sock = socket_with(family, SocketType::DGRAM, SocketFlags::NONBLOCK, None).unwrap();
        bind(&sock, address).unwrap();
        sock
    }

    /// Sends from one to the other and back to where it came from.
    fn there_and_back(near: &OwnedFd, far: &OwnedFd) {
        let (near, far) = (near.as_fd(), far.as_fd());
        let mut room = [MaybeUninit::uninit(); 16];
        assert_eq!(receive_from(far, &mut room).unwrap(), None);
        for bytes in [&b"hello"[..], b""] {
            let address = local_address(far).unwrap();
            assert_eq!(send_to(near, bytes, &address).unwrap(), Some(bytes.len()));
            let (count, sender) = receive_from(far, &mut room).unwrap().unwrap();
            assert_eq!(count, bytes.len());
            assert_eq!(sender.as_ref(), Some(&local_address(near).unwrap()));
            assert_eq!(send_to(far, b"back", &sender.unwrap()).unwrap(), Some(4));
            assert_eq!(receive_from(near, &mut room).unwrap().unwrap().0, 4);
        }
    }

    #[test]
    fn every_family_goes_there_and_back() {
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let pair = || bound(AddressFamily::INET, &local);
        there_and_back(&pair(), &pair());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let named = |end: &str| {
                let name = format!("tepal-test-{}-{end}", std::process::id());
                let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
                bound(AddressFamily::UNIX, &address)
            };
            there_and_back(&named("near"), &named("far"));
        }
    }

    #[test]
    fn a_sender_without_an_address_has_none() {
        let (near, far) = net::socketpair(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        crate::socket::send(near.as_fd(), b"x").unwrap();
        let mut room = [MaybeUninit::uninit(); 16];
        let taken = receive_from(far.as_fd(), &mut room).unwrap();
        assert_eq!(taken, Some((1, None)));
    }

    #[test]
    fn what_has_no_address_cannot_be_sent_to() {
        let sock = bound(
            AddressFamily::INET,
            &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
        );
        let error = send_to(sock.as_fd(), b"x", &Address::Unnamed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
