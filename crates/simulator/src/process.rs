//! One process of the model, and what it has in mind.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use remuda_supervisor::{Ending, Generation, Pid, Plan, Tick, WorkerId};

use crate::fault::{Code, DirtyFault, HeirFault, WorkerFault, ZygoteFault};

/// A process, however often its number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(pub(crate) u64);

/// One process, living or not yet reaped.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Who it is.
    pub(crate) serial: Serial,
    /// Its number.
    pub(crate) pid: Pid,
    /// What it is for.
    pub(crate) role: Role,
    /// How it ended; it is not reaped yet.
    pub(crate) ended: Option<Ending>,
    /// It stands still until then.
    pub(crate) stopped_until: Tick,
    /// How long it sleeps in the kernel before KILL takes effect.
    pub(crate) kill_takes: Duration,
    /// What the master did to it, and when.
    pub(crate) told: Told,
}

/// What the master did to a process, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// To drain, by channel; also when the word was lost.
    pub(crate) drain: Option<Tick>,
    /// QUIT.
    pub(crate) quit: Option<Tick>,
    /// To dump its stacks.
    pub(crate) dump: Option<Tick>,
    /// ABRT.
    pub(crate) abort: Option<Tick>,
    /// KILL.
    pub(crate) kill: Option<Tick>,
    /// Its channel was closed.
    pub(crate) farewell: Option<Tick>,
}

impl Told {
    /// The master counts on it no more.
    pub(crate) fn is_leaving(&self) -> bool {
        *self != Self { dump: self.dump, ..Self::default() } || self.dump.is_some()
    }
}

/// What a process is for.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Is forked from.
    Zygote(ZygoteLife),
    /// Serves.
    Worker(Box<WorkerLife>),
    /// Runs long jobs.
    Dirty(DirtyLife),
    /// A new master, which will serve in our stead.
    Heir {
        fault: Option<HeirFault>,
        /// It has said that it serves.
        is_ready: bool,
    },
    /// Somebody's orphan, or a program that a worker started.
    Stranger {
        /// The worker whose process group it is in.
        leader: Option<Serial>,
    },
}

/// What a dirty arbiter has in mind.
#[derive(Clone, Debug)]
pub(crate) struct DirtyLife {
    /// Under which it was asked for.
    pub(crate) id: WorkerId,
    pub(crate) faults: Vec<DirtyFault>,
    /// It waits for the master's word that it may begin.
    pub(crate) waits: bool,
}

/// What a zygote has in mind.
#[derive(Clone, Debug)]
pub(crate) struct ZygoteLife {
    /// Its number.
    pub(crate) generation: Generation,
    /// What it was told, once it was.
    pub(crate) plan: Option<Box<Plan>>,
    /// What it has loaded, or loads.
    pub(crate) code: Code,
    pub(crate) faults: Vec<ZygoteFault>,
    pub(crate) ready: bool,
    pub(crate) requests: VecDeque<ForkRequest>,
    pub(crate) forking: Option<ForkRequest>,
    pub(crate) forks: u64,
    pub(crate) retired: bool,
}

/// One fork that a zygote was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkRequest {
    pub(crate) worker: WorkerId,
    pub(crate) max_requests: u64,
    /// Not a worker, but a dirty arbiter.
    pub(crate) is_dirty: bool,
}

/// How much a worker takes from the accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Nothing before the master's word.
    NotYet,
    /// Whatever comes.
    All,
    /// What waits already; then it leaves.
    Queue,
    /// Nothing more.
    Nothing,
}

/// What a worker has in mind.
#[derive(Clone, Debug)]
pub(crate) struct WorkerLife {
    /// Its number.
    pub(crate) id: WorkerId,
    /// What its zygote was told.
    pub(crate) plan: Box<Plan>,
    pub(crate) code: Code,
    pub(crate) faults: Vec<WorkerFault>,
    /// It waits for the master's word that it may begin.
    pub(crate) waits: bool,
    /// Since when it could take requests.
    pub(crate) ready_at: Option<Tick>,
    /// What it takes from the queue.
    pub(crate) accepts: Accepts,
    /// It has said that it accepts nothing more.
    pub(crate) told_so: bool,
    pub(crate) leaving: bool,
    /// Requests inside.
    pub(crate) requests: BTreeMap<u64, InFlight>,
    pub(crate) begun: u64,
    pub(crate) served: u64,
    pub(crate) max_requests: u64,
    /// Since when its whole loop hangs.
    pub(crate) loop_hung_since: Option<Tick>,
    /// Requests that were done while the loop hung.
    pub(crate) stalled: Vec<u64>,
    /// The last time that it stood still with the machine, and when its loop came round again.
    pub(crate) thaw: Option<(Tick, Tick)>,
}

/// One request inside a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// When it began.
    pub(crate) began: Tick,
    /// It never ends; `true` = in C code.
    pub(crate) hangs: Option<bool>,
}

impl Process {
    /// Whether it runs or stands; false for a zombie.
    #[must_use]
    pub(crate) fn is_alive(&self) -> bool {
        self.ended.is_none()
    }

    /// What it has in mind as a worker.
    #[must_use]
    pub(crate) fn worker(&self) -> Option<&WorkerLife> {
        match &self.role {
            Role::Worker(life) => Some(life),
            Role::Zygote(_) | Role::Dirty(_) | Role::Heir { .. } | Role::Stranger { .. } => None,
        }
    }

    pub(crate) fn worker_mut(&mut self) -> Option<&mut WorkerLife> {
        match &mut self.role {
            Role::Worker(life) => Some(life),
            Role::Zygote(_) | Role::Dirty(_) | Role::Heir { .. } | Role::Stranger { .. } => None,
        }
    }

    /// What it has in mind as a zygote.
    #[must_use]
    pub(crate) fn zygote(&self) -> Option<&ZygoteLife> {
        match &self.role {
            Role::Zygote(life) => Some(life),
            Role::Worker(_) | Role::Dirty(_) | Role::Heir { .. } | Role::Stranger { .. } => None,
        }
    }

    pub(crate) fn zygote_mut(&mut self) -> Option<&mut ZygoteLife> {
        match &mut self.role {
            Role::Zygote(life) => Some(life),
            Role::Worker(_) | Role::Dirty(_) | Role::Heir { .. } | Role::Stranger { .. } => None,
        }
    }
}

impl WorkerLife {
    /// How often its loop comes round.
    pub(crate) fn beat_period(&self) -> Duration {
        let second = Duration::from_secs(1);
        self.plan.watched().map_or(second, |(shortest, _)| second.min(shortest / 4))
    }

    pub(crate) fn has(&self, fault: WorkerFault) -> bool {
        self.faults.contains(&fault)
    }

    /// It can look at its channel and its requests now.
    pub(crate) fn is_awake(&self, is_sync: bool) -> bool {
        let is_busy = is_sync && !self.requests.is_empty();
        self.ready_at.is_some() && !is_busy && self.loop_hung_since.is_none()
    }
}
