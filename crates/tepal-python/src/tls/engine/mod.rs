//! What turns bytes into records and back.
//!
//! Two engines serve one trait. *bio* asks Python's `ssl.SSLObject` for everything and serves every context. *direct*
//! calls the library under the same `SSLObject` for what happens with each message, and Python for the rest; it is
//! there when that library can be found and the context wants nothing of Python in between (`tepal._tls`). Both are
//! the same session of the same library, so both give the same bytes and errors.

mod bio;
mod direct;

pub(super) use bio::{Bio, wants_more};
pub(super) use direct::Direct;

use pyo3::{Py, PyAny, PyResult, Python};
use std::mem::MaybeUninit;
pub(super) use tepal_sys::libssl::Read;

/// The data path of one session.
pub(super) trait Engine: Send {
    /// What `get_extra_info("tls_engine")` says.
    fn name(&self) -> &'static str;

    /// Keeps bytes from the peer until somebody reads or shakes hands.
    ///
    /// # Errors
    ///
    /// MemoryError.
    fn keep(&mut self, py: Python<'_>, bytes: &[u8]) -> PyResult<()>;

    /// How many bytes from the peer nobody has looked at.
    ///
    /// # Errors
    ///
    /// What Python raises when it is asked.
    fn pending(&mut self, py: Python<'_>) -> PyResult<usize>;

    /// Decrypts what was kept and then `input`, as far as the room goes; how much was written to `room` in any case, and
    /// how it ended. What is left of the input is kept.
    ///
    /// # Errors
    ///
    /// `ssl.SSLError`.
    fn read(
        &mut self,
        py: Python<'_>,
        input: &[u8],
        room: &mut [MaybeUninit<u8>],
    ) -> (usize, PyResult<Read>);

    /// Encrypts `bytes` into the output; how many. Fewer than all while the peers renegotiate.
    ///
    /// # Errors
    ///
    /// `ssl.SSLError`.
    fn write(&mut self, py: Python<'_>, bytes: &[u8]) -> PyResult<usize>;

    /// Records to be sent; the caller empties it.
    ///
    /// # Errors
    ///
    /// MemoryError.
    fn output(&mut self, py: Python<'_>) -> PyResult<&mut Vec<u8>>;

    /// Shows what is held to the collector.
    fn each_object(&self, visit: &mut dyn FnMut(&Py<PyAny>));
}
