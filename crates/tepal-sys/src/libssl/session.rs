//! A session whose bytes do not pass through Python.
//!
//! Python makes the session (`SSLContext.wrap_bio`), shakes hands and says goodbye: that happens once, and its
//! callbacks, certificates and exceptions are then exactly Python's. What happens for every message, reading and
//! writing, happens here, on the same `SSL*`.

use super::library::{Bio, Library, Ssl};
use super::wire::{self, Wire};
use std::ffi::c_int;
use std::mem::MaybeUninit;

/// What `SSL_get_error` says.
const WANT_READ: c_int = 2;
const WANT_WRITE: c_int = 3;
const ZERO_RETURN: c_int = 6;

/// The most that one record carries, in bytes (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;
/// What a record costs at most beside its content, in the ciphers that are in use: header, nonce, padding, tag.
const OVERHEAD: usize = 96;

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Everything that came was read.
    Drained,
    /// The room is full; there may be more.
    Full,
    /// The peer has said goodbye.
    Finished,
}

/// The session is broken. What is wrong stays in OpenSSL's queue, where Python finds it when it is asked to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// The data path of one `SSL*`.
///
/// The session has the wire's BIO for both directions, and this struct a reference to it, so the wire is there as long
/// as either lives.
#[derive(Debug)]
pub struct Session {
    library: &'static Library,
    ssl: Ssl,
    bio: Bio,
    wire: *mut Wire,
}

// SAFETY: an `SSL*` may move between threads as long as one at a time uses it, which `attach` asks of its caller; the
// wire is ours.
unsafe impl Send for Session {}

impl Session {
    /// Puts a wire under a session; `None` when memory is out.
    ///
    /// # Safety
    ///
    /// `ssl` is a live `SSL*` of this library, stays alive as long as the result, and no two threads use it at
    /// the same time.
    #[must_use]
    pub unsafe fn attach(library: &'static Library, ssl: *mut std::ffi::c_void) -> Option<Self> {
        let (bio, wire) = wire::open(library)?;
        // SAFETY: the caller's promise. Each of the two setters takes one reference over; the third is ours.
        unsafe {
            (library.BIO_up_ref)(bio);
            (library.BIO_up_ref)(bio);
            (library.SSL_set0_rbio)(ssl, bio);
            (library.SSL_set0_wbio)(ssl, bio);
        }
        Some(Self {
            library,
            ssl,
            bio,
            wire,
        })
    }

    /// The wire. The reference must be gone before OpenSSL is called.
    #[inline]
    fn wire(&mut self) -> &mut Wire {
        // SAFETY: our reference to the BIO keeps the wire alive. OpenSSL reaches it only while it is called, and no
        // call is made while this borrow of `self` lasts.
        unsafe { &mut *self.wire }
    }

    /// Keeps bytes from the peer until somebody reads or shakes hands.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.wire().keep(bytes);
    }

    /// How many bytes from the peer nobody has looked at.
    pub fn pending(&mut self) -> usize {
        self.wire().pending()
    }

    /// What is to be sent; the caller empties it.
    #[inline]
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.wire().output
    }

    /// Reads what was kept and then `input`, as far as the room goes; how much was written to `room`, and how it
    /// ended. What is left of the input is kept.
    ///
    /// # Errors
    ///
    /// [`Failed`] beside the count of what was read before.
    pub fn read(
        &mut self,
        input: &[u8],
        room: &mut [MaybeUninit<u8>],
    ) -> (usize, Result<Read, Failed>) {
        self.wire().lent = &raw const *input;
        let outcome = self.read_lent(room);
        let wire = self.wire();
        // SAFETY: still the rest of `input`, which is borrowed until we return.
        let rest = unsafe { &*std::mem::replace(&mut wire.lent, &raw const *(&[] as &[u8])) };
        if !rest.is_empty() {
            wire.keep(rest);
        }
        outcome
    }

    fn read_lent(&mut self, room: &mut [MaybeUninit<u8>]) -> (usize, Result<Read, Failed>) {
        self.library.clear_errors();
        let mut filled = 0;
        while filled < room.len() {
            let rest = &mut room[filled..];
            let mut count = 0;
            // SAFETY: the session is alive (`attach`), the room is as long as we say.
            let status = unsafe {
                (self.library.SSL_read_ex)(
                    self.ssl,
                    rest.as_mut_ptr().cast(),
                    rest.len(),
                    &raw mut count,
                )
            };
            if status != 1 {
                return (filled, self.explain(status));
            }
            filled += count;
            // SAFETY: as above. Without read-ahead OpenSSL takes one record at a time, so when it holds nothing and the
            // wire is empty, another call would only find that out.
            if self.wire().pending() == 0 && unsafe { (self.library.SSL_pending)(self.ssl) } == 0 {
                return (filled, Ok(Read::Drained));
            }
        }
        (filled, Ok(Read::Full))
    }

    /// Encrypts `bytes` into the output; how many. Fewer than all only while the peers renegotiate: the rest is to be
    /// offered again, from its beginning, when more has been read.
    ///
    /// # Errors
    ///
    /// [`Failed`], after an earlier failure above all, since the wire takes everything.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Failed> {
        self.library.clear_errors();
        let records = bytes.len() / RECORD + 1;
        self.output().reserve(bytes.len() + records * OVERHEAD);
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let mut count = 0;
            // SAFETY: as in `read_lent`.
            let status = unsafe {
                (self.library.SSL_write_ex)(
                    self.ssl,
                    rest.as_ptr().cast(),
                    rest.len(),
                    &raw mut count,
                )
            };
            if status != 1 {
                return self.explain(status).map(|_| written);
            }
            written += count;
        }
        Ok(written)
    }

    #[cold]
    fn explain(&self, status: c_int) -> Result<Read, Failed> {
        // SAFETY: as above; right after the call that it is asked about.
        match unsafe { (self.library.SSL_get_error)(self.ssl, status) } {
            // The wire never asks to wait for writing; a renegotiation may, of an older OpenSSL.
            WANT_READ | WANT_WRITE => Ok(Read::Drained),
            ZERO_RETURN => Ok(Read::Finished),
            _ => Err(Failed),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: gives our reference up.
        unsafe { (self.library.BIO_free)(self.bio) };
    }
}
