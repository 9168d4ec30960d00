//! Draws that depend on the seed and on what they are for, never on what was drawn before.
//!
//! So a script from which one fault was taken away is the same script for everybody else, which
//! is what makes shrinking a failure possible.

use std::time::Duration;

/// What a draw is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Zygote,
    Worker,
    Request,
    Arrival,
    Fork,
    Leave,
    Thaw,
    Order,
    Heir,
    Reading,
}

/// All draws of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    pub(crate) fn of(self, subject: Subject, nth: u64) -> fastrand::Rng {
        let place = (subject as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = place ^ nth.wrapping_mul(0xd6e8_feb8_6659_fd93);
        fastrand::Rng::with_seed(self.seed.rotate_left(17) ^ place)
    }
}

/// A length between the two, both included.
pub(crate) fn between(rng: &mut fastrand::Rng, least: Duration, most: Duration) -> Duration {
    let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.u64(nanos(least)..=nanos(most).max(nanos(least))))
}

/// Milliseconds, as scripts are read by people.
pub(crate) fn millis_between(rng: &mut fastrand::Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..=most.max(least)))
}
