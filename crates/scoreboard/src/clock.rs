//! The clock of all processes: `CLOCK_MONOTONIC`, which has the same origin in each of them.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock.
#[must_use]
pub fn now_ns() -> u64 {
    // Cannot fail: the clock exists on every system that we run on.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists");
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0)
}
