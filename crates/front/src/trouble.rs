//! Lack of room, as an operator wants to read of it: once when it begins, now and then while it
//! lasts, and once when it is over.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

/// What there is to say of a trouble.
#[derive(Debug)]
pub enum Shortage {
    /// It begins, or still lasts: the latest error, and how often it came since it was told.
    Lasts {
        /// Of the kernel.
        error: io::Error,
        /// At least 1.
        failures: u64,
    },
    /// It was quiet for a while.
    Over,
}

/// One kind of trouble.
#[derive(Debug, Default)]
pub(crate) struct Trouble(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    /// Since it was told.
    failures: u64,
    error: Option<io::Error>,
    /// Nanoseconds of the loop's clock; `None` = all is well.
    told_at: Option<u64>,
    failed_at: u64,
}

/// While it lasts it is told this often.
const AGAIN: Duration = Duration::from_secs(60);
/// So long without a failure, and it is over.
const QUIET: Duration = Duration::from_secs(5);

impl Trouble {
    pub(crate) fn fail(&self, error: io::Error, now: u64) {
        let mut state = self.0.borrow_mut();
        state.failures += 1;
        state.error = Some(error);
        state.failed_at = now;
    }

    /// What is to be told now, if anything.
    pub(crate) fn take(&self, now: u64) -> Option<Shortage> {
        let mut state = self.0.borrow_mut();
        let since = |at: u64| Duration::from_nanos(now.saturating_sub(at));
        let is_due = state.told_at.is_none_or(|at| since(at) >= AGAIN);
        if is_due && let Some(error) = state.error.take() {
            state.told_at = Some(now);
            return Some(Shortage::Lasts { error, failures: std::mem::take(&mut state.failures) });
        }
        if state.told_at.is_some() && since(state.failed_at) >= QUIET {
            *state = State::default();
            return Some(Shortage::Over);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> u64 {
        (1000 + seconds) * 1_000_000_000
    }

    #[test]
    fn a_trouble_is_told_when_it_begins_while_it_lasts_and_when_it_is_over() {
        let trouble = Trouble::default();
        assert!(trouble.take(at(0)).is_none());
        let mut told = Vec::new();
        for second in 0..100 {
            for _ in 0..1000 {
                trouble.fail(io::Error::from_raw_os_error(24), at(second));
            }
            told.extend(trouble.take(at(second)));
        }
        let counts: Vec<_> = told
            .iter()
            .map(|told| match told {
                Shortage::Lasts { failures, .. } => *failures,
                Shortage::Over => 0,
            })
            .collect();
        assert_eq!(counts, [1000, 60_000]);
        assert!(trouble.take(at(103)).is_none());
        assert!(matches!(trouble.take(at(104)), Some(Shortage::Over)));
        assert!(trouble.take(at(200)).is_none());
        trouble.fail(io::Error::from_raw_os_error(24), at(300));
        assert!(matches!(trouble.take(at(300)), Some(Shortage::Lasts { failures: 1, .. })));
    }
}
