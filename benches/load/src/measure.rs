//! Counting: when to stop, and what it took.

use std::time::{Duration, Instant};

use crate::args::Until;

pub(crate) struct Measure {
    until: Until,
    began: Instant,
    asked: u64,
    reads: u64,
    lost: u64,
    /// Every latency in nanoseconds. A second of the fastest server is a megabyte: no histogram needed.
    latencies: Vec<u64>,
}

impl Measure {
    pub(crate) fn begin(until: Until) -> Self {
        Self {
            until,
            began: Instant::now(),
            asked: 0,
            reads: 0,
            lost: 0,
            latencies: Vec::with_capacity(1 << 16),
        }
    }

    /// Asks leave for one more request, and counts it when given.
    pub(crate) fn may_ask(&mut self, now: Instant) -> bool {
        let more = match self.until {
            Until::Elapsed(limit) => now.duration_since(self.began) < limit,
            Until::Requests(limit) => self.asked < limit,
        };
        self.asked += u64::from(more);
        more
    }

    /// Notes an answer that is complete after so many reads: how often it came in one piece shows
    /// whether a server gathers its writes.
    pub(crate) fn note(&mut self, latency: Duration, reads: u64) {
        self.latencies
            .push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.reads += reads;
    }

    /// Notes a request that nobody answered. It is none of the requests in the record.
    pub(crate) fn note_lost(&mut self) {
        self.lost += 1;
    }

    pub(crate) fn json(mut self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        self.latencies.sort_unstable();
        let requests = self.latencies.len();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| percentile(&self.latencies, share));
        format!(
            r#"{{"requests": {requests}, "seconds": {seconds:.6}, "reads": {}, "lost": {}, "p50_us": {p50:.3}, "p99_us": {p99:.3}, "p999_us": {p999:.3}}}"#,
            self.reads, self.lost
        )
    }
}

/// The smallest latency that at least `share` of all requests did not exceed, in microseconds.
fn percentile(sorted: &[u64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is a length"
    )]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies stay far below 2^52 ns"
    )]
    sorted
        .get(rank.saturating_sub(1))
        .map_or(0.0, |&nanos| nanos as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let sorted: Vec<u64> = (1..=1000).map(|n| n * 1000).collect();
        assert_eq!(percentile(&sorted, 0.5), 500.0);
        assert_eq!(percentile(&sorted, 0.99), 990.0);
        assert_eq!(percentile(&sorted, 0.999), 999.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(percentile(&[7000], 0.999), 7.0);
    }

    #[test]
    fn a_number_of_requests_is_exact() {
        let mut measure = Measure::begin(Until::Requests(2));
        let now = Instant::now();
        assert!(measure.may_ask(now));
        assert!(measure.may_ask(now));
        assert!(!measure.may_ask(now));
    }
}
