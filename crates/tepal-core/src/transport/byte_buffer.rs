//! The bytes that have come and nobody has taken.

use memchr::{memchr, memmem};

/// A queue of bytes in one piece: filled behind, searched, taken in front.
///
/// All of its room is initialised, so the ground can read straight into it. It keeps its room while bytes come and go; what it has
/// beyond [`KEPT`] it gives back when it is empty.
#[derive(Debug, Default)]
pub struct ByteBuffer {
    room: Vec<u8>,
    begin: usize,
    end: usize,
}

/// How much room an empty buffer keeps, in bytes.
const KEPT: usize = 128 * 1024;

/// The least room that is made at once, in bytes.
const LEAST: usize = 1024;

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
            end: 0,
        }
    }

    /// How many bytes wait.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Whether none waits.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// The bytes that wait.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.begin..self.end]
    }

    /// The room behind them, to be filled and then told of by [`handle_filled`](Self::handle_filled).
    #[inline]
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.room[self.end..]
    }

    /// So many bytes of the spare room have been filled.
    ///
    /// # Panics
    ///
    /// When there was not so much room.
    #[inline]
    pub fn handle_filled(&mut self, count: usize) {
        assert!(
            count <= self.room.len() - self.end,
            "more was filled than there was room for"
        );
        self.end += count;
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.room[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Makes room behind for so many bytes: by moving what waits to the front if that frees at least as much as is moved, else by
    /// growing to twice the size, so that a byte is moved a bounded number of times.
    fn make_room(&mut self, count: usize) {
        if self.room.len() - self.end >= count {
            return;
        }
        let waiting = self.len();
        if self.begin >= waiting && self.room.len() - waiting >= count {
            self.room.copy_within(self.begin..self.end, 0);
        } else {
            let size = (waiting + count).next_power_of_two().max(LEAST);
            let mut room = vec![0; size.max(self.room.len())];
            room[..waiting].copy_from_slice(self.bytes());
            self.room = room;
        }
        (self.begin, self.end) = (0, waiting);
    }

    /// Takes bytes away in front; as many as there are, if there are fewer.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.begin += count.min(self.len());
        if self.begin == self.end {
            self.clear();
        }
    }

    /// Takes all bytes away.
    pub fn clear(&mut self) {
        (self.begin, self.end) = (0, 0);
        if self.room.len() > KEPT {
            self.room = Vec::new();
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
                        let count = bytes.len().min(buffer.spare().len());
                        buffer.spare()[..count].copy_from_slice(&bytes[..count]);
                        buffer.handle_filled(count);
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
        assert!(buffer.spare().is_empty());
        buffer.extend(b"few");
        buffer.consume(3);
        assert_eq!(buffer.spare().len(), LEAST);
    }
}
