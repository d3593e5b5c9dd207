//! How much memory the messages of a loop come and go in.
//!
//! An allocator that hands free memory back to the kernel, and asks for it again when the next message comes, pays a page fault for each
//! page of it. For a server of large messages that was more than all else it did: 24 faults for an echo of 100 KiB on 200 connections, half
//! of its time (benches: echo/streams, 2026-11). What a loop moves between two looks at the kernel it will move again, so this
//! says how large a block the allocator should be used to; the ground lets it see one.

/// What a loop has moved at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The block that the allocator has seen, in bytes.
    taught: usize,
}

/// How much is alive for each byte that is moved: it lies where it was read, where the program keeps it and where it waits to be
/// written, and some of what came before is still there.
const COPIES: usize = 4;

impl Traffic {
    /// A loop that has moved nothing; its allocator has seen a block of `taught` bytes.
    #[must_use]
    pub const fn new(taught: usize) -> Self {
        Self { taught }
    }

    /// So many bytes were moved since the kernel was last looked at: the block that the allocator should now see, in bytes, if it is larger
    /// than all before. Sizes are powers of two, so this is seldom so.
    #[inline]
    pub fn poll_lesson(&mut self, moved: usize) -> Option<usize> {
        let wanted = moved.saturating_mul(COPIES);
        if wanted <= self.taught {
            return None;
        }
        self.taught = wanted.checked_next_power_of_two().unwrap_or(usize::MAX);
        Some(self.taught)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_ever_is_a_lesson_once() {
        let mut traffic = Traffic::new(1024);
        assert_eq!(traffic.poll_lesson(256), None);
        assert_eq!(traffic.poll_lesson(257), Some(2048));
        assert_eq!(traffic.poll_lesson(512), None);
        assert_eq!(traffic.poll_lesson(3000), Some(16 * 1024));
        assert_eq!(traffic.poll_lesson(0), None);
    }

    #[test]
    fn any_number_is_a_lesson() {
        let mut traffic = Traffic::new(0);
        assert_eq!(traffic.poll_lesson(usize::MAX), Some(usize::MAX));
        assert_eq!(traffic.poll_lesson(usize::MAX), None);
    }
}
