//! What has been asked of a task.
//!
//! asyncio's cancellation is an edge: a request is thrown into the task once, at its next step, and is over then. Beside it stands a
//! count of the requests, by which whoever asked can tell its own from another's (`Task.cancelling`, `Task.uncancel`).

/// The requests for cancellation that a task has been given.
///
/// Two facts that change apart: how many requests are not withdrawn, and whether one is still to be thrown. A request that reached
/// what the task waits for is counted and not due: it comes back as the outcome of that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancellation {
    requests: u32,
    due: bool,
}

impl Cancellation {
    /// Nothing has been asked.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            requests: 0,
            due: false,
        }
    }

    /// Counts a request. The caller now tries to cancel what the task waits for, and calls [`Cancellation::defer`] if
    /// there is nothing, or nothing that can be.
    pub fn request(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }

    /// The request is to be thrown at the task's next step.
    pub fn defer(&mut self) {
        self.due = true;
    }

    /// Whether a request is to be thrown at the next step.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.due
    }

    /// Whether a request is to be thrown, which is done with this answer.
    #[must_use]
    pub fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }

    /// How many requests are not withdrawn.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Takes one request back and says how many are left. With `clears`, the last one takes what is due with it (CPython 3.13 and
    /// newer); otherwise what is due is thrown all the same.
    pub fn withdraw(&mut self, clears: bool) -> u32 {
        if self.requests > 0 {
            self.requests -= 1;
            if self.requests == 0 && clears {
                self.due = false;
            }
        }
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_thrown_once_and_stays_counted() {
        let mut asked = Cancellation::default();
        asked.request();
        asked.defer();
        assert!(asked.take_due());
        assert!(!asked.take_due());
        assert_eq!(asked.requests(), 1);
    }

    #[test]
    fn the_last_withdrawal_takes_what_is_due_where_the_interpreter_does() {
        for clears in [false, true] {
            let mut asked = Cancellation::default();
            asked.request();
            asked.request();
            asked.defer();
            assert_eq!(asked.withdraw(clears), 1);
            assert!(asked.is_due());
            assert_eq!(asked.withdraw(clears), 0);
            assert_eq!(asked.is_due(), !clears);
            assert_eq!(asked.withdraw(clears), 0);
        }
    }

    proptest! {
        /// The count is that of the requests less the withdrawals that found one, in any order of calls.
        #[test]
        fn the_count_is_kept(calls in prop::collection::vec(0u8..4, 0..200)) {
            let (mut asked, mut count, mut due) = (Cancellation::default(), 0u32, false);
            for call in calls {
                match call {
                    0 => { asked.request(); count += 1; }
                    1 => { asked.defer(); due = true; }
                    2 => { prop_assert_eq!(asked.take_due(), due); due = false; }
                    _ => {
                        due &= count != 1;
                        count = count.saturating_sub(1);
                        prop_assert_eq!(asked.withdraw(true), count);
                    }
                }
                prop_assert_eq!(asked.requests(), count);
                prop_assert_eq!(asked.is_due(), due);
            }
        }
    }
}
