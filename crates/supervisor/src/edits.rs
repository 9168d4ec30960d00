//! Edits of the code that is served, while somebody works on it: when they have settled, the code is
//! loaded anew.
//!
//! An editor writes a file in several steps, and a tool several files; each of them puts the reload
//! off a little, up to a limit. What is edited while a candidate is being loaded makes that candidate
//! stale: it is given up for one that has the edit, so that code that hangs in its import can be
//! mended, too.

use crate::{Plan, Tick};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Edits {
    /// Nothing was edited since the last load began.
    #[default]
    None,
    /// More may follow until then.
    Settling { first: Tick, until: Tick },
    /// To be loaded as soon as nothing stands against it.
    Settled,
}

impl Edits {
    pub(crate) fn on_edited(&mut self, now: Tick, plan: &Plan) {
        let first = match *self {
            Self::None => now,
            Self::Settling { first, .. } => first,
            Self::Settled => return,
        };
        let until = (now + plan.edit_pause).min(first + plan.edit_patience);
        *self = Self::Settling { first, until };
    }

    pub(crate) fn let_time_pass(&mut self, now: Tick) {
        if matches!(*self, Self::Settling { until, .. } if until <= now) {
            *self = Self::Settled;
        }
    }

    pub(crate) fn next_deadline(self) -> Option<Tick> {
        match self {
            Self::Settling { until, .. } => Some(until),
            Self::None | Self::Settled => None,
        }
    }
}
