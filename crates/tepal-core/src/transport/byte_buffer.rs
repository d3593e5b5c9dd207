//! The bytes that have come and nobody has taken.

use memchr::{memchr, memmem};

/// A queue of bytes in one piece: filled behind, searched, taken in front.
///
/// The ground reads straight into its room ([`tail`](Self::tail)), which is not written before. It keeps its room while bytes come and go; what
/// it has beyond [`KEPT`] it gives back when it is empty, and makes at once when as many bytes are to be expected again.
#[derive(Debug, Default)]
pub struct ByteBuffer {
    /// What waits, behind what has been taken.
    room: Vec<u8>,
    begin: usize,
    /// How long `room` was when it was last emptied.
    usual: usize,
}

/// How much room an empty buffer keeps, in bytes.
const KEPT: usize = 128 * 1024;

/// The least room that is made at once, in bytes.
const LEAST: usize = 1024;

/// So many bytes at a time are part of a large message, and the next will be as large as the last.
const LARGE: usize = 16 * 1024;

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// A separator, between these places.
    Found {
        /// Where it begins.
        start: usize,
        /// The place behind it.
        end: usize,
    },
    /// None begins before this place: the next search may begin there.
    NotBefore(usize),
}

impl ByteBuffer {
    /// An empty buffer without any room.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            room: Vec::new(),
            begin: 0,
            usual: 0,
        }
    }

    /// How many bytes wait.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.room.len() - self.begin
    }

    /// Whether none waits.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.begin == self.room.len()
    }

    /// The bytes that wait.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.begin..]
    }

    /// Where the ground appends what it reads; nothing else is done to it. It has the room that [`spare`](Self::spare) tells of.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.room
    }

    /// How many bytes may be appended without a move. Where large messages come, an empty buffer makes room for one.
    #[inline]
    pub fn spare(&mut self) -> usize {
        if self.room.capacity() == 0 && self.usual > KEPT {
            self.room = Vec::with_capacity(self.usual);
        }
        self.room.capacity() - self.room.len()
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.room.extend_from_slice(bytes);
    }

    /// Makes room behind for so many bytes: by moving what waits to the front if that frees at least as much as is moved, else by
    /// growing to twice the size, so that a byte is moved a bounded number of times.
    fn make_room(&mut self, count: usize) {
        let capacity = self.room.capacity();
        if capacity - self.room.len() >= count {
            return;
        }
        let waiting = self.len();
        if self.begin >= waiting && capacity - waiting >= count {
            self.room.copy_within(self.begin.., 0);
            self.room.truncate(waiting);
        } else {
            // (More than is needed: a read that fills its room does not know that nothing more waits.)
            let size = (waiting + count + 1).next_power_of_two().max(LEAST);
            let usual = if count < LARGE { 0 } else { self.usual };
            let mut room = Vec::with_capacity(size.max(usual).max(capacity));
            room.extend_from_slice(self.bytes());
            self.room = room;
        }
        self.begin = 0;
    }

    /// Takes bytes away in front; as many as there are, if there are fewer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.begin += count.min(self.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Takes all bytes away.
    pub fn clear(&mut self) {
        // One more, for the reason that `make_room` gives.
        self.usual = self.room.len() + 1;
        self.begin = 0;
        if self.room.capacity() > KEPT {
            self.room = Vec::new();
        } else {
            self.room.clear();
        }
    }

    /// Looks for the separator that ends first, from a place on which an earlier search has named. Separators are not empty; of those that
    /// end at the same place the first given counts.
    #[must_use]
    pub fn search<S: AsRef<[u8]>>(&self, separators: &[S], from: usize) -> Search {
        let bytes = self.bytes();
        let rest = &bytes[from.min(bytes.len())..];
        let mut found: Option<(usize, usize)> = None;
        let mut longest = 1;
        for separator in separators {
            let separator = separator.as_ref();
            longest = longest.max(separator.len());
            let place = match separator {
                [byte] => memchr(*byte, rest),
                several => memmem::find(rest, several),
            };
            if let Some(place) = place {
                let (start, end) = (from + place, from + place + separator.len());
                if found.is_none_or(|(_, first)| end < first) {
                    found = Some((start, end));
                }
            }
        }
        match found {
            Some((start, end)) => Search::Found { start, end },
            None => Search::NotBefore(from.max((bytes.len() + 1).saturating_sub(longest))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Move {
        Extend(Vec<u8>),
        Fill(Vec<u8>),
        Consume(usize),
        Clear,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let some = || prop::collection::vec(any::<u8>(), 0..3000);
        let one = prop_oneof![
            some().prop_map(Move::Extend),
            some().prop_map(Move::Fill),
            (0usize..4000).prop_map(Move::Consume),
            Just(Move::Clear),
        ];
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn is_a_queue_of_bytes(moves in moves()) {
            let mut buffer = ByteBuffer::new();
            let mut model: Vec<u8> = Vec::new();
            for one in moves {
                match one {
                    Move::Extend(bytes) => {
                        buffer.extend(&bytes);
                        model.extend(&bytes);
                    }
                    Move::Fill(bytes) => {
                        let count = bytes.len().min(buffer.spare());
                        let room = buffer.tail().as_ptr();
                        buffer.tail().extend_from_slice(&bytes[..count]);
                        prop_assert_eq!(room, buffer.tail().as_ptr());
                        model.extend(&bytes[..count]);
                    }
                    Move::Consume(count) => {
                        buffer.consume(count);
                        model.drain(..count.min(model.len()));
                    }
                    Move::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(buffer.bytes(), &model[..]);
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert_eq!(buffer.is_empty(), model.is_empty());
            }
        }

        /// However the bytes come, the first separator that ends is found, and nothing is looked at twice to no end.
        #[test]
        fn finds_what_ends_first(
            pieces in prop::collection::vec(prop::collection::vec(0u8..4, 0..6), 0..12),
            separators in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 1..4),
        ) {
            let mut buffer = ByteBuffer::new();
            let mut from = 0;
            for piece in pieces {
                buffer.extend(&piece);
                let bytes = buffer.bytes();
                let ends = |end: &usize| separators.iter().any(|one| bytes[..*end].ends_with(one));
                let first = (1..=bytes.len()).find(ends);
                match buffer.search(&separators, from) {
                    Search::Found { start, end } => {
                        prop_assert_eq!(Some(end), first);
                        prop_assert!(separators.contains(&bytes[start..end].to_vec()));
                        return Ok(());
                    }
                    Search::NotBefore(place) => {
                        prop_assert_eq!(first, None);
                        prop_assert!(place >= from && place <= bytes.len());
                        from = place;
                    }
                }
            }
        }
    }

    #[test]
    fn keeps_little_room_when_it_is_empty() {
        let mut buffer = ByteBuffer::new();
        buffer.extend(&vec![1; KEPT + 1]);
        buffer.consume(KEPT + 1);
        assert_eq!(buffer.room.capacity(), 0);
        buffer.extend(b"few");
        buffer.consume(3);
        assert_eq!(buffer.spare(), LEAST);
    }

    #[test]
    fn makes_room_at_once_for_what_is_usual() {
        let mut buffer = ByteBuffer::new();
        for _ in 0..16 {
            buffer.extend(&vec![1; KEPT / 2]);
        }
        buffer.clear();
        // For the ground to read into, and for what was read elsewhere.
        assert!(buffer.spare() > 8 * KEPT);
        buffer.room = Vec::new();
        buffer.extend(&vec![1; LARGE]);
        assert!(buffer.spare() > 7 * KEPT);
        buffer.clear();
        assert_eq!(buffer.spare(), 0);
    }

    #[test]
    fn has_more_room_than_what_fills_it() {
        let mut buffer = ByteBuffer::new();
        buffer.extend(&[1; LEAST]);
        assert_ne!(buffer.spare(), 0);
    }
}
