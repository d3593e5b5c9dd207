//! The native halves of asyncio's streams: `StreamReader`, `StreamWriter`, and the protocol between them and a transport.
//!
//! The classes that programs see (`python/tepal/_streams.py`) derive from these first and from asyncio's own second. A transport of ours
//! whose protocol has such a reader reads from the kernel into the reader's buffer, or has ready what a waiting `read` will return
//! (`StreamReader::receive`), and wakes who waits; no function of Python's runs in between. Everything else about a connection's life is asyncio's own Python code.
//!
//! `reader.rs` is what a reader knows, `intake.rs` how its bytes come, `reading.rs` its coroutines, `protocol.rs` and `writer.rs` what `drain()` needs.

mod intake;
mod protocol;
mod reader;
mod reading;
mod writer;

pub(crate) use protocol::{StreamReaderProtocol, reader_of};
pub(crate) use reader::StreamReader;
pub(crate) use reading::Reading;
pub(crate) use writer::Drain;

use pyo3::prelude::*;

/// Puts the classes into the module.
///
/// # Errors
///
/// MemoryError.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<reader::StreamReader>()?;
    module.add_class::<protocol::StreamReaderProtocol>()?;
    module.add_class::<writer::StreamWriter>()
}
