//! How far a reload has come. It always ends, in done or given up.
//!
//! ```text
//!           begin             zygote ready           first worker ready
//!   Idle ──────────▶ Loading ──────────────▶ Trying ───────────────────▶ Rolling ──▶ Idle (done)
//!    ▲                  │ failed, lost          │ lost, 3 deaths             │ 3 deaths in a row
//!    └──────────────────┴───────────────────────┴─────── given up ───────────┘
//! ```
//!
//! An edit of the code while it is `Loading` or `Trying` overtakes it: `Idle`, and begun again.
//!
//! The old generation's zygote is kept until `Rolling`: an app can import well and still fail in
//! every worker, and then there must be something to go back to. What stands after a reload was
//! given up while it was rolling is a pool of both generations, which serves; the reload still
//! ends there, so that a queued one, with mended code, gets its turn.

use crate::{Generation, Tick};

/// So many workers of the new generation may die in a row before they are ready.
const DEATHS_MAX: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reload {
    /// None is under way.
    #[default]
    Idle,
    /// The candidate zygote boots.
    Loading { generation: Generation, since: Tick },
    /// The candidate is ready; none of its workers has been so far.
    Trying { generation: Generation, since: Tick, deaths: u8 },
    /// It runs; the old workers are replaced one after another.
    Rolling { generation: Generation, since: Tick, deaths: u8 },
}

impl Reload {
    pub(crate) fn is_idle(self) -> bool {
        self == Self::Idle
    }

    pub(crate) fn is_loading(self) -> bool {
        matches!(self, Self::Loading { .. })
    }

    pub(crate) fn is_trying(self) -> bool {
        matches!(self, Self::Trying { .. })
    }

    pub(crate) fn is_rolling(self) -> bool {
        matches!(self, Self::Rolling { .. })
    }

    /// The generation that is being loaded.
    pub(crate) fn generation(self) -> Option<Generation> {
        match self {
            Self::Idle => None,
            Self::Loading { generation, .. }
            | Self::Trying { generation, .. }
            | Self::Rolling { generation, .. } => Some(generation),
        }
    }

    /// Workers older than this are to be replaced.
    pub(crate) fn oldest_wanted(self) -> Option<Generation> {
        match self {
            Self::Idle | Self::Loading { .. } => None,
            Self::Trying { generation, .. } | Self::Rolling { generation, .. } => Some(generation),
        }
    }

    pub(crate) fn on_zygote_ready(&mut self, ready: Generation) {
        if let Self::Loading { generation, since } = *self
            && generation == ready
        {
            *self = Self::Trying { generation, since, deaths: 0 };
        }
    }

    pub(crate) fn on_worker_ready(&mut self, ready: Generation) {
        if let Self::Trying { generation, since, .. } | Self::Rolling { generation, since, .. } =
            *self
            && ready >= generation
        {
            *self = Self::Rolling { generation, since, deaths: 0 };
        }
    }

    /// Counts a worker that died before it was ready; true when it was one too many.
    pub(crate) fn counts_out(&mut self, dead: Generation) -> bool {
        match self {
            Self::Trying { generation, deaths, .. } | Self::Rolling { generation, deaths, .. }
                if dead >= *generation =>
            {
                *deaths += 1;
                *deaths >= DEATHS_MAX
            }
            _ => false,
        }
    }
}
