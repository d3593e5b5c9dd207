//! One client connection: a request going out and its answer coming in, at once if need be.
//!
//! An echo of a mebibyte must be read while it is still being written, or both ends would sit on
//! full buffers for ever.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::buffer::Buffer;
use crate::poller::{Interest, Poller};
use crate::tls::Tls;
use crate::wire::Wire;

/// What one request is made of and what its answer must be; shared by all connections.
pub(crate) struct Exchange {
    request: Vec<u8>,
    answer_size: usize,
    inbox: Buffer,
    check: bool,
    tls: Option<Tls>,
}

impl Exchange {
    /// A request of letters that ends with a newline, so that one payload serves line servers too.
    /// With `check`, every byte of an answer is compared; without, they are counted. With `tls`, all of it is encrypted.
    pub(crate) fn new(size: usize, answer_size: usize, check: bool, tls: Option<Tls>) -> Self {
        let mut request: Vec<u8> = (b'a'..=b'z').cycle().take(size.saturating_sub(1)).collect();
        request.push(b'\n');
        Self {
            request,
            answer_size,
            inbox: Buffer::new(),
            check,
            tls,
        }
    }

    pub(crate) fn set_check(&mut self, check: bool) {
        self.check = check;
    }
}

pub(crate) struct Connection {
    wire: Wire,
    pub(crate) key: usize,
    sent: usize,
    received: usize,
    interest: Interest,
    /// Reads it took so far to get the answer.
    pub(crate) reads: u64,
    pub(crate) asked_at: Instant,
}

impl Connection {
    pub(crate) fn open(
        address: SocketAddr,
        key: usize,
        exchange: &Exchange,
        poller: &Poller,
    ) -> io::Result<Self> {
        // Blocking is fine: on loopback the handshake is over when the call returns, whatever the server does.
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poller.add(&stream, key)?;
        let wire = match &exchange.tls {
            None => Wire::Plain(stream),
            Some(tls) => Wire::Tls(stream, Box::new(tls.begin()?)),
        };
        Ok(Self {
            wire,
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
        if self.interest == Interest::ReadWrite {
            self.send(exchange, poller)?;
        }
        let Exchange {
            request,
            inbox,
            check,
            ..
        } = exchange;
        let mut received = self.received;
        let outcome = self.wire.receive(inbox, |piece| {
            let right = !*check || is_answer(piece, request, received);
            received += piece.len();
            right
        });
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "the server sent other bytes than it got",
                ));
            }
            Err(error) if is_passing(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        if received > self.received {
            self.received = received;
            self.reads += 1;
        }
        if self.received > exchange.answer_size {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the server sent more than the answer",
            ));
        }
        // In a handshake, what came is what there is to answer.
        if self.wire.wants_write() {
            self.send(exchange, poller)?;
        }
        Ok(self.received == exchange.answer_size)
    }

    /// Says goodbye where the protocol has a word for it. Nothing more is sent or awaited.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.wire.say_goodbye()
    }

    fn send(&mut self, exchange: &Exchange, poller: &Poller) -> io::Result<()> {
        let done = self.wire.send(&exchange.request, &mut self.sent)?;
        let wanted = if done {
            Interest::Read
        } else {
            Interest::ReadWrite
        };
        if wanted != self.interest {
            poller.modify(self.wire.stream(), self.key, wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }
}

/// Whether the piece stands at this place of an answer, which is the request, `parts` times over.
fn is_answer(piece: &[u8], request: &[u8], from: usize) -> bool {
    (piece.iter().zip(from..)).all(|(&byte, position)| byte == request[position % request.len()])
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
