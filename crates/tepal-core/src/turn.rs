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
    /// Jobs for the end of the next turn that follows on others.
    behind: Vec<J>,
    /// How many of the jobs of this turn came from there: its last ones.
    behind_in_turn: usize,
    /// A job that did not come from there has run since the last that did.
    stirred: bool,
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
            behind: Vec::new(),
            behind_in_turn: 0,
            stirred: false,
            jobs_since_look: 0,
            last_look: f64::NEG_INFINITY,
            look_now: true,
        }
    }

    /// Makes a job ready for the next turn.
    #[inline]
    pub fn schedule(&mut self, job: J) {
        self.ready.push(job);
    }

    /// Has a job run behind all others, and only when others have run since: what it looks at can only have changed then. It keeps no
    /// loop from sleeping.
    pub fn schedule_behind(&mut self, job: J) {
        self.behind.push(job);
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
        self.ready.is_empty() && (self.behind.is_empty() || !self.stirred)
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
            self.ready.push(job);
        }
    }

    /// Draws the boundary of this turn behind the jobs that are ready now.
    #[inline]
    pub fn begin(&mut self) {
        self.behind_in_turn = 0;
        if !self.behind.is_empty() && (self.stirred || !self.ready.is_empty()) {
            self.fetch_those_behind();
        }
        self.ready.begin_turn();
    }

    #[cold]
    fn fetch_those_behind(&mut self) {
        self.behind_in_turn = self.behind.len();
        for job in self.behind.drain(..) {
            self.ready.push(job);
        }
    }

    /// The next job of this turn.
    #[inline]
    pub fn poll_job(&mut self) -> Option<J> {
        let job = self.ready.poll()?;
        self.stirred = self.ready.left_in_turn() >= self.behind_in_turn;
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
        ready.extend(self.behind.drain(..));
        (ready, self.timers.take_all())
    }

    /// The ready jobs, in order, and those that stand behind them.
    pub fn iter_ready(&self) -> impl Iterator<Item = &J> {
        self.ready.iter().chain(&self.behind)
    }

    /// The scheduled jobs, in no particular order.
    pub fn iter_timers(&self) -> impl Iterator<Item = &J> {
        self.timers.iter()
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

    /// Runs a turn; a job called "again" puts itself behind once more.
    fn run_turn(turn: &mut Turn<&'static str>) -> Vec<&'static str> {
        turn.begin();
        let mut ran = Vec::new();
        while let Some(job) = turn.poll_job() {
            ran.push(job);
            match job {
                "again" => turn.schedule_behind("again"),
                "maker" => turn.schedule_behind("again"),
                _ => {}
            }
        }
        ran
    }

    #[test]
    fn a_job_behind_the_others_runs_after_them_and_never_alone() {
        let mut turn = Turn::new();
        turn.handle_polled(0.0);
        turn.schedule("maker");
        turn.schedule("job");
        assert_eq!(run_turn(&mut turn), ["maker", "job"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Skip, "others have run");
        assert_eq!(run_turn(&mut turn), ["again"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever, "nobody has since");
        assert_eq!(run_turn(&mut turn), [""; 0]);
        turn.schedule("job");
        assert_eq!(run_turn(&mut turn), ["job", "again"]);
        assert_eq!(turn.poll_wait(0.0), Wait::Forever);
        assert_eq!(turn.take_all().0, ["again"]);
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
