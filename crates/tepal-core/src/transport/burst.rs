//! How many datagrams to ask for when a socket becomes readable.
//!
//! The kernel says that there is one, not how many. To ask until it says "no more" costs a call for nothing, which a
//! request and its answer would pay each time; to ask once costs a turn of the loop for each datagram of a burst. So a
//! socket is believed to go on as it did: after a lone datagram one is taken, after a burst as many as come, up to
//! `MOST`, so that other jobs do not starve. Now and then a second one is asked for, to see a burst begin.

/// Datagrams taken at most for one readiness.
const MOST: u32 = 32;

/// A second datagram is asked for after so many lone ones.
const PROBE: u32 = 8;

/// So many lone datagrams end the belief in bursts.
const CALM: u32 = 4;

/// What a socket's datagrams have been like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    bursty: bool,
    /// Readinesses in a row that brought no burst.
    lone: u32,
}

impl Burst {
    /// A socket of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many datagrams to ask for now; 1 to 32.
    #[must_use]
    #[inline]
    pub fn poll_budget(&self) -> u32 {
        if self.bursty {
            MOST
        } else if self.lone % PROBE == PROBE - 1 {
            2
        } else {
            1
        }
    }

    /// So many datagrams came.
    #[inline]
    pub fn handle_received(&mut self, count: u32) {
        if count > 1 {
            *self = Self {
                bursty: true,
                lone: 0,
            };
            return;
        }
        self.lone = self.lone.wrapping_add(1);
        if self.bursty && self.lone >= CALM {
            self.bursty = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what waits until nothing does; how often the kernel was asked.
    fn drain(burst: &mut Burst, mut waiting: u32) -> (u32, u32) {
        let (mut readinesses, mut calls) = (0, 0);
        while waiting > 0 {
            readinesses += 1;
            let budget = burst.poll_budget();
            assert!((1..=MOST).contains(&budget));
            let count = budget.min(waiting);
            calls += count + u32::from(count < budget);
            waiting -= count;
            burst.handle_received(count);
        }
        (readinesses, calls)
    }

    #[test]
    fn lone_datagrams_are_asked_for_once() {
        let mut burst = Burst::new();
        let calls: u32 = (0..800).map(|_| drain(&mut burst, 1).1).sum();
        assert_eq!(calls, 900);
    }

    #[test]
    fn a_burst_is_taken_in_few_turns() {
        let mut burst = Burst::new();
        let (readinesses, _) = drain(&mut burst, 1000);
        assert!(readinesses < PROBE + 1000 / MOST + 2, "{readinesses}");
        assert_eq!(drain(&mut burst, 10), (1, 11));
    }

    #[test]
    fn calm_returns() {
        let mut burst = Burst::new();
        drain(&mut burst, 1000);
        for _ in 0..CALM {
            drain(&mut burst, 1);
        }
        assert_eq!(drain(&mut burst, 1), (1, 1));
    }
}
