//! When requests fall due in the open loop: at a constant rate, whatever happens.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Arrivals {
    begun: Instant,
    per_second: f64,
    taken: u64,
}

impl Arrivals {
    pub(crate) fn new(begun: Instant, per_second: f64) -> Self {
        Self { begun, per_second, taken: 0 }
    }

    /// When the next one is due. Counted from the beginning, so that no rounding adds up.
    pub(crate) fn next_due(&self) -> Instant {
        self.begun + Duration::from_secs_f64(self.taken as f64 / self.per_second)
    }

    /// The next one, if it is due; to be called until it gives none.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next_due();
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_all_that_fell_due_meanwhile_comes_with_its_own_time() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut arrivals = Arrivals::new(begun, 100.0);
        assert_eq!(arrivals.take(begun), Some(begun));
        assert_eq!(arrivals.take(at(9)), None);
        let late: Vec<Instant> = std::iter::from_fn(|| arrivals.take(at(35))).collect();
        assert_eq!(late, [at(10), at(20), at(30)]);
        assert_eq!(arrivals.next_due(), at(40));
    }
}
