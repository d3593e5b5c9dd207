//! TLS without the cryptography: what a connection's layer does next, and what its protocol has been told.
//!
//! The records themselves are an engine's business (the border has two). What is decided here is the order of things:
//! no byte before `connection_made`, no byte after the end, one goodbye however the connection ends.

mod session;

pub use session::{Bytes, Close, End, Phase, Session};
