//! The loop's clock.

use rustix::time::{ClockId, clock_getres, clock_gettime};

/// Seconds on the monotonic clock, the one `time.monotonic()` reads.
#[inline]
#[must_use]
pub fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The clock's resolution in seconds.
#[must_use]
pub fn resolution() -> f64 {
    let time = clock_getres(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
