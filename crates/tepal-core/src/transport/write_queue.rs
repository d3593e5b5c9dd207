//! Bytes that wait for the socket: chunks in order, sent in gathers, handed back when gone.
//!
//! A chunk is whatever its owner likes (a `bytes` object kept without a copy, a snapshot of a mutable buffer). The
//! queue knows only its bytes. Chunks that were sent are handed back, because dropping one may run foreign code.

use std::collections::VecDeque;

/// Chunks of bytes in order, with a position in the first.
///
/// Invariant: `sent_of_first` is less than the first chunk's length, and 0 when the queue is empty; `buffered` is
/// the sum of what is unsent (`sends_every_byte_once`).
#[derive(Debug)]
pub struct WriteQueue<B> {
    chunks: VecDeque<B>,
    sent_of_first: usize,
    buffered: usize,
}

impl<B: AsRef<[u8]>> WriteQueue<B> {
    /// An empty queue; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            sent_of_first: 0,
            buffered: 0,
        }
    }

    /// How many bytes wait.
    #[must_use]
    #[inline]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether no byte waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buffered == 0
    }

    /// How many chunks wait.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Puts a chunk behind all others. An empty chunk is handed back: there is nothing to send.
    #[inline]
    #[must_use]
    pub fn push(&mut self, chunk: B) -> Option<B> {
        let length = chunk.as_ref().len();
        if length == 0 {
            return Some(chunk);
        }
        self.buffered += length;
        self.chunks.push_back(chunk);
        None
    }

    /// The first chunk, and how many of its bytes were sent.
    #[must_use]
    #[inline]
    pub fn front(&self) -> Option<(&B, usize)> {
        self.chunks.front().map(|chunk| (chunk, self.sent_of_first))
    }

    /// The unsent pieces in order, for one gathering write.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().enumerate().map(|(index, chunk)| {
            let bytes = chunk.as_ref();
            if index == 0 {
                &bytes[self.sent_of_first..]
            } else {
                bytes
            }
        })
    }

    /// `count` bytes were sent; hands the finished chunks to `done`.
    ///
    /// # Panics
    ///
    /// When `count` is more than what waits: the ground cannot have sent what it was not given.
    pub fn handle_sent(&mut self, count: usize, mut done: impl FnMut(B)) {
        assert!(count <= self.buffered, "more bytes sent than were queued");
        self.buffered -= count;
        self.sent_of_first += count;
        while let Some(first) = self.chunks.front() {
            let length = first.as_ref().len();
            if self.sent_of_first < length {
                break;
            }
            self.sent_of_first -= length;
            if let Some(first) = self.chunks.pop_front() {
                done(first);
            }
        }
    }

    /// Every chunk, handed back; the queue is empty and holds no memory.
    #[must_use]
    pub fn take_all(&mut self) -> VecDeque<B> {
        self.sent_of_first = 0;
        self.buffered = 0;
        std::mem::take(&mut self.chunks)
    }

    /// The chunks, in order.
    pub fn iter(&self) -> impl Iterator<Item = &B> {
        self.chunks.iter()
    }
}

impl<B: AsRef<[u8]>> Default for WriteQueue<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a kernel cuts the writes, every byte leaves once and in order, and every chunk is handed back.
        #[test]
        fn sends_every_byte_once(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40),
            cuts in prop::collection::vec(1usize..60, 1..40),
        ) {
            let mut queue = WriteQueue::new();
            let expected: Vec<u8> = chunks.concat();
            let given = chunks.iter().filter(|chunk| !chunk.is_empty()).count();
            for chunk in chunks {
                let empty = chunk.is_empty();
                prop_assert_eq!(queue.push(chunk).is_some(), empty);
            }
            let (mut wire, mut done) = (Vec::new(), Vec::new());
            let mut cuts = cuts.into_iter().cycle();
            while !queue.is_empty() {
                let gathered: Vec<u8> = queue.pieces().flatten().copied().collect();
                prop_assert_eq!(gathered.len(), queue.buffered());
                let count = cuts.next().unwrap_or(1).min(gathered.len());
                wire.extend_from_slice(&gathered[..count]);
                queue.handle_sent(count, |chunk| done.push(chunk));
            }
            prop_assert_eq!(wire, expected);
            prop_assert_eq!(done.len(), given);
            prop_assert_eq!(queue.chunks(), 0);
        }
    }
}
