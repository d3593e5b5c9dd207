//! The command line, read by hand: a few modes and numbers need no library.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A datagram begins with its number, or a late answer could not be told from the right one.
pub(crate) const SMALLEST_DATAGRAM: usize = 8;

pub(crate) const USAGE: &str = "usage: tepal-load echo|oneshot|idle|datagram|sink|floor|datagram-floor [--port P] \
[--connections N] [--size BYTES] [--parts K] [--seconds S] [--requests R] [--certificate PEM]";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// N connections, each with one request under way at any time.
    Echo,
    /// Connect, ask once, read the answer, close; N of these under way at any time.
    Oneshot,
    /// Open N connections, ask once on each, then hold them.
    Idle,
    /// N datagram sockets, each with one datagram under way at any time.
    Datagram,
    /// Ask for a file, and let all of it come.
    Sink,
    /// Be the bare server instead of the client.
    Floor,
    /// Be the bare server of datagrams.
    DatagramFloor,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    pub(crate) port: u16,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    /// How many times the server sends back what it got: 2 for "two writes per answer".
    pub(crate) parts: usize,
    pub(crate) until: Until,
    /// The certificate that the server must show; with one, every connection speaks TLS.
    pub(crate) certificate: Option<PathBuf>,
}

/// When to stop asking. What has been asked is always waited for: requests that were cut off would
/// have cost the server time without being counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    Requests(u64),
}

impl Args {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut words = words;
        let mode = match words.next().as_deref() {
            Some("echo") => Mode::Echo,
            Some("oneshot") => Mode::Oneshot,
            Some("idle") => Mode::Idle,
            Some("datagram") => Mode::Datagram,
            Some("sink") => Mode::Sink,
            Some("floor") => Mode::Floor,
            Some("datagram-floor") => Mode::DatagramFloor,
            Some(other) => return Err(format!("no mode is called {other:?}")),
            None => return Err("a mode is needed".to_owned()),
        };
        let mut args = Self {
            mode,
            port: 0,
            connections: 1,
            size: 64,
            parts: 1,
            until: Until::Elapsed(Duration::from_secs(1)),
            certificate: None,
        };
        while let Some(name) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--port" => args.port = number(&name, &value)?,
                "--connections" => args.connections = positive(&name, &value)?,
                "--size" => args.size = positive(&name, &value)?,
                "--parts" => args.parts = positive(&name, &value)?,
                "--requests" => args.until = Until::Requests(number(&name, &value)?),
                "--certificate" => args.certificate = Some(value.into()),
                "--seconds" => {
                    let seconds = Duration::try_from_secs_f64(number(&name, &value)?)
                        .map_err(|error| format!("--seconds {value}: {error}"))?;
                    args.until = Until::Elapsed(seconds);
                }
                _ => return Err(format!("no option is called {name}")),
            }
        }
        let serves = matches!(args.mode, Mode::Floor | Mode::DatagramFloor);
        if !serves && args.port == 0 {
            return Err("--port of the server is needed".to_owned());
        }
        if args.mode == Mode::Datagram && args.size < SMALLEST_DATAGRAM {
            return Err(format!("a datagram has at least {SMALLEST_DATAGRAM} bytes"));
        }
        Ok(args)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How many bytes make one answer.
    pub(crate) fn answer_size(&self) -> usize {
        self.size * self.parts
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} takes a number, not {value:?}"))
}

fn positive(name: &str, value: &str) -> Result<usize, String> {
    match number(name, value)? {
        0 => Err(format!("{name} must be at least 1")),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_a_whole_line() {
        let args = parse("echo --port 80 --connections 3 --size 10 --parts 2 --requests 7")
            .expect("valid");
        assert_eq!(
            (args.mode, args.port, args.connections),
            (Mode::Echo, 80, 3)
        );
        assert_eq!(args.answer_size(), 20);
        assert!(matches!(args.until, Until::Requests(7)));
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, part) in [
            ("", "mode is needed"),
            ("dance", "no mode"),
            ("echo", "--port"),
            ("echo --port x", "takes a number"),
            ("echo --port 1 --size 0", "at least 1"),
            ("echo --port 1 --size", "needs a value"),
            ("echo --port 1 --seconds -1", "--seconds"),
            ("floor --colour red", "no option"),
            ("datagram --port 1 --size 7", "at least 8"),
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
