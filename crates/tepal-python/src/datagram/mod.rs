//! `_tepal.DatagramTransport`: a socket of datagrams, from `connection_made` to `connection_lost`.
//!
//! A native type over `asyncio.DatagramTransport` (`raw/native_type.rs`); `tepal._datagrams.DatagramTransport` adds
//! what is cold. `state.rs` is what an endpoint knows, `peers.rs` remembers addresses, `read.rs` and `write.rs` move
//! datagrams, `life.rs` begins and ends it, `methods.rs` is what Python calls.
//!
//! An endpoint is registered level-triggered, unlike a stream. A stream sees by a short read that the kernel has
//! nothing more; a datagram does not tell, so with edges each readiness would end with a call for nothing. What is
//! left after a batch, an error or an exception is reported again by itself.

mod life;
mod methods;
mod peers;
mod read;
mod state;
mod write;

pub(crate) use life::{begin, is_closing, lose, open};
pub(crate) use methods::register;
pub(crate) use state::{Kind, Parts};

use crate::event_loop::Driver;
use pyo3::prelude::*;

/// The socket is ready for what the endpoint waits for. Writing is tried whenever datagrams wait: a try that comes too
/// early costs a call and nothing else.
///
/// # Errors
///
/// SystemExit and KeyboardInterrupt from the protocol, and what an exception handler lets out.
pub(crate) fn handle_ready(
    driver: &mut Driver<'_, '_>,
    endpoint: &Bound<'_, PyAny>,
) -> PyResult<()> {
    write::handle_writable(driver, endpoint)?;
    read::handle_readable(driver, endpoint)
}
