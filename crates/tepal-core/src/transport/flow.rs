//! Flow control of a transport's write side: high and low water, and who was told.
//!
//! The rule is asyncio's (`WriteTransport.set_write_buffer_limits`): the protocol is paused once when the buffer
//! rises above the high mark, and resumed once when it has drained to the low mark.

/// What the protocol must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FlowEvent {
    /// Nothing.
    None,
    /// `pause_writing()`.
    Pause,
    /// `resume_writing()`.
    Resume,
}

/// The limits make no sense: `high >= low` does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsError {
    /// The high mark that was asked for, in bytes.
    pub high: usize,
    /// The low mark that was asked for, in bytes.
    pub low: usize,
}

/// High and low water of one write buffer.
///
/// Invariant: `low <= high`; between two `Pause` there is a `Resume` (`pauses_and_resumes_alternate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowControl {
    high: usize,
    low: usize,
    default_high: usize,
    paused: bool,
}

/// High water when nobody asks for another, in bytes.
const DEFAULT_HIGH: usize = 64 * 1024;

impl FlowControl {
    /// asyncio's defaults: 64 KiB, and a quarter of it.
    #[must_use]
    pub fn new() -> Self {
        Self::with_default(DEFAULT_HIGH)
    }

    /// Another high mark when nobody asks for one, in bytes, and a quarter of it.
    #[must_use]
    pub fn with_default(high: usize) -> Self {
        Self {
            high,
            low: high / 4,
            default_high: high,
            paused: false,
        }
    }

    /// The marks, `(low, high)`, in bytes.
    #[must_use]
    pub fn limits(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    /// The high mark, in bytes.
    #[must_use]
    #[inline]
    pub fn high(&self) -> usize {
        self.high
    }

    /// Whether the protocol was told to pause.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Sets the marks; a missing one follows from the other as asyncio has it (low is a quarter of high, high is
    /// four times low).
    ///
    /// # Errors
    ///
    /// When `high >= low` would not hold. The marks are then unchanged.
    pub fn set_limits(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), LimitsError> {
        let high =
            high.unwrap_or_else(|| low.map_or(self.default_high, |low| low.saturating_mul(4)));
        let low = low.unwrap_or(high / 4);
        if high < low {
            return Err(LimitsError { high, low });
        }
        self.high = high;
        self.low = low;
        Ok(())
    }

    /// The buffer grew, or the marks moved.
    #[inline]
    pub fn handle_grown(&mut self, buffered: usize) -> FlowEvent {
        if self.paused || buffered <= self.high {
            return FlowEvent::None;
        }
        self.paused = true;
        FlowEvent::Pause
    }

    /// The buffer drained.
    #[inline]
    pub fn handle_drained(&mut self, buffered: usize) -> FlowEvent {
        if !self.paused || buffered > self.low {
            return FlowEvent::None;
        }
        self.paused = false;
        FlowEvent::Resume
    }
}

impl Default for FlowControl {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn missing_marks_follow_the_other() {
        let mut flow = FlowControl::new();
        flow.set_limits(Some(1024), None).unwrap();
        assert_eq!(flow.limits(), (256, 1024));
        flow.set_limits(None, Some(100)).unwrap();
        assert_eq!(flow.limits(), (100, 400));
        flow.set_limits(None, None).unwrap();
        assert_eq!(flow.limits(), (16 * 1024, 64 * 1024));
        let wrong = flow.set_limits(Some(1), Some(2));
        assert_eq!(wrong, Err(LimitsError { high: 1, low: 2 }));
        assert_eq!(flow.limits(), (16 * 1024, 64 * 1024));
    }

    proptest! {
        #[test]
        fn pauses_and_resumes_alternate(sizes in prop::collection::vec(0usize..200_000, 0..200)) {
            let mut flow = FlowControl::new();
            let mut paused = false;
            let mut before = 0;
            for size in sizes {
                let event = if size > before { flow.handle_grown(size) } else { flow.handle_drained(size) };
                before = size;
                match event {
                    FlowEvent::Pause => { prop_assert!(!paused && size > flow.high()); paused = true; }
                    FlowEvent::Resume => { prop_assert!(paused && size <= flow.limits().0); paused = false; }
                    FlowEvent::None => {}
                }
                prop_assert_eq!(paused, flow.is_paused());
            }
        }
    }
}
