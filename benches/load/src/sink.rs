//! Asks for a file and lets it come: a connection, one byte to say go, then everything up to the end of the stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::args::{Args, Until};
use crate::buffer::Buffer;
use crate::gate;
use crate::measure::Measure;

const SILENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let mut inbox = Buffer::new();
    // Once before it counts: the file is in the page cache then.
    drive(args, Measure::begin(Until::Requests(1)), &mut inbox)?;
    gate::wait_for_start()?;
    let measure = drive(args, Measure::begin(args.until), &mut inbox)?;
    gate::say(&measure.json())
}

fn drive(args: &Args, mut measure: Measure, inbox: &mut Buffer) -> io::Result<Measure> {
    loop {
        let now = Instant::now();
        if !measure.may_ask(now) {
            return Ok(measure);
        }
        // Blocking: one connection at a time, and nothing else to do.
        let mut stream = TcpStream::connect(args.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(b"!")?;
        let mut left = args.size;
        let mut reads = 0;
        loop {
            let got = stream.read(inbox)?;
            if got == 0 {
                break;
            }
            reads += 1;
            left = left.checked_sub(got).ok_or_else(|| wrong("more"))?;
        }
        if left > 0 {
            return Err(wrong("less"));
        }
        measure.note(now.elapsed(), reads);
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the server sent {what} than the file"),
    )
}
