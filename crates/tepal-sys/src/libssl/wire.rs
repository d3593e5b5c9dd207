//! What a session has instead of a socket: bytes from the peer in front, bytes for the peer behind.
//!
//! OpenSSL's own memory BIO would do, at the price of a copy on either side. The wire lends the bytes where they were
//! received, and collects the answer where it is sent from.

use super::library::{Bio, Library, Method};
use std::ffi::{c_char, c_int, c_long, c_void};

/// OpenSSL's flags of a BIO: what kind of retry, and that there is one.
const READ_RETRY: c_int = 0x01 | 0x08;
const RETRY_FLAGS: c_int = 0x07 | 0x08;
/// Questions of `BIO_ctrl` that have an answer here.
const CTRL_PENDING: c_int = 10;
const CTRL_FLUSH: c_int = 11;
const CTRL_DUP: c_int = 12;

/// The two directions of one session.
///
/// Invariant: `lent` is empty, or points to bytes that stay until the call that lent them returns (`Session::read`).
#[derive(Debug)]
pub(super) struct Wire {
    /// Received and not yet read by OpenSSL.
    pub(super) backlog: Vec<u8>,
    /// How many bytes of the backlog were read.
    pub(super) read: usize,
    /// More of the same, lent for the length of one call; read after the backlog.
    pub(super) lent: *const [u8],
    /// To be sent.
    pub(super) output: Vec<u8>,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            backlog: Vec::new(),
            read: 0,
            lent: &raw const *(&[] as &[u8]),
            output: Vec::new(),
        }
    }

    /// How many bytes wait for OpenSSL.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        self.backlog.len() - self.read + self.lent.len()
    }

    /// Keeps bytes for later.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.read == self.backlog.len() {
            self.backlog.clear();
            self.read = 0;
        }
        self.backlog.extend_from_slice(bytes);
    }

    /// Moves up to `room` bytes to `to`; how many.
    ///
    /// # Safety
    ///
    /// `to` has that room, and `lent` still points to its bytes.
    unsafe fn take(&mut self, to: *mut u8, room: usize) -> usize {
        let kept = &self.backlog[self.read..];
        if !kept.is_empty() {
            let count = kept.len().min(room);
            // SAFETY: the caller's promise; our vector and OpenSSL's buffer do not overlap.
            unsafe { kept.as_ptr().copy_to_nonoverlapping(to, count) };
            self.read += count;
            if self.read == self.backlog.len() {
                self.read = 0;
                // A handshake's leftovers are small; a burst that was kept while nobody read is not.
                self.backlog = Vec::new();
            }
            return count;
        }
        let count = self.lent.len().min(room);
        // SAFETY: the caller's promise; what is lent is not OpenSSL's.
        unsafe {
            let lent = &*self.lent;
            lent.as_ptr().copy_to_nonoverlapping(to, count);
            self.lent = &raw const lent[count..];
        }
        count
    }
}

/// The kind of BIO that a wire is; `None` when memory is out.
pub(super) fn method(library: &Library) -> Option<Method> {
    // SAFETY: documented calls of OpenSSL with functions of the types it asks for.
    unsafe {
        // BIO_TYPE_SOURCE_SINK
        let kind = (library.BIO_get_new_index)() | 0x0400;
        let method = (library.BIO_meth_new)(kind, c"tepal wire".as_ptr());
        if method.is_null() {
            return None;
        }
        let set = (library.BIO_meth_set_write_ex)(method, write)
            & (library.BIO_meth_set_read_ex)(method, read)
            & (library.BIO_meth_set_ctrl)(method, control)
            & (library.BIO_meth_set_destroy)(method, destroy);
        (set == 1).then_some(method)
    }
}

/// A BIO over a new wire, which it owns; `None` when memory is out.
pub(super) fn open(library: &Library) -> Option<(Bio, *mut Wire)> {
    // SAFETY: documented calls of OpenSSL; the BIO owns the wire from here on (`destroy`).
    unsafe {
        let bio = (library.BIO_new)(library.wire);
        if bio.is_null() {
            return None;
        }
        let wire = Box::into_raw(Box::new(Wire::new()));
        (library.BIO_set_data)(bio, wire.cast());
        (library.BIO_set_init)(bio, 1);
        Some((bio, wire))
    }
}

/// The wire of a BIO that OpenSSL hands to a function below.
///
/// # Safety
///
/// `bio` was made by [`open`]. The reference must be gone before OpenSSL is called again.
unsafe fn wire<'a>(library: &Library, bio: Bio) -> Option<&'a mut Wire> {
    // SAFETY: the caller's promise; OpenSSL uses a BIO from one thread at a time, and `Session` keeps no reference while
    // it calls OpenSSL.
    unsafe { (library.BIO_get_data)(bio).cast::<Wire>().as_mut() }
}

unsafe extern "C" fn write(
    bio: Bio,
    bytes: *const c_char,
    length: usize,
    written: *mut usize,
) -> c_int {
    let Some(library) = Library::found() else {
        return 0;
    };
    // SAFETY: OpenSSL passes a BIO of our kind, `length` bytes, and room for the answer.
    unsafe {
        (library.BIO_clear_flags)(bio, RETRY_FLAGS);
        let Some(wire) = wire(library, bio) else {
            return 0;
        };
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length);
        wire.output.extend_from_slice(bytes);
        *written = length;
    }
    1
}

unsafe extern "C" fn read(bio: Bio, room: *mut c_char, length: usize, count: *mut usize) -> c_int {
    let Some(library) = Library::found() else {
        return 0;
    };
    // SAFETY: as above; `room` has `length` bytes, and what is lent stays for the call (`Session::read`).
    unsafe {
        (library.BIO_clear_flags)(bio, RETRY_FLAGS);
        *count = wire(library, bio).map_or(0, |wire| wire.take(room.cast(), length));
        if *count == 0 {
            (library.BIO_set_flags)(bio, READ_RETRY);
            return 0;
        }
    }
    1
}

unsafe extern "C" fn control(
    bio: Bio,
    question: c_int,
    _number: c_long,
    _pointer: *mut c_void,
) -> c_long {
    match question {
        CTRL_FLUSH | CTRL_DUP => 1,
        // SAFETY: as above.
        CTRL_PENDING => Library::found()
            .and_then(|library| unsafe { wire(library, bio) })
            .map_or(0, |wire| wire.pending() as c_long),
        _ => 0,
    }
}

unsafe extern "C" fn destroy(bio: Bio) -> c_int {
    if let Some(library) = Library::found() {
        // SAFETY: the last reference to the BIO is going; `open` gave it the wire, and nobody else owns that.
        unsafe {
            let wire = (library.BIO_get_data)(bio).cast::<Wire>();
            if !wire.is_null() {
                drop(Box::from_raw(wire));
                (library.BIO_set_data)(bio, std::ptr::null_mut());
            }
        }
    }
    1
}
