//! The command line, read by hand: four modes and six numbers need no library.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

pub(crate) const USAGE: &str = "usage: tepal-load echo|oneshot|idle|floor [--port P] [--connections N] \
[--size BYTES] [--parts K] [--seconds S] [--requests R]";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// N connections, each with one request under way at any time.
    Echo,
    /// Connect, ask once, read the answer, close; N of these under way at any time.
    Oneshot,
    /// Open N connections, ask once on each, then hold them.
    Idle,
    /// Be the bare server instead of the client.
    Floor,
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
            Some("floor") => Mode::Floor,
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
                "--seconds" => {
                    let seconds = Duration::try_from_secs_f64(number(&name, &value)?)
                        .map_err(|error| format!("--seconds {value}: {error}"))?;
                    args.until = Until::Elapsed(seconds);
                }
                _ => return Err(format!("no option is called {name}")),
            }
        }
        if args.mode != Mode::Floor && args.port == 0 {
            return Err("--port of the server is needed".to_owned());
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
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
