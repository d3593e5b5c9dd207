//! `_tepal.TlsTransport` and `_tepal.TlsLayer`: TLS over any transport, from the handshake to the goodbye.
//!
//! Two objects, as in asyncio. The *layer* (`layer.rs`) is the protocol of the lower transport; the *transport*
//! (`methods.rs`) is what the program's protocol writes to, and holds the state (`state.rs`). What happens next is
//! decided in `tepal_core::tls`; `life.rs` does it, `read.rs` and `write.rs` move bytes. Records are an *engine's*
//! business (`engine/`), of which there are two.
//!
//! Over one of our streams bytes pass from transport to transport without a call into Python (`receive`,
//! `write::flush`). What a job writes is gathered as plain text and encrypted when the job ends: small writes share
//! a record and a packet.

mod engine;
mod layer;
mod life;
mod lower;
mod methods;
mod read;
mod state;
mod write;

pub(crate) use layer::transport_of;
pub(crate) use life::receive;
pub(crate) use methods::register;
pub(crate) use write::flush;
