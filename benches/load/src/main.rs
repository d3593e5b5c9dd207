//! `tepal-load`: the other end of the wire in the benchmarks.
//!
//! A load generator written in Python would be slower than the servers it measures, and its own
//! event loop would stand in the numbers. This one is a single thread around epoll: it keeps N
//! connections busy with one request each (a closed loop), checks what comes back, and prints one
//! line of JSON. The same program is also the *floor*: the least that an epoll server can spend on
//! an echo, with no Python in it.
//!
//! ```text
//! tepal-load echo    --port P [--connections N] [--size B] [--parts K] [--seconds S | --requests R]
//! tepal-load oneshot --port P [--connections N] [--size B] [--parts K] [--seconds S | --requests R]
//! tepal-load idle    --port P [--connections N] [--size B]
//! tepal-load floor   [--parts K]
//! tepal-load datagram --port P [--connections N] [--size B] [--seconds S | --requests R]
//! tepal-load datagram-floor
//! tepal-load sink    --port P --size B [--requests R]
//! ```
//!
//! With `--certificate` the connections of the first three speak TLS 1.3 and accept that certificate alone.
//!
//! The conversation with whoever starts it is three lines (see [`gate`]): `ready` when it is warmed
//! up, a line on standard input to begin, the JSON at the end. Between `ready` and the beginning, and
//! after the end, no request is under way, so the server's processor clock can be read at leisure.

#![forbid(unsafe_code)]

mod args;
mod buffer;
mod connection;
mod datagram;
mod datagram_floor;
mod echo;
mod floor;
mod gate;
mod idle;
mod measure;
mod oneshot;
mod poller;
mod sink;
mod tls;
mod wire;

use std::io;
use std::process::ExitCode;

use crate::args::{Args, Mode};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("tepal-load: {message}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tepal-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    match args.mode {
        Mode::Echo => echo::run(args),
        Mode::Oneshot => oneshot::run(args),
        Mode::Idle => idle::run(args),
        Mode::Datagram => datagram::run(args),
        Mode::Sink => sink::run(args),
        Mode::Floor => floor::run(args.parts),
        Mode::DatagramFloor => datagram_floor::run(),
    }
}
