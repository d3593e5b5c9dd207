//! libssl, the very library that the interpreter's `ssl` module has loaded.
//!
//! A second copy of OpenSSL would be a second set of settings, certificates and bugs. So nothing is linked: the
//! functions are looked up behind the shared object of `_ssl`, and where it brings no shared libssl, or one that is not
//! OpenSSL 1.1.1 or 3, there is no [`Library`], and callers go through Python.
//!
//! `library.rs` finds the functions, `wire.rs` is the pair of buffers that a session reads and writes instead of a
//! socket, `session.rs` moves bytes through a session that Python has set up.

#[allow(non_snake_case, reason = "OpenSSL's own names")]
mod library;
mod session;
mod wire;

pub use library::Library;
pub use session::{Failed, Read, Session};
