//! A zygote that was asked to learn: workers import late what the zygote has not, each for itself,
//! and say so. A while after the first word of it the app is loaded once more, with all of that
//! imported before the fork, and the workers are replaced as in any other reload.
//!
//! Once only: what is learned afterwards counts at the next reload that an operator asks for.

use std::time::Duration;

use crate::{Plan, Tick};

/// For fewer modules a reload is not worth while.
const MODULES_MIN: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Nothing was learned that would be worth it.
    #[default]
    Unneeded,
    /// More may be learned until then.
    Due(Tick),
    /// As soon as nothing else is under way.
    Now,
    /// It has been.
    Done,
}

impl Refresh {
    /// Workers have imported so many modules that the zygote has not.
    pub(crate) fn on_learned(&mut self, modules: u32, now: Tick, plan: &Plan) {
        let after: Option<Duration> = plan.refresh_after;
        if let Some(after) = after
            && *self == Self::Unneeded
            && modules >= MODULES_MIN
        {
            *self = Self::Due(now + after);
        }
    }

    pub(crate) fn let_time_pass(&mut self, now: Tick) {
        if matches!(*self, Self::Due(at) if at <= now) {
            *self = Self::Now;
        }
    }

    pub(crate) fn next_deadline(self) -> Option<Tick> {
        match self {
            Self::Due(at) => Some(at),
            Self::Unneeded | Self::Now | Self::Done => None,
        }
    }
}
