//! What must hold after every step, one file each. Each is the mistake of some other supervisor;
//! the numbers are those of the list in `docs/reliability.md`.

mod backoff;
mod capacity;
mod crash_loop;
mod deadlines;
mod dirty;
mod end;
mod garbage;
mod gate;
mod grace;
mod left_behind;
mod lines;
mod log;
mod memory;
mod newest_generation;
mod processes;
mod progress;
mod reload_ends;
mod requests;
mod rest;
mod rolling;
mod room;
mod settings;
mod shortage;
mod stop;
mod targets;
mod untouched;
mod upgrade;
mod zygote_loss;

use std::collections::BTreeMap;
use std::fmt;

use remuda_supervisor::{
    Action, Event, Generation, Notice, Order, Phase, Plan, SlotId, Snapshot, Tick, WorkerId,
    WorkerView,
};

use crate::kernel::Kernel;
use crate::script::Script;

/// One event, what was asked because of it, and the world in which nothing of that is done yet.
pub(crate) struct Step<'a> {
    pub(crate) now: Tick,
    pub(crate) event: &'a Event,
    pub(crate) actions: &'a [Action],
    pub(crate) before: &'a Snapshot,
    pub(crate) after: &'a Snapshot,
    pub(crate) next_deadline: Option<Tick>,
    pub(crate) script: &'a Script,
    /// What was in force since when, without what this step brings.
    pub(crate) plans: &'a [(Tick, Plan)],
    /// What was read for a generation.
    pub(crate) read: &'a BTreeMap<Generation, Plan>,
    pub(crate) kernel: &'a Kernel,
    /// The master had exited before this step.
    pub(crate) is_over: bool,
}

/// The world when nothing more happens by itself.
pub(crate) struct State<'a> {
    pub(crate) now: Tick,
    pub(crate) view: &'a Snapshot,
    pub(crate) kernel: &'a Kernel,
    pub(crate) exit: Option<u8>,
    pub(crate) waiting: usize,
    /// The settings ask for dirty workers.
    pub(crate) has_dirty: bool,
}

/// Something that never happens did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
    /// When.
    pub at: Tick,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Watches one thing, step by step.
pub(crate) trait Invariant {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation>;
}

/// All that look at every step, in the order of the list.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(capacity::Capacity::default()),
        Box::new(processes::Processes::default()),
        Box::new(newest_generation::NewestGeneration::default()),
        Box::new(reload_ends::ReloadEnds::default()),
        Box::new(progress::Progress::default()),
        Box::new(untouched::Untouched::default()),
        Box::new(memory::Memory::default()),
        // Before those that judge a stop: whether it goes on is said here.
        Box::new(upgrade::Upgrade::default()),
        Box::new(targets::Targets),
        Box::new(grace::Grace::default()),
        Box::new(backoff::Backoff::default()),
        Box::new(stop::Stop::default()),
        Box::new(zygote_loss::ZygoteLoss),
        Box::new(gate::Gate::default()),
        Box::new(garbage::Garbage),
        Box::new(requests::Requests),
        Box::new(lines::Lines),
        Box::new(deadlines::Deadlines::default()),
        Box::new(log::Log::default()),
        Box::new(crash_loop::CrashLoop::default()),
        Box::new(shortage::Shortage::default()),
        Box::new(settings::Settings::default()),
        Box::new(dirty::Dirty::default()),
    ]
}

/// Judges a service that had time enough, good code and no faults.
pub(crate) fn at_rest(state: &State<'_>) -> Result<(), Violation> {
    rest::check(state)?;
    dirty::check_rest(state)?;
    upgrade::check_rest(state)?;
    left_behind::check_running(state)
}

/// Judges a service that was told to end.
pub(crate) fn at_end(state: &State<'_>) -> Result<(), Violation> {
    stop::check_end(state)
}

impl<'a> Step<'a> {
    /// It is above a hard limit of memory, so there is no time for a grace.
    pub(crate) fn takes_too_much(&self, id: WorkerId) -> bool {
        self.notices().any(
            |notice| matches!(notice, Notice::WorkerFarTooLarge { worker, .. } if *worker == id),
        )
    }

    pub(crate) fn violation(&self, invariant: &'static str, what: String) -> Violation {
        Violation { invariant, what, at: self.now }
    }

    /// What counts after this step.
    pub(crate) fn plan(&self) -> &'a Plan {
        let before = self.plans.last().map_or(&self.script.plan, |(_, plan)| plan);
        self.adopted().and_then(|generation| self.read.get(&generation)).unwrap_or(before)
    }

    /// All that has counted since then.
    pub(crate) fn plans_since(&self, at: Tick) -> impl Iterator<Item = &'a Plan> {
        crate::settings::since(self.plans, at).chain([self.plan()])
    }

    /// The generation whose settings count from this step on.
    pub(crate) fn adopted(&self) -> Option<Generation> {
        self.actions.iter().find_map(|action| match *action {
            Action::Adopt { generation } => Some(generation),
            _ => None,
        })
    }

    /// What was read for the generation that is being tried, if its settings do not count yet.
    pub(crate) fn plan_of(&self, generation: Generation) -> &'a Plan {
        let own = self.read.get(&generation).filter(|_| self.after.reloading == Some(generation));
        own.unwrap_or_else(|| self.plan())
    }

    pub(crate) fn notices(&self) -> impl Iterator<Item = &'a Notice> + use<'a> {
        self.actions.iter().filter_map(|action| match action {
            Action::Report(notice) => Some(notice),
            _ => None,
        })
    }

    /// The workers that are told to drain in this step.
    pub(crate) fn told_to_drain(&self) -> impl Iterator<Item = (WorkerId, Order)> + use<'a> {
        self.actions.iter().filter_map(|action| match *action {
            Action::Tell { order: Order::Serve | Order::Reopen, .. } => None,
            Action::Tell { worker, order } => Some((worker, order)),
            _ => None,
        })
    }

    /// Slots that are closed in this step, and the generation that they are closed for.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (SlotId, Generation)> {
        self.notices().filter_map(|notice| {
            let Notice::SlotClosed { slot, pid } = *notice else { return None };
            let exited = self.notices().find_map(|notice| match *notice {
                Notice::WorkerExited { worker, pid: of, .. } if of == pid => Some(worker),
                _ => None,
            });
            Some((slot, self.was(exited?)?.generation))
        })
    }

    /// The service ran before this step, and does after it.
    pub(crate) fn is_running(&self) -> bool {
        self.before.phase == Phase::Running && self.after.phase == Phase::Running
    }

    pub(crate) fn was(&self, id: WorkerId) -> Option<&'a WorkerView> {
        find(self.before, id)
    }

    pub(crate) fn is(&self, id: WorkerId) -> Option<&'a WorkerView> {
        find(self.after, id)
    }
}

impl State<'_> {
    pub(crate) fn violation(&self, invariant: &'static str, what: String) -> Violation {
        Violation { invariant, what, at: self.now }
    }
}

fn find(view: &Snapshot, id: WorkerId) -> Option<&WorkerView> {
    view.workers.iter().find(|worker| worker.worker == id)
}

/// On its way to serve.
pub(crate) fn is_under_way(worker: &WorkerView) -> bool {
    use remuda_supervisor::WorkerState::{Booting, Forking};
    matches!(worker.state, Forking { .. } | Booting { .. })
}
