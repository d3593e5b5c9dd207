//! One turn of the loop: facts in, jobs out.
//!
//! The ritual, in order: [`Turn::poll_wait`] says how long the ground may wait; the ground waits, puts a job for
//! each event ([`Turn::schedule`]) and says so ([`Turn::handle_polled`]); [`Turn::handle_time`] makes due timers
//! ready; [`Turn::begin`] draws the boundary; [`Turn::poll_job`] hands out the jobs of this turn. This is asyncio's
//! order: jobs that stood, then I/O, then timers.
//!
//! # When to look at the kernel
//!
//! asyncio asks the kernel on every turn. When jobs stand ready that question costs more than the jobs, so a busy
//! loop asks only every [`JOBS_PER_LOOK`] jobs or [`SECONDS_PER_LOOK`], whichever is sooner; both bound how
//! long I/O can starve. A loop with nothing to do always asks, because it must sleep.

use crate::ready::ReadyQueue;
use crate::timers::{TimerKey, Timers};
use std::collections::VecDeque;

/// A busy loop looks at the kernel at least every so many jobs.
pub const JOBS_PER_LOOK: u32 = 256;

/// A busy loop looks at the kernel at least every so many seconds (checked between turns).
pub const SECONDS_PER_LOOK: f64 = 50e-6;

/// What the ground may do before the next jobs run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// Jobs are ready and the kernel was asked just now: go on without asking.
    Skip,
    /// Ask the kernel, but do not sleep.
    Look,
    /// Sleep until an event comes or the clock shows this time, in seconds.
    Until(f64),
    /// Sleep until an event comes.
    Forever,
}

/// The scheduler: ready jobs, timers, and the policy that says when to ask the kernel.
#[derive(Debug)]
pub struct Turn<J> {
    ready: ReadyQueue<J>,
    timers: Timers<J>,
    lookers: Lookers<J>,
    jobs_since_look: u32,
    last_look: f64,
    look_now: bool,
}

impl<J> Turn<J> {
    /// A scheduler with nothing to do.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ready: ReadyQueue::new(),
            timers: Timers::new(),
            lookers: Lookers::new(),
            jobs_since_look: 0,
            last_look: f64::NEG_INFINITY,
            look_now: true,
        }
    }

    /// Makes a job ready for the next turn.
    #[inline]
    pub fn schedule(&mut self, job: J) {
        self.ready.push(job);
        self.lookers.pushed = self.lookers.pushed.wrapping_add(1);
    }

    /// The job that was scheduled last, while nothing can come between it and another that would be scheduled now: what they do may be done
    /// by one.
    #[must_use]
    #[inline]
    pub fn newest(&self) -> Option<&J> {
        self.ready.newest()
    }

    /// Schedules a job that only looks at what others have done, and then schedules itself again. It has its place in the queue like any
    /// other; but when it would run alone, and nobody has run since it looked last, it stands aside until somebody is about to:
    /// so it keeps no loop from sleeping.
    pub fn schedule_looker(&mut self, job: J) {
        let others = self.ready.len() > self.lookers.places.len();
        if others || self.lookers.stirred {
            self.lookers.places.push_back(self.lookers.pushed);
            self.schedule(job);
        } else {
            self.lookers.aside.push(job);
        }
    }

    /// Schedules a job for a time, in seconds on the loop's clock.
    #[inline]
    pub fn schedule_at(&mut self, deadline: f64, job: J) -> TimerKey {
        self.timers.insert(deadline, job)
    }

    /// Takes back a job that has not come due; O(1).
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<J> {
        self.timers.cancel(key)
    }

    /// Whether a scheduled job still waits for its time.
    #[must_use]
    pub fn is_scheduled(&self, key: TimerKey) -> bool {
        self.timers.contains(key)
    }

    /// Makes the next turn ask the kernel, however busy it is: at the start of a run, and when stopping.
    pub fn look_at_once(&mut self) {
        self.look_now = true;
    }

    /// Whether a clock reading is of use to the next [`Turn::poll_wait`]: `false` while a busy loop with no timers
    /// is far from its next look, so that the border may save the clock call.
    #[must_use]
    pub fn wants_time(&self) -> bool {
        self.look_now
            || self.is_idle()
            || !self.timers.is_empty()
            || self.jobs_since_look & 7 == 0
            || self.jobs_since_look >= JOBS_PER_LOOK
    }

    /// How long the ground may wait before the next jobs run.
    #[inline]
    pub fn poll_wait(&mut self, now: f64) -> Wait {
        if self.is_idle() && !self.look_now {
            return match self.timers.next_deadline() {
                None => Wait::Forever,
                Some(deadline) if deadline <= now => Wait::Look,
                Some(deadline) if deadline.is_nan() || deadline == f64::INFINITY => Wait::Forever,
                Some(deadline) => Wait::Until(deadline),
            };
        }
        if self.look_now
            || self.jobs_since_look >= JOBS_PER_LOOK
            || now - self.last_look >= SECONDS_PER_LOOK
        {
            return Wait::Look;
        }
        Wait::Skip
    }

    /// Whether no job would run if the turn began now.
    #[inline]
    fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.lookers.rest(self.ready.is_empty())
    }

    /// The kernel was asked, and its events have been scheduled.
    #[inline]
    pub fn handle_polled(&mut self, now: f64) {
        self.jobs_since_look = 0;
        self.last_look = now;
        self.look_now = false;
    }

    /// Makes the timers that are due at `now` ready.
    #[inline]
    pub fn handle_time(&mut self, now: f64) {
        while let Some(job) = self.timers.poll_due(now) {
            self.schedule(job);
        }
    }

    /// Draws the boundary of this turn behind the jobs that are ready now.
    #[inline]
    pub fn begin(&mut self) {
        if !self.lookers.rest(self.ready.is_empty()) {
            self.lookers.fetch();
        }
        self.ready.begin_turn();
    }

    /// The next job of this turn.
    #[inline]
    pub fn poll_job(&mut self) -> Option<J> {
        if let Some(looker) = self.lookers.poll_first() {
            return Some(looker);
        }
        let job = self.ready.poll()?;
        self.lookers.handle_polled();
        self.jobs_since_look = self.jobs_since_look.wrapping_add(1);
        Some(job)
    }

    /// How many jobs are ready.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Every job, ready or scheduled, handed back: the loop closes.
    #[must_use]
    pub fn take_all(&mut self) -> (VecDeque<J>, Vec<J>) {
        let mut ready = self.ready.take_all();
        ready.extend(self.lookers.take_all());
        (ready, self.timers.take_all())
    }

    /// The ready jobs, in order, and the lookers that stand aside.
    pub fn iter_ready(&self) -> impl Iterator<Item = &J> {
        self.ready.iter().chain(self.lookers.iter())
    }

    /// The scheduled jobs, in no particular order.
    pub fn iter_timers(&self) -> impl Iterator<Item = &J> {
        self.timers.iter()
    }
}

/// Jobs that only look; see [`Turn::schedule_looker`].
#[derive(Debug)]
struct Lookers<J> {
    /// Those that stand aside.
    aside: Vec<J>,
    /// Those that stood aside and run now, before all others of the turn: they have waited longest.
    first: VecDeque<J>,
    /// The places of those that stand in the ready queue, counted in jobs since the beginning.
    places: VecDeque<u64>,
    pushed: u64,
    polled: u64,
    /// Another job has run, or runs, since the last looker did. (At the beginning nobody has looked yet.)
    stirred: bool,
}

impl<J> Lookers<J> {
    const fn new() -> Self {
        Self {
            aside: Vec::new(),
            first: VecDeque::new(),
            places: VecDeque::new(),
            pushed: 0,
            polled: 0,
            stirred: true,
        }
    }

    /// Whether those that stand aside stay there, and no other runs first.
    #[inline]
    fn rest(&self, alone: bool) -> bool {
        self.first.is_empty() && (self.aside.is_empty() || (alone && !self.stirred))
    }

    #[cold]
    fn fetch(&mut self) {
        self.first.extend(self.aside.drain(..));
    }

    #[inline]
    fn poll_first(&mut self) -> Option<J> {
        let looker = self.first.pop_front()?;
        self.stirred = false;
        Some(looker)
    }

    /// A job was taken out of the ready queue, and runs.
    #[inline]
    fn handle_polled(&mut self) {
        let is_looker = self.places.front() == Some(&self.polled);
        if is_looker {
            self.places.pop_front();
        }
        self.polled = self.polled.wrapping_add(1);
        self.stirred = !is_looker;
    }

    fn take_all(&mut self) -> impl Iterator<Item = J> {
        self.places.clear();
        self.polled = self.pushed;
        let aside = std::mem::take(&mut self.aside);
        std::mem::take(&mut self.first).into_iter().chain(aside)
    }

    fn iter(&self) -> impl Iterator<Item = &J> {
        self.first.iter().chain(&self.aside)
    }
}

impl<J> Default for Turn<J> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_loop_looks_at_the_kernel_within_its_bounds() {
        let mut turn = Turn::new();
        turn.schedule(());
        assert_eq!(turn.poll_wait(0.0), Wait::Look, "a run begins with a look");
        turn.handle_polled(0.0);
        let mut jobs = 0;
        while turn.poll_wait(0.0) == Wait::Skip {
            turn.begin();
            while turn.poll_job().is_some() {
                jobs += 1;
            }
            turn.schedule(());
        }
        assert_eq!(jobs, JOBS_PER_LOOK);
        turn.handle_polled(0.0);
        assert_eq!(turn.poll_wait(SECONDS_PER_LOOK), Wait::Look);
    }

    #[test]
    fn an_idle_loop_sleeps_until_its_next_timer() {
        let mut turn: Turn<u8> = Turn::new();
        turn.handle_polled(0.0);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever);
        let key = turn.schedule_at(3.0, 1);
        assert_eq!(turn.poll_wait(1.0), Wait::Until(3.0));
        assert_eq!(turn.poll_wait(3.0), Wait::Look);
        assert_eq!(turn.cancel(key), Some(1));
        assert_eq!(turn.poll_wait(1.0), Wait::Forever);
        turn.schedule_at(f64::INFINITY, 2);
        assert_eq!(turn.poll_wait(1.0), Wait::Forever);
    }

    #[test]
    fn stopping_looks_without_sleeping() {
        let mut turn: Turn<u8> = Turn::new();
        turn.handle_polled(0.0);
        turn.look_at_once();
        assert_eq!(turn.poll_wait(0.0), Wait::Look);
    }

    /// Runs a turn; a looker schedules itself again, "maker" makes one and then another job.
    fn run_turn(turn: &mut Turn<&'static str>) -> Vec<&'static str> {
        turn.begin();
        let mut ran = Vec::new();
        while let Some(job) = turn.poll_job() {
            ran.push(job);
            match job {
                "looker" => turn.schedule_looker("looker"),
                "maker" => {
                    turn.schedule_looker("looker");
                    turn.schedule("made");
                }
                _ => {}
            }
        }
        ran
    }

    #[test]
    fn a_looker_has_its_place_and_never_runs_alone_twice() {
        let mut turn = Turn::new();
        turn.handle_polled(0.0);
        turn.schedule("maker");
        assert_eq!(run_turn(&mut turn), ["maker"]);
        // In its place, before what was scheduled after it; and again, for another has run since.
        assert_eq!(run_turn(&mut turn), ["looker", "made"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Skip);
        assert_eq!(run_turn(&mut turn), ["looker"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever, "nobody has run since");
        assert_eq!(run_turn(&mut turn), [""; 0]);
        // It stood there first.
        turn.schedule("job");
        assert_eq!(run_turn(&mut turn), ["looker", "job"]);
        assert_eq!(run_turn(&mut turn), ["looker"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever);
        assert_eq!(turn.take_all().0, ["looker"]);
    }

    #[test]
    fn two_lookers_do_not_keep_each_other_awake() {
        let mut turn = Turn::new();
        turn.handle_polled(0.0);
        turn.schedule_looker("looker");
        turn.schedule_looker("looker");
        assert_eq!(run_turn(&mut turn), ["looker", "looker"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever);
        turn.schedule("job");
        assert_eq!(run_turn(&mut turn), ["looker", "looker", "job"]);
        assert_eq!(run_turn(&mut turn), ["looker", "looker"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever);
    }

    #[test]
    fn timers_come_behind_the_jobs_that_stood() {
        let mut turn = Turn::new();
        turn.schedule_at(1.0, "timer");
        turn.schedule("stood");
        turn.handle_time(1.0);
        turn.begin();
        assert_eq!(turn.poll_job(), Some("stood"));
        assert_eq!(turn.poll_job(), Some("timer"));
    }
}
