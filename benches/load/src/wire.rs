//! What a connection's bytes travel through: the socket itself, or TLS over it.
//!
//! Both are driven alike, one read per readiness, so that a TLS row differs from a plain one in nothing but TLS.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;

use crate::buffer::Buffer;

pub(crate) enum Wire {
    Plain(TcpStream),
    /// The session has no limit on what it may hold, so that it takes a request whole.
    Tls(TcpStream, Box<ClientConnection>),
}

impl Wire {
    /// What is registered with the poller.
    pub(crate) fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Tls(stream, _) => stream,
        }
    }

    /// Sends what is behind `sent`, and moves it; false when the kernel would not take all, and there is more to do.
    pub(crate) fn send(&mut self, request: &[u8], sent: &mut usize) -> io::Result<bool> {
        match self {
            Self::Plain(stream) => {
                while *sent < request.len() {
                    match taken(stream.write(&request[*sent..]))? {
                        Some(count) => *sent += count,
                        None => return Ok(false),
                    }
                }
                Ok(true)
            }
            Self::Tls(stream, session) => {
                session.writer().write_all(&request[*sent..])?;
                *sent = request.len();
                flush(stream, session)
            }
        }
    }

    /// Whether there is something to send that is no part of a request: a handshake's messages.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(_, session) if session.wants_write())
    }

    /// Reads once, and hands over what came in pieces; stops with false when one is refused.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server closed; whatever else the socket or TLS has to say.
    pub(crate) fn receive(
        &mut self,
        inbox: &mut Buffer,
        mut accept: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<bool> {
        match self {
            Self::Plain(stream) => Ok(accept(read(stream, inbox)?)),
            Self::Tls(stream, session) => {
                let mut records = read(stream, inbox)?;
                while !records.is_empty() {
                    // A few kilobytes at a time, as the session likes it.
                    session.read_tls(&mut records)?;
                    let state = session
                        .process_new_packets()
                        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                    let closed = state.peer_has_closed();
                    let mut left = state.plaintext_bytes_to_read();
                    while left > 0 {
                        let reader = session.reader();
                        let piece = reader.into_first_chunk()?;
                        let count = piece.len();
                        if !accept(piece) {
                            return Ok(false);
                        }
                        session.reader().consume(count);
                        left -= count;
                    }
                    if closed {
                        return Err(early());
                    }
                }
                Ok(true)
            }
        }
    }

    /// Ends the conversation as its protocol has it: TLS with a message, a plain socket by being dropped.
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        if let Self::Tls(stream, session) = self {
            session.send_close_notify();
            flush(stream, session)?;
        }
        Ok(())
    }
}

fn read<'a>(stream: &mut TcpStream, inbox: &'a mut Buffer) -> io::Result<&'a [u8]> {
    match stream.read(inbox)? {
        0 => Err(early()),
        got => Ok(&inbox[..got]),
    }
}

/// False when the kernel would not take all of it.
fn flush(stream: &mut TcpStream, session: &mut ClientConnection) -> io::Result<bool> {
    while session.wants_write() {
        if taken(session.write_tls(stream))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How much the kernel took; `None` when it would have had to wait.
fn taken(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

fn early() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "the server closed a connection early",
    )
}
