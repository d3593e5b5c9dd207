//! Timers: a heap of deadlines over a slab of jobs.
//!
//! Cancelling is the common fate of a timer (a timeout that was not needed), so it must be O(1): the job is taken
//! out of its slot at once, and the heap's entry is left behind as a husk. Husks are skipped when they surface and
//! swept when they outnumber the living, so a million cancelled timeouts hold no memory.
//!
//! Times are seconds on the loop's clock, as `f64`, because that is what `loop.time()` and `TimerHandle.when()`
//! speak. They are compared with `total_cmp`: a NaN sorts behind infinity and never comes due.

use dary_heap::QuaternaryHeap;
use std::cmp::Ordering;
use std::num::NonZeroU32;

/// Names one scheduled job until it has fired or been cancelled; stale keys are recognised and harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    slot: u32,
    stamp: Stamp,
}

/// Jobs by deadline; equal deadlines come due in the order of scheduling.
///
/// Invariant: `husks` is the number of heap entries whose slot has moved on (`husks_are_swept`).
#[derive(Debug)]
pub struct Timers<J> {
    /// Four children to a node: they lie in one line of the cache, and a heap of a million is ten lines deep, not twenty
    /// (benches: timer_among_million, 2026-11).
    heap: QuaternaryHeap<Entry>,
    slots: Vec<Slot<J>>,
    free: Vec<u32>,
    last: Stamp,
    husks: usize,
}

/// Below this many husks a sweep costs more than it frees.
const SWEEP_FLOOR: usize = 64;

impl<J> Timers<J> {
    /// No timers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heap: QuaternaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            last: Stamp(NonZeroU32::MIN),
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
        self.last = self.last.next();
        let stamp = self.last;
        let taken = Slot {
            stamp: Some(stamp),
            job: Some(job),
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = taken;
            slot
        } else {
            self.slots.push(taken);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers")
        };
        self.heap.push(Entry {
            deadline,
            stamp,
            slot,
        });
        TimerKey { slot, stamp }
    }

    /// Takes a job out before its time; `None` if it fired or was cancelled already.
    pub fn cancel(&mut self, key: TimerKey) -> Option<J> {
        if !self.contains(key) {
            return None;
        }
        let job = self.release(key.slot);
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
            .is_some_and(|place| place.stamp == Some(key.stamp))
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
        self.release(entry.slot)
    }

    /// All jobs, handed back; no timer is left. Keys given out before stay stale.
    #[must_use]
    pub fn take_all(&mut self) -> Vec<J> {
        self.heap.clear();
        self.free.clear();
        self.husks = 0;
        self.slots.drain(..).filter_map(|place| place.job).collect()
    }

    /// The scheduled jobs, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &J> {
        self.slots.iter().filter_map(|place| place.job.as_ref())
    }

    /// Empties a slot.
    #[inline]
    fn release(&mut self, slot: u32) -> Option<J> {
        let place = &mut self.slots[slot as usize];
        place.stamp = None;
        self.free.push(slot);
        place.job.take()
    }

    fn is_husk(slots: &[Slot<J>], entry: &Entry) -> bool {
        slots[entry.slot as usize].stamp != Some(entry.stamp)
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
    /// Whose it is; `None`: nobody's.
    stamp: Option<Stamp>,
    job: Option<J>,
}

/// The number of a timer, in the order of scheduling. It comes round after 2³² timers, so two of them are compared by their
/// distance: that is the order as long as no two of the same deadline are 2³¹ timers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp(NonZeroU32);

impl Stamp {
    #[inline]
    fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(NonZeroU32::MIN))
    }

    #[inline]
    fn order(self, other: Self) -> Ordering {
        (self.0.get().wrapping_sub(other.0.get()) as i32).cmp(&0)
    }
}

/// Two words: a million timers are as large as what is kept of each.
#[derive(Debug)]
struct Entry {
    deadline: f64,
    stamp: Stamp,
    slot: u32,
}

const _: () = assert!(size_of::<Entry>() == 16 && size_of::<Option<TimerKey>>() == 8);

/// Reversed, because the heap hands out the greatest first.
impl Ord for Entry {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .deadline
            .total_cmp(&self.deadline)
            .then_with(|| other.stamp.order(self.stamp))
    }
}

impl PartialOrd for Entry {
    #[inline]
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
    fn equal_deadlines_keep_their_order_when_the_stamps_come_round() {
        let mut timers = Timers::new();
        timers.last = Stamp(NonZeroU32::new(u32::MAX - 5).unwrap());
        for job in 0..10 {
            timers.insert(1.0, job);
        }
        assert!(timers.last.0.get() < 10);
        let due: Vec<_> = std::iter::from_fn(|| timers.poll_due(1.0)).collect();
        assert_eq!(due, (0..10).collect::<Vec<_>>());
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
