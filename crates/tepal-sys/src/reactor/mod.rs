//! The reactor: which descriptors are ready.
//!
//! # The contract of a backend
//!
//! A backend is one file with a `Reactor` that offers `new`, `set`, `remove` and `wait` as documented on the Linux
//! one, and keeps these promises:
//!
//! - `set` registers or re-registers: the caller need not know whether the kernel still remembers the descriptor
//!   (a closed number may have been reused).
//! - [`Trigger::Level`] reports as long as the descriptor is ready; [`Trigger::Edge`] reports each time it becomes
//!   ready, and may report more often; [`Trigger::Once`] reports once and is then silent until the next `set`.
//! - An error or a hang-up is reported as readable and writable, whatever was asked for.
//! - `wait` never reports before it was asked to, rounds a timeout up and not down, and returns early for a signal.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "epoll.rs"]
mod platform;
#[cfg(any(
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
#[path = "kqueue.rs"]
mod platform;

pub use platform::{Events, Reactor};

/// The name of the backend, for `tepal info`.
pub const BACKEND: &str = platform::NAME;

/// What the caller wrote on a registration; handed back with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Which readiness is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes, a connection or the end of the stream can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
}

impl Interest {
    /// Reading only.
    pub const READABLE: Self = Self {
        readable: true,
        writable: false,
    };
    /// Reading and writing.
    pub const BOTH: Self = Self {
        readable: true,
        writable: true,
    };

    /// Whether nothing is of interest.
    #[must_use]
    pub fn is_empty(self) -> bool {
        !(self.readable || self.writable)
    }
}

/// How often readiness is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// As long as it lasts.
    Level,
    /// Each time it begins.
    Edge,
    /// Once.
    Once,
}

/// One descriptor's readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the caller wrote on the registration.
    pub token: Token,
    /// Reading will not block (there may be an error to collect).
    pub readable: bool,
    /// Writing will not block (there may be an error to collect).
    pub writable: bool,
    /// The peer has finished writing, so the end of the stream follows what can be read.
    pub read_closed: bool,
}

#[cfg(test)]
mod tests;
