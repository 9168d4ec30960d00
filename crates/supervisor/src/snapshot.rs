//! The supervisor's own picture as plain data, for status pages and tests.

use crate::arbiter::DirtyState;
use crate::supervisor::Supervisor;
use crate::worker::WorkerState;
use crate::zygote::ZygoteState;
use crate::{Generation, Line, Pid, SlotId, Tick, UpgradeState, WorkerId};

/// Where the service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Waiting,
    /// Workers are kept up.
    Running,
    /// Workers leave.
    Stopping,
    /// `Exit` was asked for.
    Over,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Its serial number.
    pub worker: WorkerId,
    /// Its place.
    pub slot: SlotId,
    /// Its line of the scoreboard.
    pub line: Line,
    /// The code it runs.
    pub generation: Generation,
    /// Its process, once it is known.
    pub pid: Option<Pid>,
    /// When it was asked for.
    pub asked_at: Tick,
    /// It has asked to be replaced.
    pub spent: bool,
    /// Where it is in its life.
    pub state: WorkerState,
}

impl WorkerView {
    /// Whether it takes requests.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.state, WorkerState::Serving { .. })
    }
}

/// One zygote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZygoteView {
    /// The code it has loaded.
    pub generation: Generation,
    /// Its process, once it is known.
    pub pid: Option<Pid>,
    /// Where it is in its life.
    pub state: ZygoteState,
}

/// One dirty arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArbiterView {
    /// The first of the generations that it is for.
    pub generation: Generation,
    /// Its process, once it is known.
    pub pid: Option<Pid>,
    /// Where it is in its life.
    pub state: DirtyState,
}

/// The supervisor's own picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the service is in its life.
    pub phase: Phase,
    /// How many workers shall serve.
    pub wanted: u16,
    /// The generation that a reload is bringing in.
    pub reloading: Option<Generation>,
    /// How far an upgrade has come.
    pub upgrade: UpgradeState,
    /// All workers that are not gone, oldest first.
    pub workers: Vec<WorkerView>,
    /// All zygotes that are not gone, oldest first.
    pub zygotes: Vec<ZygoteView>,
    /// All dirty arbiters, oldest first; also one whose process is away.
    pub arbiters: Vec<ArbiterView>,
}

impl Snapshot {
    /// How many workers take requests.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.workers.iter().filter(|worker| worker.is_serving()).count()
    }
}

impl Supervisor {
    /// Whether this worker or dirty arbiter lives or may still come to life. What the runtime holds
    /// for one that is not known (its channel above all) can be dropped: nothing more will be asked
    /// of it.
    #[must_use]
    pub fn knows(&self, worker: WorkerId) -> bool {
        self.pool.worker(worker).is_some() || self.dirty.known_as(worker).is_some()
    }

    /// Takes the picture as it is between two events.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let workers = self.pool.workers().map(|worker| WorkerView {
            worker: worker.id,
            slot: worker.slot,
            line: worker.line,
            generation: worker.generation,
            pid: worker.pid(),
            asked_at: worker.asked_at,
            spent: worker.spent.is_some(),
            state: worker.state,
        });
        let zygotes = self.zygotes.values().map(|zygote| ZygoteView {
            generation: zygote.generation,
            pid: zygote.pid(),
            state: zygote.state,
        });
        let arbiters = self.dirty.arbiters().map(|arbiter| ArbiterView {
            generation: arbiter.edition,
            pid: arbiter.pid(),
            state: arbiter.state,
        });
        Snapshot {
            phase: self.life.phase(),
            wanted: self.wanted,
            reloading: self.reload.generation(),
            upgrade: self.upgrade,
            workers: workers.collect(),
            zygotes: zygotes.collect(),
            arbiters: arbiters.collect(),
        }
    }
}
