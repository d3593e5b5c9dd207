//! N sockets, one datagram under way on each, and what became of those that nobody answered.
//!
//! A stream's bytes arrive or the connection ends; a datagram may just not come. Each carries a number, so that an answer
//! that is late is not taken for the one that is awaited, and one that has not come after a while is counted and asked anew.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::args::{Args, SMALLEST_DATAGRAM, Until};
use crate::buffer::Buffer;
use crate::gate;
use crate::measure::Measure;
use crate::poller::Poller;

/// Long beyond any turn of a loop, so that a server which merely waits for a processor has lost nothing.
const LOST_AFTER: Duration = Duration::from_millis(500);
const GLANCE_MILLIS: u32 = 100;
/// A server that answers nothing at all does not work; that is an error, and not a loss.
const SILENCE: Duration = Duration::from_secs(5);
const WARM_UP: u64 = 20;

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let mut poller = Poller::new()?;
    let mut inbox = Buffer::new();
    let mut sockets = Vec::with_capacity(args.connections);
    for key in 0..args.connections {
        sockets.push(Socket::open(args, key, &poller)?);
    }
    let warm_up = Until::Requests(WARM_UP * args.connections as u64);
    drive(
        Measure::begin(warm_up),
        &mut sockets,
        &mut poller,
        &mut inbox,
    )?;
    gate::wait_for_start()?;
    let measure = drive(
        Measure::begin(args.until),
        &mut sockets,
        &mut poller,
        &mut inbox,
    )?;
    gate::say(&measure.json())
}

/// Asks on all sockets until the measure says stop, then waits for what is still under way or lost.
fn drive(
    mut measure: Measure,
    sockets: &mut [Socket],
    poller: &mut Poller,
    inbox: &mut Buffer,
) -> io::Result<Measure> {
    let mut pending = 0_usize;
    for socket in &mut *sockets {
        pending += usize::from(socket.ask_if_allowed(&mut measure)?);
    }
    let mut heard_at = Instant::now();
    let mut looked_at = heard_at;
    let mut ready = Vec::new();
    while pending > 0 {
        ready.clear();
        ready.extend(poller.wait_at_most(GLANCE_MILLIS)?);
        let now = Instant::now();
        for &key in &ready {
            let socket = &mut sockets[key];
            if let Some(asked_at) = socket.handle_ready(inbox)? {
                heard_at = now;
                measure.note(asked_at.elapsed(), 1);
                pending -= usize::from(!socket.ask_if_allowed(&mut measure)?);
            }
        }
        if now.duration_since(looked_at) < Duration::from_millis(GLANCE_MILLIS.into()) {
            continue;
        }
        looked_at = now;
        if now.duration_since(heard_at) > SILENCE {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "the server answered no datagram for 5 s",
            ));
        }
        for socket in &mut *sockets {
            if socket.give_up(now) {
                measure.note_lost();
                pending -= usize::from(!socket.ask_if_allowed(&mut measure)?);
            }
        }
    }
    Ok(measure)
}

struct Socket {
    socket: UdpSocket,
    /// The number of the last one sent, and then letters.
    datagram: Vec<u8>,
    number: u64,
    asked_at: Option<Instant>,
}

impl Socket {
    fn open(args: &Args, key: usize, poller: &Poller) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(args.address())?;
        socket.set_nonblocking(true)?;
        poller.add(&socket, key)?;
        Ok(Self {
            socket,
            datagram: (b'a'..=b'z').cycle().take(args.size).collect(),
            number: 0,
            asked_at: None,
        })
    }

    /// False when the measure has enough.
    fn ask_if_allowed(&mut self, measure: &mut Measure) -> io::Result<bool> {
        let now = Instant::now();
        if !measure.may_ask(now) {
            return Ok(false);
        }
        self.number += 1;
        self.datagram[..SMALLEST_DATAGRAM].copy_from_slice(&self.number.to_be_bytes());
        self.asked_at = Some(now);
        match self.socket.send(&self.datagram) {
            Ok(_) => Ok(true),
            // A full buffer of ours: the datagram is lost like any other.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// When the question was asked whose answer came now, if one did.
    fn handle_ready(&mut self, inbox: &mut Buffer) -> io::Result<Option<Instant>> {
        let got = match self.socket.recv(inbox) {
            Ok(got) => &inbox[..got],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if *got == self.datagram[..] {
            return Ok(self.asked_at.take());
        }
        let number = got
            .first_chunk()
            .map_or(u64::MAX, |&first| u64::from_be_bytes(first));
        // One that was given up, and came after all.
        if got.len() == self.datagram.len() && number < self.number {
            return Ok(None);
        }
        Err(io::Error::new(
            ErrorKind::InvalidData,
            "the server sent another datagram than it got",
        ))
    }

    /// Whether what is under way has been so for too long.
    fn give_up(&mut self, now: Instant) -> bool {
        let lost = self
            .asked_at
            .is_some_and(|asked_at| now.duration_since(asked_at) > LOST_AFTER);
        if lost {
            self.asked_at = None;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::args::Mode;

    #[test]
    fn what_is_dropped_is_lost_and_what_is_late_is_not_the_answer() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let port = server.local_addr().expect("an address").port();
        let serving = thread::spawn(move || {
            let mut inbox = [0; 64];
            let mut next = || {
                let (got, peer) = server.recv_from(&mut inbox).expect("a datagram");
                (inbox[..got].to_vec(), peer)
            };
            // The first is held back until the second is there, and only then answered: too late.
            let (first, peer) = next();
            let (second, _) = next();
            server.send_to(&first, peer).expect("a late answer");
            server.send_to(&second, peer).expect("an answer");
            let (third, _) = next();
            server.send_to(&third, peer).expect("an answer");
        });
        let args = Args {
            mode: Mode::Datagram,
            port,
            connections: 1,
            size: 64,
            parts: 1,
            until: Until::Requests(3),
            certificate: None,
        };
        let mut poller = Poller::new().expect("a poller");
        let mut sockets = vec![Socket::open(&args, 0, &poller).expect("a socket")];
        let measure = drive(
            Measure::begin(args.until),
            &mut sockets,
            &mut poller,
            &mut Buffer::new(),
        )
        .expect("a measure");
        serving.join().expect("a server that ends");
        let json = measure.json();
        assert!(json.contains(r#""requests": 2,"#), "{json}");
        assert!(json.contains(r#""lost": 1,"#), "{json}");
    }
}
