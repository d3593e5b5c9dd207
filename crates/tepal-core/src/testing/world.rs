//! A scripted world under whole turns of the loop: virtual time that jumps, events that come when the script says.

use crate::turn::{Turn, Wait};
use std::collections::BTreeMap;

/// What a job does when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write its name into the log.
    Log(&'static str),
    /// Log, then make another job ready.
    Then(&'static str, Box<Action>),
    /// Log, then schedule another job so many milliseconds later.
    After(&'static str, u32, Box<Action>),
}

/// Turns the loop over virtual time.
///
/// # Examples
///
/// ```
/// use tepal_core::testing::{Action, World};
///
/// let mut world = World::new();
/// world.event_at(20, Action::Log("readable"));
/// world.schedule(Action::After("begin", 10, Box::new(Action::Log("timer"))));
/// world.run();
/// assert_eq!(world.log(), [(0, "begin"), (10, "timer"), (20, "readable")]);
/// ```
#[derive(Debug, Default)]
pub struct World {
    turn: Turn<Action>,
    /// The clock, in milliseconds: whole numbers, so that logs compare exactly.
    now: u32,
    events: BTreeMap<u32, Vec<Action>>,
    log: Vec<(u32, &'static str)>,
}

impl World {
    /// A world at time 0 in which nothing happens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The kernel will report this at `at` milliseconds.
    pub fn event_at(&mut self, at: u32, action: Action) {
        self.events.entry(at).or_default().push(action);
    }

    /// Makes a job ready.
    pub fn schedule(&mut self, action: Action) {
        self.turn.schedule(action);
    }

    /// Turns the loop until nothing is ready, scheduled or scripted.
    pub fn run(&mut self) {
        loop {
            let wait = self.turn.poll_wait(self.seconds());
            match wait {
                Wait::Skip => {}
                Wait::Look => self.poll_events(),
                Wait::Until(deadline) => {
                    let deadline = (deadline * 1e3).round() as u32;
                    let next = self.events.keys().next().copied().unwrap_or(deadline);
                    self.now = self.now.max(next.min(deadline));
                    self.poll_events();
                }
                Wait::Forever => {
                    let Some(next) = self.events.keys().next().copied() else {
                        return;
                    };
                    self.now = self.now.max(next);
                    self.poll_events();
                }
            }
            self.turn.handle_time(self.seconds());
            self.turn.begin();
            while let Some(action) = self.turn.poll_job() {
                self.act(action);
            }
        }
    }

    /// What was logged, with the milliseconds at which it was.
    #[must_use]
    pub fn log(&self) -> &[(u32, &'static str)] {
        &self.log
    }

    fn seconds(&self) -> f64 {
        f64::from(self.now) / 1e3
    }

    fn poll_events(&mut self) {
        let later = self.events.split_off(&(self.now + 1));
        for action in std::mem::replace(&mut self.events, later)
            .into_values()
            .flatten()
        {
            self.turn.schedule(action);
        }
        self.turn.handle_polled(self.seconds());
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Log(name) => self.log.push((self.now, name)),
            Action::Then(name, next) => {
                self.log.push((self.now, name));
                self.turn.schedule(*next);
            }
            Action::After(name, delay, next) => {
                self.log.push((self.now, name));
                let deadline = f64::from(self.now + delay) / 1e3;
                self.turn.schedule_at(deadline, *next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::JOBS_PER_LOOK;

    #[test]
    fn jobs_then_events_then_timers() {
        let mut world = World::new();
        world.event_at(10, Action::Log("event"));
        world.schedule(Action::After("begin", 10, Box::new(Action::Log("timer"))));
        world.run();
        assert_eq!(world.log(), [(0, "begin"), (10, "event"), (10, "timer")]);
    }

    #[test]
    fn a_busy_loop_does_not_starve_events() {
        let mut world = World::new();
        let mut chain = Action::Log("end");
        for _ in 0..10 * JOBS_PER_LOOK {
            chain = Action::Then("spin", Box::new(chain));
        }
        world.schedule(chain);
        world.run_until_busy_event();
    }

    impl World {
        /// An event that is there from the start is seen before the chain ends, though time stands still.
        fn run_until_busy_event(&mut self) {
            self.turn.handle_polled(0.0); // the look of the run's start is past
            self.event_at(0, Action::Log("event"));
            self.run();
            let names: Vec<_> = self.log.iter().map(|(_, name)| *name).collect();
            let seen = names
                .iter()
                .position(|name| *name == "event")
                .expect("the event was seen");
            assert!(
                seen <= JOBS_PER_LOOK as usize + 1,
                "seen only after {seen} jobs"
            );
        }
    }
}
