//! The loop's clock.

use rustix::time::{ClockId, clock_getres, clock_gettime};

/// Seconds on the monotonic clock, the one `time.monotonic()` reads.
#[inline]
#[must_use]
pub fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// A time not after [`now`], and mostly not before it by more than the kernel's tick (some milliseconds), at a sixth of the cost: what the
/// kernel wrote down at its last tick.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
#[must_use]
pub fn about_now() -> f64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// A time not after [`now`]; here it is that.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[inline]
#[must_use]
pub fn about_now() -> f64 {
    now()
}

/// The clock's resolution in seconds.
#[must_use]
pub fn resolution() -> f64 {
    let time = clock_getres(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
