//! The three lines spoken with the harness.
//!
//! `ready` says that connections stand and are warm and that nothing is under way. The harness reads
//! the server's processor clock, sends a line, and reads the clock again after the last line of JSON:
//! all of the server's work for our requests, and nothing else, lies between the two.

use std::io::{self, BufRead, Write};

pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Says `ready` and waits for a line; a closed input counts as one, so that a person can run this by hand
/// with `< /dev/null`.
pub(crate) fn wait_for_start() -> io::Result<()> {
    say("ready")?;
    wait_for_line()
}

pub(crate) fn wait_for_line() -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}
