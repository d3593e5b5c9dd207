//! Room for reads, where the kernel copies fastest.
//!
//! `malloc` puts large blocks 16 bytes behind the beginning of a page, and from there the kernel's copy runs at half
//! speed on some processors (Zen 3: 1 MiB echo 660 µs against 310, `benches/METHOD.md`). A cache line's alignment is
//! enough.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// The size of a cache line, in bytes.
const LINE: usize = 64;

/// Uninitialised bytes that begin on a cache line.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Box<[MaybeUninit<u8>]>,
    begin: usize,
    length: usize,
}

impl ReadBuffer {
    /// Room for `length` bytes; no page of it is touched yet.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let bytes = Box::new_uninit_slice(length + LINE);
        let begin = bytes.as_ptr().align_offset(LINE).min(LINE);
        Self {
            bytes,
            begin,
            length,
        }
    }
}

impl Deref for ReadBuffer {
    type Target = [MaybeUninit<u8>];

    fn deref(&self) -> &Self::Target {
        &self.bytes[self.begin..self.begin + self.length]
    }
}

impl DerefMut for ReadBuffer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.bytes[self.begin..self.begin + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_cache_line() {
        for length in [1, 4096, 256 * 1024] {
            let mut buffer = ReadBuffer::new(length);
            assert_eq!(buffer.len(), length);
            assert_eq!(buffer.as_mut_ptr() as usize % LINE, 0);
        }
        assert!(ReadBuffer::default().is_empty());
    }
}
