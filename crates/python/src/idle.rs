//! Giving memory back when a worker has nothing to do.
//!
//! malloc keeps what large responses have freed, between pieces that are still in use. With every
//! request it would cost time to look for it; in a quiet moment it costs nobody anything.

use std::cell::Cell;
use std::time::Duration;

/// Whoever gets a request every few seconds would pay for each of them.
const APART: Duration = Duration::from_secs(30);

/// When memory was given back, and after how many requests.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// Requests at the last look.
    seen: Cell<u64>,
    /// Requests at the last time.
    trimmed: Cell<u64>,
    /// When that was; in nanoseconds.
    at: Cell<u64>,
}

impl Idle {
    /// Whether now is such a moment: since the last look, about a second ago, nothing was served,
    /// and something was before.
    pub(crate) fn is_time_to_trim(&self, served: u64, now_ns: u64) -> bool {
        let is_quiet = self.seen.replace(served) == served && served != self.trimmed.get();
        let is_first = self.at.get() == 0;
        let apart = now_ns.saturating_sub(self.at.get());
        if !is_quiet || (!is_first && apart < APART.as_nanos() as u64) {
            return false;
        }
        self.trimmed.set(served);
        self.at.set(now_ns);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_work_and_not_too_often() {
        let idle = Idle::default();
        let looks = [
            // (second, requests served, whether it is time)
            (1, 0, false),
            (2, 5, false),
            (3, 5, true),
            (4, 5, false),
            (5, 6, false),
            (6, 6, false),
            (32, 6, false),
            (33, 6, true),
            (90, 6, false),
            (91, 7, false),
            (92, 8, false),
            (93, 8, true),
        ];
        for (second, served, expected) in looks {
            let now = second * 1_000_000_000;
            assert_eq!(idle.is_time_to_trim(served, now), expected, "second {second}");
        }
    }
}
