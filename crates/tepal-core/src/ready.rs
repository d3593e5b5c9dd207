//! The ready queue: jobs that may run, first come, first served.
//!
//! A turn runs the jobs that stood when it began and no more, so a job that schedules itself cannot starve the
//! kernel. That boundary is a count, not a second queue.

use std::collections::VecDeque;

/// A first-in, first-out queue with the boundary of the current turn.
///
/// Invariant: `in_turn <= jobs.len()`; `poll` is the only way out and lowers both together
/// (`a_turn_ends_where_it_began`).
#[derive(Debug)]
pub struct ReadyQueue<J> {
    jobs: VecDeque<J>,
    in_turn: usize,
}

impl<J> ReadyQueue<J> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            jobs: VecDeque::new(),
            in_turn: 0,
        }
    }

    /// How many jobs stand in the queue, in this turn and after it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job stands in the queue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Puts a job behind all others.
    #[inline]
    pub fn push(&mut self, job: J) {
        self.jobs.push_back(job);
    }

    /// The job that was put in last, if it does not belong to this turn.
    #[must_use]
    #[inline]
    pub fn newest(&self) -> Option<&J> {
        self.jobs.back().filter(|_| self.jobs.len() > self.in_turn)
    }

    /// Draws the boundary: the jobs that stand now are this turn's.
    #[inline]
    pub fn begin_turn(&mut self) {
        self.in_turn = self.jobs.len();
    }

    /// The next job of this turn, or `None` when the turn is over.
    #[inline]
    pub fn poll(&mut self) -> Option<J> {
        if self.in_turn == 0 {
            return None;
        }
        self.in_turn -= 1;
        self.jobs.pop_front()
    }

    /// All jobs, handed back; the queue is empty afterwards.
    #[must_use]
    pub fn take_all(&mut self) -> VecDeque<J> {
        self.in_turn = 0;
        std::mem::take(&mut self.jobs)
    }

    /// The jobs in the order in which they would run.
    pub fn iter(&self) -> impl Iterator<Item = &J> {
        self.jobs.iter()
    }
}

impl<J> Default for ReadyQueue<J> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_turn_ends_where_it_began() {
        let mut queue = ReadyQueue::new();
        queue.push(1);
        queue.push(2);
        queue.begin_turn();
        assert_eq!(queue.newest(), None);
        assert_eq!(queue.poll(), Some(1));
        queue.push(3); // made by job 1: the next turn's
        assert_eq!(queue.newest(), Some(&3));
        assert_eq!(queue.poll(), Some(2));
        assert_eq!(queue.poll(), None);
        queue.begin_turn();
        assert_eq!(queue.poll(), Some(3));
        assert!(queue.is_empty());
    }

    proptest! {
        /// Any interleaving of pushes and turns keeps first-in, first-out order and loses nothing.
        #[test]
        fn order_is_kept(turns in prop::collection::vec((0usize..6, 0usize..6), 0..60)) {
            let mut queue = ReadyQueue::new();
            let (mut made, mut seen) = (0u32, Vec::new());
            for (before, inside) in turns {
                for _ in 0..before { queue.push(made); made += 1; }
                let standing = queue.len();
                queue.begin_turn();
                let mut left_to_add = inside;
                let mut ran = 0;
                while let Some(job) = queue.poll() {
                    seen.push(job);
                    ran += 1;
                    if left_to_add > 0 { queue.push(made); made += 1; left_to_add -= 1; }
                }
                prop_assert_eq!(ran, standing);
            }
            seen.extend(queue.take_all());
            prop_assert_eq!(seen, (0..made).collect::<Vec<_>>());
        }
    }
}
