//! A part of a file on its way to a socket: where the next bytes stand, and when all have gone.

/// From an offset on, so many bytes or all that follow.
///
/// Invariant: `sent` never passes `count` (`asks_for_every_byte_once`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePart {
    offset: u64,
    count: Option<u64>,
    sent: u64,
}

impl FilePart {
    /// `count` bytes from `offset` on; `None` means all that the file has.
    #[must_use]
    pub fn new(offset: u64, count: Option<u64>) -> Self {
        Self {
            offset,
            count,
            sent: 0,
        }
    }

    /// How many bytes have left.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Where the next bytes stand and how many to ask for, at most `room`; `None` when all have gone.
    #[must_use]
    pub fn poll_ask(&self, room: usize) -> Option<(u64, usize)> {
        let left = match self.count {
            None => room,
            Some(count) if count == self.sent => return None,
            Some(count) => usize::try_from(count - self.sent).map_or(room, |left| left.min(room)),
        };
        Some((self.offset.saturating_add(self.sent), left))
    }

    /// So many bytes have left. None at all means that the file ends here.
    pub fn handle_sent(&mut self, bytes: usize) {
        if bytes == 0 {
            self.count = Some(self.sent);
        } else {
            self.sent += bytes as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a kernel cuts it, what is asked for is the part, once and in order.
        #[test]
        fn asks_for_every_byte_once(
            size in 0usize..300,
            offset in 0usize..400,
            count in prop::option::of(1usize..400),
            room in 1usize..80,
            cuts in prop::collection::vec(1usize..60, 1..40),
        ) {
            let file: Vec<usize> = (0..size).collect();
            let mut part = FilePart::new(offset as u64, count.map(|count| count as u64));
            let mut wire = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            while let Some((from, asked)) = part.poll_ask(room) {
                prop_assert!(asked > 0 && asked <= room);
                let from = usize::try_from(from).unwrap();
                let there = file.get(from..).unwrap_or_default();
                let taken = asked.min(cuts.next().unwrap_or(1)).min(there.len());
                wire.extend_from_slice(&there[..taken]);
                part.handle_sent(taken);
            }
            let expected: Vec<usize> = (offset..size).take(count.unwrap_or(size)).collect();
            prop_assert_eq!(part.sent(), expected.len() as u64);
            prop_assert_eq!(wire, expected);
        }
    }
}
