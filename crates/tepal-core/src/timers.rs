//! Timers: a heap of deadlines over a slab of jobs.
//!
//! Cancelling is the common fate of a timer (a timeout that was not needed), so it must be O(1): the job is taken
//! out of its slot at once, and the heap's entry is left behind as a husk. Husks are skipped when they surface and
//! swept when they outnumber the living, so a million cancelled timeouts hold no memory.
//!
//! Times are seconds on the loop's clock, as `f64`, because that is what `loop.time()` and `TimerHandle.when()`
//! speak. They are compared with `total_cmp`: a NaN sorts behind infinity and never comes due.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Names one scheduled job until it has fired or been cancelled; stale keys are recognised and harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

/// Jobs by deadline; equal deadlines come due in the order of scheduling.
///
/// Invariant: `husks` is the number of heap entries whose slot has moved on (`husks_are_swept`).
#[derive(Debug)]
pub struct Timers<J> {
    heap: BinaryHeap<Entry>,
    slots: Vec<Slot<J>>,
    free: Vec<u32>,
    sequence: u64,
    husks: usize,
}

/// Below this many husks a sweep costs more than it frees.
const SWEEP_FLOOR: usize = 64;

impl<J> Timers<J> {
    /// No timers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            husks: 0,
        }
    }

    /// How many jobs are scheduled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len() - self.husks
    }

    /// Whether no job is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Schedules `job` for `deadline`.
    ///
    /// # Panics
    ///
    /// With more than 2³² timers at once, which would need 100 GB.
    pub fn insert(&mut self, deadline: f64, job: J) -> TimerKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                job: None,
            });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers")
        });
        let place = &mut self.slots[slot as usize];
        place.job = Some(job);
        let generation = place.generation;
        self.sequence += 1;
        self.heap.push(Entry {
            deadline,
            sequence: self.sequence,
            slot,
            generation,
        });
        TimerKey { slot, generation }
    }

    /// Takes a job out before its time; `None` if it fired or was cancelled already.
    pub fn cancel(&mut self, key: TimerKey) -> Option<J> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let job = place.job.take();
        self.release(key.slot);
        self.husks += 1;
        if self.husks > SWEEP_FLOOR && self.husks * 2 > self.heap.len() {
            self.sweep();
        }
        job
    }

    /// Whether the key's job still waits.
    #[must_use]
    pub fn contains(&self, key: TimerKey) -> bool {
        self.slots
            .get(key.slot as usize)
            .is_some_and(|place| place.generation == key.generation)
    }

    /// The earliest deadline.
    pub fn next_deadline(&mut self) -> Option<f64> {
        self.drop_leading_husks();
        self.heap.peek().map(|entry| entry.deadline)
    }

    /// The earliest job whose deadline is not after `now`.
    pub fn poll_due(&mut self, now: f64) -> Option<J> {
        self.drop_leading_husks();
        if self.heap.peek()?.deadline > now || self.heap.peek()?.deadline.is_nan() {
            return None;
        }
        let entry = self.heap.pop()?;
        let job = self.slots[entry.slot as usize].job.take();
        self.release(entry.slot);
        job
    }

    /// All jobs, handed back; no timer is left.
    #[must_use]
    pub fn take_all(&mut self) -> Vec<J> {
        self.heap.clear();
        self.free.clear();
        self.husks = 0;
        let mut jobs = Vec::new();
        for (index, place) in self.slots.iter_mut().enumerate() {
            jobs.extend(place.job.take());
            // Keys given out before stay stale.
            place.generation = place.generation.wrapping_add(1);
            self.free.push(index as u32);
        }
        jobs
    }

    /// The scheduled jobs, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &J> {
        self.slots.iter().filter_map(|place| place.job.as_ref())
    }

    fn release(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
    }

    fn is_husk(slots: &[Slot<J>], entry: &Entry) -> bool {
        slots[entry.slot as usize].generation != entry.generation
    }

    #[inline]
    fn drop_leading_husks(&mut self) {
        while self.husks > 0
            && self
                .heap
                .peek()
                .is_some_and(|entry| Self::is_husk(&self.slots, entry))
        {
            self.heap.pop();
            self.husks -= 1;
        }
    }

    fn sweep(&mut self) {
        let slots = &self.slots;
        self.heap.retain(|entry| !Self::is_husk(slots, entry));
        self.husks = 0;
    }
}

impl<J> Default for Timers<J> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Slot<J> {
    generation: u32,
    job: Option<J>,
}

#[derive(Debug)]
struct Entry {
    deadline: f64,
    sequence: u64,
    slot: u32,
    generation: u32,
}

/// Reversed, because `BinaryHeap` hands out the greatest first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .deadline
            .total_cmp(&self.deadline)
            .then(other.sequence.cmp(&self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_deadlines_keep_their_order() {
        let mut timers = Timers::new();
        for job in 0..10 {
            timers.insert(1.0, job);
        }
        let due: Vec<_> = std::iter::from_fn(|| timers.poll_due(1.0)).collect();
        assert_eq!(due, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut timers = Timers::new();
        let key = timers.insert(1.0, "first");
        assert_eq!(timers.cancel(key), Some("first"));
        let _second = timers.insert(2.0, "second"); // reuses the slot
        assert_eq!(timers.cancel(key), None);
        assert_eq!(timers.poll_due(3.0), Some("second"));
    }

    #[test]
    fn husks_are_swept() {
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..100_000)
            .map(|job| timers.insert(f64::from(job), job))
            .collect();
        for key in &keys[10..] {
            timers.cancel(*key);
        }
        assert_eq!(timers.len(), 10);
        assert!(timers.heap.len() <= 2 * (10 + SWEEP_FLOOR));
    }

    #[test]
    fn a_nan_never_comes_due() {
        let mut timers = Timers::new();
        timers.insert(f64::NAN, "never");
        timers.insert(1.0, "once");
        assert_eq!(timers.poll_due(f64::INFINITY), Some("once"));
        assert_eq!(timers.poll_due(f64::INFINITY), None);
        assert_eq!(timers.take_all(), ["never"]);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u8),
        Cancel(usize),
        Advance(u8),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let one = prop_oneof![
            3 => any::<u8>().prop_map(Operation::Insert),
            2 => any::<usize>().prop_map(Operation::Cancel),
            1 => (0u8..20).prop_map(Operation::Advance),
        ];
        prop::collection::vec(one, 0..400)
    }

    proptest! {
        /// The heap agrees with a sorted list, whatever is inserted, cancelled (twice even) or fired.
        #[test]
        fn agrees_with_a_sorted_list(operations in operations()) {
            let mut timers = Timers::new();
            let mut model: Vec<(f64, u32)> = Vec::new();
            let mut keys = Vec::new();
            let (mut now, mut made) = (0.0, 0);
            for operation in operations {
                match operation {
                    Operation::Insert(delay) => {
                        let deadline = now + f64::from(delay);
                        keys.push((timers.insert(deadline, made), made));
                        model.push((deadline, made));
                        made += 1;
                    }
                    Operation::Cancel(which) if !keys.is_empty() => {
                        let (key, job) = keys[which % keys.len()];
                        let alive = model.iter().position(|(_, other)| *other == job);
                        prop_assert_eq!(timers.cancel(key), alive.map(|_| job));
                        if let Some(index) = alive { model.remove(index); }
                    }
                    Operation::Cancel(_) => {}
                    Operation::Advance(step) => {
                        now += f64::from(step);
                        model.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                        let due: Vec<_> = std::iter::from_fn(|| timers.poll_due(now)).collect();
                        let split = model.partition_point(|(deadline, _)| *deadline <= now);
                        let expected: Vec<_> = model.drain(..split).map(|(_, job)| job).collect();
                        prop_assert_eq!(due, expected);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.iter().count(), model.len());
            }
        }
    }
}
