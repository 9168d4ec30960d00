//! The world around a supervisor: a clock that tests set, and processes that obey by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{
    Action, BootFailure, DirtyState, Ending, Event, Generation, Line, Notice, Order, Phase, Pid,
    Plan, Sample, Signal, SlotId, Snapshot, Standing, Supervisor, Tick, Wish, WorkerId,
    WorkerState, WorkerView,
};

pub(crate) const CRASH: Ending = Ending::Signaled(11);
pub(crate) const KILLED: Ending = Ending::Signaled(9);
pub(crate) const CLEAN: Ending = Ending::Exited(0);

/// Times that make the arithmetic of tests readable; jitter is left to the tests that want it.
pub(crate) fn plan() -> Plan {
    Plan { workers: 2, workers_max: 8, ..Plan::default() }
}

pub(crate) fn secs(length: u64) -> Duration {
    Duration::from_secs(length)
}

pub(crate) fn millis(length: u64) -> Duration {
    Duration::from_millis(length)
}

pub(crate) struct Driver {
    pub(crate) supervisor: Supervisor,
    pub(crate) now: Tick,
    /// Actions since the last `take`.
    out: Vec<Action>,
    /// What was published since the last `published`.
    published: Vec<Standing>,
    next_pid: i32,
}

impl Driver {
    pub(crate) fn new(plan: Plan) -> Self {
        let supervisor = Supervisor::new(plan);
        Self { supervisor, now: Tick(0), out: Vec::new(), published: Vec::new(), next_pid: 100 }
    }

    /// Started, all workers ready, actions so far forgotten.
    pub(crate) fn serving(plan: Plan) -> Self {
        let mut driver = Self::new(plan);
        driver.give(Event::Start);
        driver.zygote_ready(1);
        driver.boot_all();
        driver.take();
        driver
    }

    /// The same, and the workers have had a stable life.
    pub(crate) fn settled(plan: Plan) -> Self {
        let mut driver = Self::serving(plan);
        driver.pass(secs(60));
        driver
    }

    pub(crate) fn give(&mut self, event: Event) {
        self.supervisor.handle(self.now, event, &mut self.out);
    }

    pub(crate) fn ask(&mut self, wish: Wish) {
        self.give(Event::Asked(wish));
    }

    /// Under which number each dirty arbiter in these actions was asked for, and of which zygote.
    pub(crate) fn forks_of_arbiters(actions: &[Action]) -> Vec<(u64, u32)> {
        let fork = |action: &Action| match action {
            Action::ForkDirty { worker, generation } => Some((worker.0, generation.0)),
            _ => None,
        };
        actions.iter().filter_map(fork).collect()
    }

    /// States of all dirty arbiters, by the first of their generations.
    pub(crate) fn arbiters(&self) -> Vec<(u32, DirtyState)> {
        let view = self.snapshot();
        view.arbiters.iter().map(|view| (view.generation.0, view.state)).collect()
    }

    /// Actions since the last call.
    pub(crate) fn take(&mut self) -> Vec<Action> {
        self.sort_out_what_is_published();
        std::mem::take(&mut self.out)
    }

    /// What was published since the last call.
    pub(crate) fn published(&mut self) -> Vec<Standing> {
        self.sort_out_what_is_published();
        std::mem::take(&mut self.published)
    }

    fn sort_out_what_is_published(&mut self) {
        let published = self.out.extract_if(.., |action| matches!(action, Action::Publish(_)));
        self.published.extend(published.filter_map(|action| match action {
            Action::Publish(standing) => Some(standing),
            _ => None,
        }));
    }

    /// Lets time pass, with a tick at each deadline on the way, as the runtime does.
    pub(crate) fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(at) = self.supervisor.next_deadline().filter(|&at| at <= end) {
            self.now = at.max(self.now);
            self.give(Event::Tick);
        }
        self.now = end;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.supervisor.snapshot()
    }

    fn pid(&mut self) -> Pid {
        self.next_pid += 1;
        Pid(self.next_pid)
    }

    pub(crate) fn zygote_spawned(&mut self, generation: u32) -> Pid {
        let pid = self.pid();
        self.give(Event::ZygoteSpawned { generation: Generation(generation), pid });
        pid
    }

    pub(crate) fn zygote_ready(&mut self, generation: u32) -> Pid {
        let pid = self.zygote_spawned(generation);
        self.give(Event::ZygoteReady { generation: Generation(generation) });
        pid
    }

    pub(crate) fn zygote_failed(&mut self, generation: u32, failure: BootFailure) {
        self.give(Event::ZygoteFailed { generation: Generation(generation), failure });
    }

    pub(crate) fn forked(&mut self, worker: u64) -> Pid {
        let pid = self.pid();
        self.give(Event::Forked { worker: WorkerId(worker), pid });
        pid
    }

    pub(crate) fn ready(&mut self, worker: u64) {
        self.give(Event::WorkerReady { worker: WorkerId(worker) });
    }

    pub(crate) fn boot(&mut self, worker: u64) -> Pid {
        let pid = self.forked(worker);
        self.ready(worker);
        pid
    }

    /// Answers every fork that is asked for, until none is; nobody becomes ready.
    pub(crate) fn fork_all(&mut self) {
        let is_asked_for = |view: &WorkerView| matches!(view.state, WorkerState::Forking { .. });
        while let Some(view) = self.snapshot().workers.into_iter().find(is_asked_for) {
            self.forked(view.worker.0);
        }
    }

    /// Answers every fork and lets every worker become ready, until none is under way.
    pub(crate) fn boot_all(&mut self) {
        while let Some(worker) = self.under_way().first().copied() {
            if self.pid_of(worker).is_none() {
                self.forked(worker);
            }
            self.ready(worker);
        }
    }

    /// Lets drained and killed workers go and new ones come, until nothing moves.
    pub(crate) fn churn(&mut self) {
        for _ in 0..200 {
            let leaving = |state: &WorkerState| {
                matches!(state, WorkerState::Draining { .. } | WorkerState::Dying { .. })
            };
            let view = self.snapshot();
            let gone = view.workers.iter().find(|worker| leaving(&worker.state));
            if let Some(worker) = gone {
                self.exit(worker.worker.0, CLEAN);
            } else if self.under_way().is_empty() {
                return;
            } else {
                self.boot_all();
            }
        }
        panic!("never comes to rest: {:?}", self.snapshot());
    }

    pub(crate) fn exit(&mut self, worker: u64, ending: Ending) {
        let pid = self.pid_of(worker).expect("the worker has a process");
        self.give(Event::Exited { pid, ending });
    }

    pub(crate) fn exit_zygote(&mut self, generation: u32, ending: Ending) {
        let zygotes = self.snapshot().zygotes;
        let zygote = zygotes.iter().find(|zygote| zygote.generation == Generation(generation));
        let pid = zygote.and_then(|zygote| zygote.pid).expect("the zygote has a process");
        self.give(Event::Exited { pid, ending });
    }

    pub(crate) fn drains(&mut self, worker: u64) {
        self.give(Event::WorkerDrains { worker: WorkerId(worker) });
    }

    pub(crate) fn spent(&mut self, worker: u64) {
        self.give(Event::WorkerSpent { worker: WorkerId(worker) });
    }

    pub(crate) fn standing(&mut self, worker: u64, since: Tick) {
        let sample = Sample { standing_since: Some(since), ..Sample::default() };
        self.give(Event::Sampled { worker: WorkerId(worker), sample });
    }

    pub(crate) fn state(&self, worker: u64) -> Option<WorkerState> {
        let view = self.snapshot();
        view.workers.iter().find(|view| view.worker.0 == worker).map(|view| view.state)
    }

    pub(crate) fn pid_of(&self, worker: u64) -> Option<Pid> {
        let view = self.snapshot();
        view.workers.iter().find(|view| view.worker.0 == worker).and_then(|view| view.pid)
    }

    pub(crate) fn under_way(&self) -> Vec<u64> {
        let on_its_way = |state: &WorkerState| {
            matches!(state, WorkerState::Forking { .. } | WorkerState::Booting { .. })
        };
        let view = self.snapshot();
        view.workers.iter().filter(|v| on_its_way(&v.state)).map(|v| v.worker.0).collect()
    }

    /// The workers that serve.
    pub(crate) fn serving_workers(&self) -> Vec<u64> {
        let view = self.snapshot();
        view.workers.iter().filter(|view| view.is_serving()).map(|view| view.worker.0).collect()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.snapshot().phase
    }
}

/// (worker, slot, generation) of every fork asked for.
pub(crate) fn forks(actions: &[Action]) -> Vec<(u64, u16, u32)> {
    let fork = |action: &Action| match action {
        Action::Fork { generation, worker, slot, .. } => Some((worker.0, slot.0, generation.0)),
        _ => None,
    };
    actions.iter().filter_map(fork).collect()
}

pub(crate) fn notices(actions: &[Action]) -> Vec<Notice> {
    let notice = |action: &Action| match action {
        Action::Report(notice) => Some(notice.clone()),
        _ => None,
    };
    actions.iter().filter_map(notice).collect()
}

/// What workers were told, but that they shall serve.
pub(crate) fn told(actions: &[Action]) -> Vec<(u64, Order)> {
    let order = |action: &Action| match action {
        Action::Tell { order: Order::Serve, .. } => None,
        Action::Tell { worker, order } => Some((worker.0, *order)),
        _ => None,
    };
    actions.iter().filter_map(order).collect()
}

/// Who was told to serve.
pub(crate) fn told_to_serve(actions: &[Action]) -> Vec<u64> {
    let served = |action: &Action| match action {
        Action::Tell { worker, order: Order::Serve } => Some(worker.0),
        _ => None,
    };
    actions.iter().filter_map(served).collect()
}

pub(crate) fn sent(actions: &[Action]) -> Vec<(Pid, Signal)> {
    let signal = |action: &Action| match action {
        Action::Send { pid, signal } => Some((*pid, *signal)),
        _ => None,
    };
    actions.iter().filter_map(signal).collect()
}

pub(crate) fn exit_status(actions: &[Action]) -> Option<u8> {
    actions.iter().find_map(|action| match action {
        Action::Exit { status } => Some(*status),
        _ => None,
    })
}

/// No two living workers write to the same line.
pub(crate) fn lines_differ(view: &Snapshot) -> bool {
    let lines: BTreeSet<Line> = view.workers.iter().map(|worker| worker.line).collect();
    lines.len() == view.workers.len()
}

/// Slots of the workers that serve, in order.
pub(crate) fn serving_slots(view: &Snapshot) -> Vec<SlotId> {
    let mut slots: Vec<_> =
        view.workers.iter().filter(|worker| worker.is_serving()).map(|w| w.slot).collect();
    slots.sort();
    slots
}
