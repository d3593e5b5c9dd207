//! One client connection: a request going out and its answer coming in, at once if need be.
//!
//! An echo of a mebibyte must be read while it is still being written, or both ends would sit on
//! full buffers for ever.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::buffer::Buffer;
use crate::poller::{Interest, Poller};

/// What one request is made of and what its answer must be; shared by all connections.
pub(crate) struct Exchange {
    request: Vec<u8>,
    answer_size: usize,
    inbox: Buffer,
    check: bool,
}

impl Exchange {
    /// A request of letters that ends with a newline, so that one payload serves line servers too.
    /// With `check`, every byte of an answer is compared; without, they are counted.
    pub(crate) fn new(size: usize, answer_size: usize, check: bool) -> Self {
        let mut request: Vec<u8> = (b'a'..=b'z').cycle().take(size.saturating_sub(1)).collect();
        request.push(b'\n');
        Self {
            request,
            answer_size,
            inbox: Buffer::new(),
            check,
        }
    }

    pub(crate) fn set_check(&mut self, check: bool) {
        self.check = check;
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) key: usize,
    sent: usize,
    received: usize,
    interest: Interest,
    /// Reads it took so far to get the answer.
    pub(crate) reads: u64,
    pub(crate) asked_at: Instant,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, key: usize, poller: &Poller) -> io::Result<Self> {
        // Blocking is fine: on loopback the handshake is over when the call returns, whatever the server does.
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poller.add(&stream, key)?;
        Ok(Self {
            stream,
            key,
            sent: 0,
            received: 0,
            interest: Interest::Read,
            reads: 0,
            asked_at: Instant::now(),
        })
    }

    /// Begins a request. The one before must have been answered.
    pub(crate) fn ask(
        &mut self,
        exchange: &Exchange,
        poller: &Poller,
        now: Instant,
    ) -> io::Result<()> {
        self.sent = 0;
        self.received = 0;
        self.reads = 0;
        self.asked_at = now;
        self.send(exchange, poller)
    }

    /// Goes on where the descriptor is ready; true when the answer is complete.
    pub(crate) fn handle_ready(
        &mut self,
        exchange: &mut Exchange,
        poller: &Poller,
    ) -> io::Result<bool> {
        if self.sent < exchange.request.len() {
            self.send(exchange, poller)?;
        }
        let got = match self.stream.read(&mut exchange.inbox) {
            Ok(0) => {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the server closed a connection early",
                ));
            }
            Ok(got) => got,
            Err(error) if is_passing(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.reads += 1;
        if exchange.check {
            self.compare(exchange, got)?;
        }
        self.received += got;
        if self.received > exchange.answer_size {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the server sent more than the answer",
            ));
        }
        Ok(self.received == exchange.answer_size)
    }

    fn send(&mut self, exchange: &Exchange, poller: &Poller) -> io::Result<()> {
        let wanted = loop {
            match self.stream.write(&exchange.request[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    if self.sent == exchange.request.len() {
                        break Interest::Read;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Interest::ReadWrite,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if wanted != self.interest {
            poller.modify(&self.stream, self.key, wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }

    /// The answer is the request, `parts` times over.
    fn compare(&self, exchange: &Exchange, got: usize) -> io::Result<()> {
        let size = exchange.request.len();
        let same = (exchange.inbox[..got].iter().zip(self.received..))
            .all(|(&byte, position)| byte == exchange.request[position % size]);
        if same {
            Ok(())
        } else {
            Err(io::Error::new(
                ErrorKind::InvalidData,
                "the server sent other bytes than it got",
            ))
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
