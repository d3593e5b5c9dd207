//! The floor of the datagram rows: one `epoll_wait`, one `recvfrom` and one `sendto` per datagram.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};

use crate::buffer::Buffer;
use crate::gate;
use crate::poller::Poller;

/// Serves on a free port, which is said as the first line, until the process is ended.
pub(crate) fn run() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    poller.add(&socket, 0)?;
    gate::say(&socket.local_addr()?.port().to_string())?;
    let mut inbox = Buffer::new();
    loop {
        for _ in poller.wait(true)? {
            match socket.recv_from(&mut inbox) {
                Ok((got, peer)) => drop(socket.send_to(&inbox[..got], peer)),
                // A peer that has gone is told to us here; it is no business of the others.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
