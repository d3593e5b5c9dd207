//! Restarting children: Erlang's strategies, how often is too often, and how long to wait before.
//!
//! [`Restarts::add`] numbers a child, in the order in which they begin; [`Restarts::handle_end`] is told of an end that nobody asked for, and
//! decides. What it decides is a pure function of what it was told (`tests::a_decision_names_each_child_once_and_in_order`).

use std::collections::VecDeque;

/// Which others an unasked end concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// All.
    OneForAll,
    /// Those that began after it.
    RestForOne,
}

/// Which ends of a child are answered by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// All.
    Permanent,
    /// Failures.
    Transient,
    /// None.
    Temporary,
}

/// How long to wait before a restart: `first` seconds, and so many times as long at each further one within the time, up to `most`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Seconds before the first restart.
    pub first: f64,
    /// By how much it grows.
    pub factor: f64,
    /// Seconds at most.
    pub most: f64,
}

impl Backoff {
    /// Seconds before the restart that is the `count`th within the time.
    fn delay(&self, count: usize) -> f64 {
        let exponent = i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX);
        (self.first * self.factor.powi(exponent)).min(self.most)
    }
}

/// What is to be done about an end.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Decision {
    /// Nothing: the child has ended.
    Leave,
    /// Nothing more: it happened too often, and the supervisor ends.
    GiveUp,
    /// Stop these, in this order; then, after so many seconds, begin those.
    Restart {
        /// Others that run, last begun first.
        stop: Vec<usize>,
        /// In the order in which they began.
        begin: Vec<usize>,
        /// Seconds.
        after: f64,
    },
}

/// The children of a supervisor, and how often they were restarted.
#[derive(Debug)]
pub struct Restarts {
    strategy: Strategy,
    limit: usize,
    within: f64,
    backoff: Backoff,
    /// When restarts were decided, as far as they count.
    times: VecDeque<f64>,
    /// By number; `None` when it has ended for good.
    children: Vec<Option<Restart>>,
}

impl Restarts {
    /// No children yet; more than `limit` restarts `within` so many seconds are too many.
    #[must_use]
    pub const fn new(strategy: Strategy, limit: usize, within: f64, backoff: Backoff) -> Self {
        Self {
            strategy,
            limit,
            within,
            backoff,
            times: VecDeque::new(),
            children: Vec::new(),
        }
    }

    /// A child begins; its number.
    pub fn add(&mut self, restart: Restart) -> usize {
        self.children.push(Some(restart));
        self.children.len() - 1
    }

    /// A child has ended for good, because somebody asked for it.
    pub fn remove(&mut self, child: usize) {
        if let Some(place) = self.children.get_mut(child) {
            *place = None;
        }
    }

    /// A child has ended, and nobody asked for it.
    pub fn handle_end(&mut self, child: usize, failed: bool, now: f64) -> Decision {
        let restarts = match self.children.get(child).copied().flatten() {
            Some(Restart::Permanent) => true,
            Some(Restart::Transient) => failed,
            Some(Restart::Temporary) | None => false,
        };
        if !restarts {
            self.remove(child);
            return Decision::Leave;
        }
        while self
            .times
            .front()
            .is_some_and(|time| now - time > self.within)
        {
            self.times.pop_front();
        }
        self.times.push_back(now);
        if self.times.len() > self.limit {
            return Decision::GiveUp;
        }
        let from = match self.strategy {
            Strategy::OneForOne => child..child + 1,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => child..self.children.len(),
        };
        let concerned: Vec<usize> = from
            .filter(|other| self.children[*other].is_some())
            .collect();
        let stop = concerned.iter().rev().copied();
        let stop = stop.filter(|other| *other != child).collect();
        let is_temporary = |other: &usize| self.children[*other] == Some(Restart::Temporary);
        let (gone, begin): (Vec<usize>, Vec<usize>) = concerned.into_iter().partition(is_temporary);
        for other in gone {
            self.remove(other);
        }
        Decision::Restart {
            stop,
            begin,
            after: self.backoff.delay(self.times.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Strategy, *};
    use proptest::prelude::*;

    const AT_ONCE: Backoff = Backoff {
        first: 0.0,
        factor: 2.0,
        most: 10.0,
    };

    fn restart(stop: &[usize], begin: &[usize]) -> Decision {
        Decision::Restart {
            stop: stop.to_vec(),
            begin: begin.to_vec(),
            after: 0.0,
        }
    }

    fn three(strategy: Strategy) -> Restarts {
        let mut restarts = Restarts::new(strategy, 10, 5.0, AT_ONCE);
        for kind in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let _number: usize = restarts.add(kind);
        }
        restarts
    }

    #[test]
    fn who_is_restarted_when() {
        let mut restarts = three(Strategy::OneForOne);
        assert_eq!(restarts.handle_end(0, false, 0.0), restart(&[], &[0]));
        assert_eq!(restarts.handle_end(1, true, 0.0), restart(&[], &[1]));
        assert_eq!(restarts.handle_end(1, false, 0.0), Decision::Leave);
        assert_eq!(restarts.handle_end(1, true, 0.0), Decision::Leave, "gone");
        assert_eq!(restarts.handle_end(2, true, 0.0), Decision::Leave);
    }

    #[test]
    fn whom_it_concerns() {
        let mut restarts = three(Strategy::OneForAll);
        assert_eq!(restarts.handle_end(1, true, 0.0), restart(&[2, 0], &[0, 1]));
        assert_eq!(restarts.handle_end(1, true, 0.0), restart(&[0], &[0, 1]));
        let mut restarts = three(Strategy::RestForOne);
        assert_eq!(restarts.handle_end(1, true, 0.0), restart(&[2], &[1]));
        assert_eq!(restarts.handle_end(0, true, 0.0), restart(&[1], &[0, 1]));
    }

    #[test]
    fn too_often_is_too_often() {
        let backoff = Backoff {
            first: 1.0,
            ..AT_ONCE
        };
        let mut restarts = Restarts::new(Strategy::OneForOne, 2, 5.0, backoff);
        let child = restarts.add(Restart::Permanent);
        let mut after = |now| match restarts.handle_end(child, true, now) {
            Decision::Restart { after, .. } => Some(after),
            Decision::Leave | Decision::GiveUp => None,
        };
        assert_eq!(after(0.0), Some(1.0));
        assert_eq!(after(1.0), Some(2.0));
        assert_eq!(after(6.5), Some(1.0), "those are forgotten");
        assert_eq!(after(7.0), Some(2.0));
        assert_eq!(after(7.5), None);
    }

    proptest! {
        /// Whatever happens: who is to stop runs, who is to begin has ended or is to stop, nobody is named twice, the orders hold.
        #[test]
        fn a_decision_names_each_child_once_and_in_order(
            strategy in prop::sample::select(vec![Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]),
            kinds in prop::collection::vec(prop::sample::select(vec![Restart::Permanent, Restart::Transient, Restart::Temporary]), 1..8),
            ends in prop::collection::vec((0usize..8, any::<bool>()), 0..40)
        ) {
            let mut restarts = Restarts::new(strategy, usize::MAX, 1.0, AT_ONCE);
            for kind in &kinds {
                let _number: usize = restarts.add(*kind);
            }
            let mut running = vec![true; kinds.len()];
            for (child, failed) in ends {
                let child = child % kinds.len();
                if !running[child] { continue; }
                running[child] = false;
                match restarts.handle_end(child, failed, 0.0) {
                    Decision::GiveUp => prop_assert!(false),
                    Decision::Leave => {
                        prop_assert!(kinds[child] == Restart::Temporary || (kinds[child] == Restart::Transient && !failed));
                    }
                    Decision::Restart { stop, begin, .. } => {
                        prop_assert!(stop.windows(2).all(|pair| pair[0] > pair[1]));
                        prop_assert!(begin.windows(2).all(|pair| pair[0] < pair[1]));
                        prop_assert!(begin.contains(&child));
                        for other in &stop {
                            prop_assert!(std::mem::replace(&mut running[*other], false));
                        }
                        for other in &begin {
                            prop_assert!(!std::mem::replace(&mut running[*other], true));
                            prop_assert!(kinds[*other] != Restart::Temporary);
                        }
                    }
                }
            }
        }
    }
}
