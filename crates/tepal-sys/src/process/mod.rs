//! Starting a child process without copying the parent's page tables.
//!
//! fork(2) copies them, which takes tens of milliseconds for a heap of a gigabyte. Here the child borrows the parent's
//! memory until it has become the new program, and only the calling thread waits for that. It is therefore not for what
//! must run in the child before that: a change of user or group (it would change how the kernel guards the shared
//! memory), or code of the caller's.
//!
//! A platform is one file with `spawn` and [`AVAILABLE`]; where it is false, `spawn` only says so.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod platform;

pub use platform::{AVAILABLE, spawn};

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;

/// What to start, and in which surroundings.
#[derive(Debug, Default)]
pub struct Command {
    /// Paths to try in order; the first that is there becomes the child.
    pub programs: Vec<CString>,
    /// The new program's arguments, its name first.
    pub arguments: Vec<CString>,
    /// The new program's environment, `name=value` each.
    pub environment: Vec<CString>,
    /// Where to go before the program is looked for.
    pub directory: Option<CString>,
    /// What become the child's descriptors 0, 1 and 2; `None` leaves the parent's.
    pub standard: [Option<RawFd>; 3],
    /// Close every descriptor above 2 but those in `kept`.
    pub closes_others: bool,
    /// Descriptors that the child has under the same numbers, in ascending order.
    pub kept: Vec<RawFd>,
    /// Give SIGPIPE and SIGXFSZ, which Python ignores, their default action back.
    pub restores_signals: bool,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// Begin a new session.
    pub new_session: bool,
    /// Join this process group; 0 makes one.
    pub process_group: Option<i32>,
}

/// How far a child got that did not become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// This platform or kernel cannot do what was asked for; another way must be taken.
    Unsupported,
    /// No process was made.
    Fork,
    /// A descriptor, the session or the process group.
    Setup,
    /// The directory.
    Directory,
    /// No program could be run.
    Execute,
}

/// Why there is no child. A process that was made has been collected.
#[derive(Debug)]
pub struct SpawnError {
    /// Where it happened.
    pub stage: Stage,
    /// What the kernel said.
    pub error: io::Error,
}

/// This process's environment, `name=value` each; to be called while nobody changes it.
#[must_use]
pub fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = OsString::into_vec(name);
            entry.push(b'=');
            entry.extend(OsString::into_vec(value));
            CString::new(entry).ok()
        })
        .collect()
}
