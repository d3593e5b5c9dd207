//! The floor: an echo server that does only what the kernel makes it do.
//!
//! Per message one `epoll_wait`, one `recv`, one `send`; no allocation, no timer, no queue. What a
//! loop spends above this is the price of the loop and of Python.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::buffer::Buffer;
use crate::gate;
use crate::poller::{Interest, Poller};

/// Serves on a free port, which is said as the first line, until the process is ended.
/// Each piece received is sent back `parts` times with one system call.
pub(crate) fn run(parts: usize) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    let listener_key = key_of(&listener);
    poller.add(&listener, listener_key)?;
    gate::say(&listener.local_addr()?.port().to_string())?;

    // A descriptor is a small number, so it is the index as well: no hashing on the floor.
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut inbox = Buffer::new();
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(poller.wait(true)?);
        for &key in &ready {
            if key == listener_key {
                if let Some(peer) = Peer::accept(&listener)? {
                    let key = key_of(&peer.stream);
                    poller.add(&peer.stream, key)?;
                    if peers.len() <= key {
                        peers.resize_with(key + 1, || None);
                    }
                    peers[key] = Some(peer);
                }
            } else if let Some(peer) = &mut peers[key] {
                // An error of one peer ends that peer, as its last byte does.
                if !peer
                    .handle_ready(key, parts, &mut inbox, &poller)
                    .unwrap_or(false)
                {
                    peers[key] = None;
                }
            }
        }
    }
}

fn key_of(source: &impl AsRawFd) -> usize {
    usize::try_from(source.as_raw_fd()).unwrap_or(usize::MAX)
}

struct Peer {
    stream: TcpStream,
    /// What the kernel would not take yet, gone up to `flushed`. Nothing more is read before the rest is.
    backlog: Vec<u8>,
    flushed: usize,
}

impl Peer {
    fn accept(listener: &TcpListener) -> io::Result<Option<Self>> {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Some(Self {
                    stream,
                    backlog: Vec::new(),
                    flushed: 0,
                }))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// False at the end of the stream.
    fn handle_ready(
        &mut self,
        key: usize,
        parts: usize,
        inbox: &mut [u8],
        poller: &Poller,
    ) -> io::Result<bool> {
        if self.flushed < self.backlog.len() {
            self.flush(key, poller)?;
            return Ok(true);
        }
        let got = self.stream.read(inbox)?;
        if got == 0 {
            return Ok(false);
        }
        let piece = &inbox[..got];
        let mut sent = if parts == 1 {
            taken(self.stream.write(piece))?
        } else {
            taken(
                self.stream
                    .write_vectored(&vec![IoSlice::new(piece); parts]),
            )?
        };
        if sent < got * parts {
            self.flushed = 0;
            self.backlog.clear();
            while sent < got * parts {
                let rest = &piece[sent % got..];
                self.backlog.extend_from_slice(rest);
                sent += rest.len();
            }
            poller.modify(&self.stream, key, Interest::Write)?;
        }
        Ok(true)
    }

    fn flush(&mut self, key: usize, poller: &Poller) -> io::Result<()> {
        self.flushed += taken(self.stream.write(&self.backlog[self.flushed..]))?;
        if self.flushed == self.backlog.len() {
            poller.modify(&self.stream, key, Interest::Read)?;
        }
        Ok(())
    }
}

/// How much the kernel took; nothing is an answer too.
fn taken(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
