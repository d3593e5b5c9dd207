//! Joining children: what a nursery does when one begins, one ends, or its block does. A task group and a supervisor are built on it, too.
//!
//! The ritual: [`Nursery::admit`] asks whether a child may begin, [`Nursery::add`] takes it in, [`Nursery::handle_end`] is told of every
//! end, [`Nursery::handle_block_end`] of the block's, and [`Nursery::close_if_joined`] says whether everything has been joined. Whoever
//! owns the nursery acts on what they answer: cancels, lets a child that was held back begin, wakes who waits.
//!
//! Invariant: as long as there is room under the limit, nobody is held back (`tests::whatever_happens_nobody_is_lost`).

use slab::Slab;
use std::collections::VecDeque;

/// Names a child until it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildKey(u32);

impl ChildKey {
    /// As a number, for who keeps it in a small place.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The key that [`ChildKey::get`] gave.
    #[must_use]
    pub const fn from(number: u32) -> Self {
        Self(number)
    }
}

/// Whether a new child begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At once.
    Now,
    /// When another has ended: as many run as may.
    Held,
}

/// Why no child may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The block has not begun.
    NotOpen,
    /// Everything has been joined.
    Closed,
}

/// What follows from the end of a child.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ended<C> {
    /// The child.
    pub child: C,
    /// One that was held back, and begins now.
    pub begins: Option<ChildKey>,
    /// The first failure: everybody else is to be cancelled.
    pub cancels: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    /// The block runs.
    Open,
    /// The block has ended; its children are waited for.
    Joining,
    Closed,
}

#[derive(Debug)]
struct Child<C> {
    child: C,
    held: bool,
    /// How many had come before.
    order: u64,
}

/// The children of one block.
#[derive(Debug)]
pub struct Nursery<C> {
    stage: Stage,
    children: Slab<Child<C>>,
    /// Those that wait for room, first come, first served. One that ends while it waits leaves it at once.
    queue: VecDeque<ChildKey>,
    limit: usize,
    running: usize,
    /// Children that are about to be taken over from elsewhere.
    expected: usize,
    failed: bool,
    /// How many children have come so far.
    made: u64,
}

impl<C> Nursery<C> {
    /// No child; as many as `limit` run at a time.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            stage: Stage::Fresh,
            children: Slab::new(),
            queue: VecDeque::new(),
            limit,
            running: 0,
            expected: 0,
            failed: false,
            made: 0,
        }
    }

    /// The block begins; `false` when it has before.
    #[must_use]
    pub fn open(&mut self) -> bool {
        let fresh = self.stage == Stage::Fresh;
        if fresh {
            self.stage = Stage::Open;
        }
        fresh
    }

    /// Whether a child may begin.
    ///
    /// # Errors
    ///
    /// [`Refusal`]
    #[inline]
    pub fn admit(&self) -> Result<(), Refusal> {
        match self.stage {
            Stage::Fresh => Err(Refusal::NotOpen),
            Stage::Closed => Err(Refusal::Closed),
            Stage::Open | Stage::Joining => Ok(()),
        }
    }

    /// Whether the next child begins at once or is held back.
    #[inline]
    #[must_use]
    pub fn next_begin(&self) -> Begin {
        if self.running < self.limit {
            Begin::Now
        } else {
            Begin::Held
        }
    }

    /// Takes a child in.
    #[inline]
    pub fn add(&mut self, child: C) -> (ChildKey, Begin) {
        let held = self.next_begin() == Begin::Held;
        let key = self.insert(child, held);
        if held {
            self.queue.push_back(key);
            return (key, Begin::Held);
        }
        self.running += 1;
        (key, Begin::Now)
    }

    /// Takes a child in that runs already, limit or no limit.
    pub fn take_over(&mut self, child: C) -> ChildKey {
        self.running += 1;
        self.insert(child, false)
    }

    #[inline]
    fn insert(&mut self, child: C, held: bool) -> ChildKey {
        let order = self.made;
        self.made += 1;
        ChildKey(self.children.insert(Child { child, held, order }) as u32)
    }

    /// How many children have come so far: where in their order something stands that is made now.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// The children that have not ended, with how many had come before each, in no particular order.
    pub fn iter_ordered(&self) -> impl Iterator<Item = (u64, &C)> {
        let children = self.children.iter();
        children.map(|(_, child)| (child.order, &child.child))
    }

    /// Lets a child go that another nursery takes over; `None` when it is not here.
    pub fn hand_over(&mut self, key: ChildKey) -> Option<C> {
        let child = self.children.try_remove(key.0 as usize)?;
        if !child.held {
            self.running -= 1;
        }
        Some(child.child)
    }

    /// A child has ended; `None` when it was handed over.
    #[inline]
    pub fn handle_end(&mut self, key: ChildKey, failed: bool) -> Option<Ended<C>> {
        let ended = self.children.try_remove(key.0 as usize)?;
        let cancels = failed && !self.failed;
        self.failed |= failed;
        let mut begins = None;
        if ended.held {
            self.queue.retain(|held| *held != key);
        } else {
            self.running -= 1;
            if !self.queue.is_empty() && self.running < self.limit {
                begins = self.begin_next();
            }
        }
        Some(Ended {
            child: ended.child,
            begins,
            cancels,
        })
    }

    /// The first of those who are held back begins.
    #[cold]
    fn begin_next(&mut self) -> Option<ChildKey> {
        let key = self.queue.pop_front()?;
        if let Some(child) = self.children.get_mut(key.0 as usize) {
            child.held = false;
        }
        self.running += 1;
        Some(key)
    }

    /// The block has ended.
    pub fn handle_block_end(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Joining;
        }
    }

    /// Whether the block and all children have ended, and none is expected.
    #[inline]
    #[must_use]
    pub fn is_joined(&self) -> bool {
        match self.stage {
            Stage::Fresh | Stage::Open => false,
            Stage::Joining => self.children.is_empty() && self.expected == 0,
            Stage::Closed => true,
        }
    }

    /// Closes the nursery, if it is joined; whether it was.
    #[must_use]
    pub fn close_if_joined(&mut self) -> bool {
        let joined = self.is_joined();
        if joined {
            self.stage = Stage::Closed;
        }
        joined
    }

    /// A child is to be taken over later: the nursery stays open for it.
    pub fn expect(&mut self) {
        self.expected += 1;
    }

    /// The child that was expected has come, or will not come.
    pub fn expect_no_more(&mut self) {
        self.expected -= 1;
    }

    /// Whether the block has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.stage != Stage::Fresh
    }

    /// Whether the block has ended.
    #[must_use]
    pub fn has_block_ended(&self) -> bool {
        matches!(self.stage, Stage::Joining | Stage::Closed)
    }

    /// Whether only the block runs: it has no children.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// How many children there are, with those who are held back.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// A child, if it has not ended.
    #[must_use]
    pub fn child(&self, key: ChildKey) -> Option<&C> {
        Some(&self.children.get(key.0 as usize)?.child)
    }

    /// The children and their keys.
    pub fn iter(&self) -> impl Iterator<Item = (ChildKey, &C)> {
        let children = self.children.iter();
        children.map(|(key, child)| (ChildKey(key as u32), &child.child))
    }

    /// Every child, handed back.
    #[must_use]
    pub fn take_all(&mut self) -> Vec<C> {
        self.queue.clear();
        self.running = 0;
        self.children.drain().map(|child| child.child).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_failure_cancels_and_the_later_ones_do_not() {
        let mut nursery = Nursery::new(usize::MAX);
        assert_eq!(nursery.admit(), Err(Refusal::NotOpen));
        assert!(nursery.open());
        assert!(!nursery.open());
        let (one, _) = nursery.add("one");
        let (other, _) = nursery.add("other");
        assert!(nursery.handle_end(one, true).unwrap().cancels);
        assert!(!nursery.close_if_joined(), "the block runs");
        nursery.handle_block_end();
        assert!(!nursery.close_if_joined());
        assert_eq!(nursery.admit(), Ok(()), "children may spawn children");
        assert!(!nursery.handle_end(other, true).unwrap().cancels);
        assert!(nursery.close_if_joined());
        assert_eq!(nursery.admit(), Err(Refusal::Closed));
    }

    #[test]
    fn an_expected_child_keeps_it_open() {
        let mut nursery: Nursery<&str> = Nursery::new(usize::MAX);
        assert!(nursery.open());
        nursery.expect();
        nursery.handle_block_end();
        assert!(!nursery.close_if_joined());
        let key = nursery.take_over("started");
        nursery.expect_no_more();
        assert!(!nursery.close_if_joined());
        assert!(nursery.handle_end(key, false).is_some());
        assert!(nursery.close_if_joined());
    }

    proptest! {
        /// In any history, children run in the order in which they came, never more than the limit at a time, none waits while
        /// there is room, and each ends once.
        #[test]
        fn whatever_happens_nobody_is_lost(
            limit in 1usize..5,
            history in prop::collection::vec((0u8..5, 0usize..32, any::<bool>()), 0..150)
        ) {
            let mut nursery = Nursery::new(limit);
            prop_assert!(nursery.open());
            let mut running: Vec<(ChildKey, u32)> = Vec::new();
            let mut waiting: VecDeque<(ChildKey, u32)> = VecDeque::new();
            let (mut made, mut extra, mut failed) = (0, 0, false);
            for (operation, choice, flag) in history {
                match operation {
                    0 | 1 => {
                        let (key, begin) = nursery.add(made);
                        let held = running.len() >= limit;
                        prop_assert_eq!(begin == Begin::Held, held);
                        if held { waiting.push_back((key, made)) } else { running.push((key, made)) }
                        made += 1;
                    }
                    2 => {
                        running.push((nursery.take_over(made), made));
                        made += 1;
                        extra += 1;
                    }
                    3 if !running.is_empty() => {
                        let (key, child) = running.remove(choice % running.len());
                        let ended = nursery.handle_end(key, flag).unwrap();
                        prop_assert_eq!(ended.child, child);
                        prop_assert_eq!(ended.cancels, flag && !failed);
                        failed |= flag;
                        let next = if running.len() < limit { waiting.pop_front() } else { None };
                        prop_assert_eq!(ended.begins, next.map(|(key, _)| key));
                        running.extend(next);
                    }
                    4 if !waiting.is_empty() => {
                        // One is cancelled while it waits.
                        let (key, child) = waiting.remove(choice % waiting.len()).unwrap();
                        let ended = nursery.handle_end(key, false).unwrap();
                        prop_assert_eq!((ended.child, ended.begins), (child, None));
                    }
                    _ => {}
                }
                prop_assert_eq!(nursery.len(), running.len() + waiting.len());
                prop_assert!(running.len() <= limit + extra);
            }
            nursery.handle_block_end();
            for (key, _) in running.into_iter().chain(waiting) {
                prop_assert!(!nursery.close_if_joined());
                prop_assert!(nursery.handle_end(key, false).is_some());
                prop_assert!(nursery.handle_end(key, false).is_none());
            }
            prop_assert!(nursery.close_if_joined());
        }
    }
}
