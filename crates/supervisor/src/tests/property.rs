//! Random worlds. A model of the kernel keeps the rules that the kernel keeps (a process exits
//! once, a number is taken by one process at a time); everything else may happen in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::driver::{lines_differ, millis, secs};
use crate::reload::Reload;
use crate::supervisor::Life;
use crate::zygote::Zygote;
use crate::{
    Action, BootFailure, Ending, Event, Generation, Order, Phase, Pid, Plan, Signal, Supervisor,
    Tick, Wish, WorkerId,
};

/// Who a process of the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Zygote(Generation),
    Worker(WorkerId),
    Stranger,
}

struct World {
    supervisor: Supervisor,
    now: Tick,
    living: BTreeMap<Pid, Who>,
    /// Living, and bound to exit: killed, drained or told so.
    leaving: BTreeSet<Pid>,
    /// Zygotes and forks asked for and not answered.
    zygotes_asked: Vec<Generation>,
    forks_asked: Vec<(WorkerId, Generation)>,
    /// Forked, but the answer is still on its way.
    answers: Vec<(WorkerId, Pid)>,
    exit: Option<u8>,
    highest: i32,
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = Self {
            supervisor: Supervisor::new(plan),
            now: Tick(1),
            living: BTreeMap::new(),
            leaving: BTreeSet::new(),
            zygotes_asked: Vec::new(),
            forks_asked: Vec::new(),
            answers: Vec::new(),
            exit: None,
            highest: 1,
        };
        world.give(Event::Start);
        world
    }

    /// The lowest free number, so that numbers are used again as soon as can be. While an answer
    /// is owed even our kernel does not: a number alone could not tell two processes apart then,
    /// and real kernels go through all numbers before they use one again.
    fn new_process(&mut self, who: Who) -> Pid {
        let lowest = if self.supervisor.is_owed_a_pid() { self.highest + 1 } else { 2 };
        let pid = (lowest..).map(Pid).find(|pid| !self.living.contains_key(pid)).unwrap();
        self.highest = self.highest.max(pid.0);
        self.living.insert(pid, who);
        pid
    }

    fn give(&mut self, event: Event) {
        let before = self.supervisor.clone();
        let mut out = Vec::new();
        self.supervisor.handle(self.now, event.clone(), &mut out);
        if self.exit.is_some() {
            assert_eq!(out, [], "after the exit");
        }
        for action in out {
            self.perform(&action, &before, &event);
        }
        self.check();
    }

    fn perform(&mut self, action: &Action, before: &Supervisor, event: &Event) {
        let was_stopping = matches!(before.life, Life::Stopping(_));
        match *action {
            Action::StartZygote { generation } => {
                assert!(!was_stopping, "zygote started while stopping, by {event:?}");
                self.zygotes_asked.push(generation);
            }
            Action::Fork { generation, worker, .. } => {
                assert!(!was_stopping, "fork while stopping, by {event:?}");
                let zygotes = self.supervisor.zygotes.values();
                let newest = zygotes.filter(|z| z.is_ready()).map(|z| z.generation).max();
                assert_eq!(newest, Some(generation), "forked from an old generation");
                self.forks_asked.push((worker, generation));
            }
            Action::Send { pid, signal } => {
                assert!(self.living.contains_key(&pid), "{signal:?} to the reaped {pid:?}");
                assert_ne!(self.living[&pid], Who::Stranger, "{signal:?} to a stranger");
                if signal == Signal::Kill {
                    self.leaving.insert(pid);
                }
            }
            Action::Tell { worker, order: Order::Drain | Order::DrainQueue } => {
                let pid = self.pid_of(Who::Worker(worker)).expect("a living worker is told");
                self.check_relief(worker);
                self.leaving.insert(pid);
            }
            Action::RetireZygote { generation } => {
                let pid = self.pid_of(Who::Zygote(generation)).expect("a living zygote retires");
                self.leaving.insert(pid);
            }
            Action::DumpStacks { pid, .. } => assert!(self.living.contains_key(&pid)),
            Action::Exit { status } => self.exit = Some(status),
            Action::Tell { .. } | Action::CloseGate | Action::ReopenLogs | Action::Report(_) => {}
        }
    }

    /// Nobody is replaced before the successor serves in the same slot; a slot that went away in
    /// the same step, because a queued reload brought the planned number back, needs none.
    fn check_relief(&self, id: WorkerId) {
        let worker = self.supervisor.pool.worker(id).expect("it drains");
        if worker.is_relieved() && matches!(self.supervisor.life, Life::Running) {
            let seats = self.supervisor.pool.seats(self.supervisor.wanted);
            let seat = seats.get(usize::from(worker.slot.0));
            assert!(seat.is_none_or(|seat| seat.serving.is_some()), "nobody relieves {worker:?}");
        }
    }

    fn pid_of(&self, who: Who) -> Option<Pid> {
        self.living.iter().find(|(_, known)| **known == who).map(|(pid, _)| *pid)
    }

    fn check(&self) {
        let supervisor = &self.supervisor;
        let view = supervisor.snapshot();
        assert!(lines_differ(&view), "{view:?}");
        let booting = supervisor.zygotes.values().filter(|zygote| zygote.is_booting()).count();
        assert!(booting <= 1, "two zygotes boot: {view:?}");
        let counted = supervisor
            .pool
            .workers()
            .filter(|w| w.is_under_way() || w.is_serving() || w.is_relieved())
            .count();
        let most = usize::from(supervisor.wanted + supervisor.plan.max_surge);
        if view.phase == Phase::Running {
            assert!(counted <= most, "{counted} > {most}: {view:?}");
        }
    }

    /// Ticks as the runtime does; each must bring the deadline nearer to the future.
    fn tick_until(&mut self, end: Tick) {
        let mut ticks_at_once = 0;
        while let Some(at) = self.supervisor.next_deadline().filter(|&at| at <= end) {
            ticks_at_once = if at <= self.now { ticks_at_once + 1 } else { 0 };
            assert!(ticks_at_once < 20, "busy loop: {:?}", self.supervisor.snapshot());
            self.now = at.max(self.now);
            self.give(Event::Tick);
        }
        self.now = end.max(self.now);
    }

    fn reap(&mut self, pid: Pid, ending: Ending) {
        if let Some(&Who::Zygote(generation)) = self.living.get(&pid) {
            // The runtime reads a channel to its end before it reports the exit, so forks that
            // were made have been answered; those that were not never will be.
            self.forks_asked.retain(|&(_, of)| of != generation);
            for (worker, pid) in std::mem::take(&mut self.answers) {
                self.give(Event::Forked { worker, pid });
            }
        }
        self.living.remove(&pid);
        self.leaving.remove(&pid);
        self.give(Event::Exited { pid, ending });
    }

    fn any<T: Clone>(from: impl IntoIterator<Item = T>, pick: u16) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        (!all.is_empty()).then(|| all[usize::from(pick) % all.len()].clone())
    }

    fn step(&mut self, kind: u8, pick: u16) {
        let pids: Vec<Pid> = self.living.keys().copied().collect();
        let workers: Vec<WorkerId> = self
            .living
            .values()
            .filter_map(|who| if let Who::Worker(worker) = who { Some(*worker) } else { None })
            .collect();
        match kind {
            0..=1 => self.answer_zygote(pick),
            2..=4 => self.zygote_speaks(pick),
            5..=8 => self.fork_one(pick),
            9..=11 => self.deliver_answer(pick),
            12..=16 => {
                if let Some(worker) = Self::any(workers, pick) {
                    self.give(Event::WorkerReady { worker });
                }
            }
            17 => {
                if let Some(worker) = Self::any(workers, pick) {
                    self.give(Event::WorkerSpent { worker });
                }
            }
            18 => {
                if let Some(worker) = Self::any(workers, pick) {
                    let back = secs(u64::from(pick % 60));
                    let since = Tick(self.now.0.saturating_sub(back.as_nanos() as u64));
                    self.give(Event::Sampled { worker, standing_since: Some(since) });
                }
            }
            19 => {
                if let Some(pid) = Self::any(pids, pick) {
                    self.reap(pid, Ending::Exited(i32::from(pick % 5)));
                }
            }
            20..=24 => {
                if let Some(pid) = Self::any(self.leaving.clone(), pick) {
                    self.reap(pid, Ending::Signaled(9));
                }
            }
            25 => {
                let wishes = [
                    Wish::Reload,
                    Wish::MoreWorkers,
                    Wish::FewerWorkers,
                    Wish::ReopenLogs,
                    Wish::Reload,
                ];
                self.give(Event::Asked(wishes[usize::from(pick) % wishes.len()]));
            }
            26 => {
                let pid = self.new_process(Who::Stranger);
                self.reap(pid, Ending::Exited(0));
            }
            27 => self.tick_until(self.now + millis(u64::from(pick))),
            28 => self.tick_until(self.now + secs(u64::from(pick % 400))),
            _ => self.garbage(pick),
        }
    }

    fn answer_zygote(&mut self, pick: u16) {
        if self.zygotes_asked.is_empty() {
            return;
        }
        let generation = self.zygotes_asked.remove(0);
        if pick.is_multiple_of(16) {
            self.give(Event::ZygoteSpawnFailed { generation });
        } else {
            let pid = self.new_process(Who::Zygote(generation));
            self.give(Event::ZygoteSpawned { generation, pid });
        }
    }

    fn zygote_speaks(&mut self, pick: u16) {
        let living = self.living.values();
        let zygotes = living.filter_map(|w| if let Who::Zygote(g) = w { Some(*g) } else { None });
        let Some(generation) = Self::any(zygotes.collect::<Vec<_>>(), pick / 16) else { return };
        if pick.is_multiple_of(16) {
            self.give(Event::ZygoteFailed { generation, failure: BootFailure::Import });
        } else {
            self.give(Event::ZygoteReady { generation });
        }
    }

    fn fork_one(&mut self, pick: u16) {
        if self.forks_asked.is_empty() {
            return;
        }
        let (worker, generation) = self.forks_asked.remove(0);
        if self.pid_of(Who::Zygote(generation)).is_none() {
            return;
        }
        if pick.is_multiple_of(16) {
            self.give(Event::ForkFailed { worker });
        } else {
            let pid = self.new_process(Who::Worker(worker));
            self.answers.push((worker, pid));
        }
    }

    fn deliver_answer(&mut self, pick: u16) {
        if !self.answers.is_empty() {
            let at = usize::from(pick) % self.answers.len();
            let (worker, pid) = self.answers.remove(at);
            self.give(Event::Forked { worker, pid });
        }
    }

    /// Words about what does not exist, or exists no more.
    fn garbage(&mut self, pick: u16) {
        let worker = WorkerId(1000 + u64::from(pick));
        let generation = Generation(1000 + u32::from(pick));
        let events = [
            Event::WorkerReady { worker },
            Event::WorkerSpent { worker },
            Event::ForkFailed { worker },
            Event::Sampled { worker, standing_since: Some(Tick(0)) },
            Event::ZygoteReady { generation },
            Event::ZygoteFailed { generation, failure: BootFailure::App },
            Event::ZygoteSpawnFailed { generation },
            Event::Start,
            Event::Tick,
        ];
        self.give(events[usize::from(pick) % events.len()].clone());
    }

    /// A kernel and an app without fault, for long enough.
    fn be_kind(&mut self) {
        for _ in 0..2000 {
            if self.exit.is_some() || self.is_at_rest() {
                return;
            }
            while !self.zygotes_asked.is_empty() {
                self.answer_zygote(1);
            }
            while !self.forks_asked.is_empty() {
                self.fork_one(1);
            }
            while !self.answers.is_empty() {
                self.deliver_answer(0);
            }
            for who in self.living.values().copied().collect::<Vec<_>>() {
                match who {
                    Who::Zygote(generation) => self.give(Event::ZygoteReady { generation }),
                    Who::Worker(worker) => self.give(Event::WorkerReady { worker }),
                    Who::Stranger => {}
                }
            }
            while let Some(pid) = self.leaving.first().copied() {
                self.reap(pid, Ending::Exited(0));
            }
            self.tick_until(self.now + secs(1));
        }
        panic!("never at rest: {:?}", self.supervisor.snapshot());
    }

    /// What is wanted is there, and nothing else.
    fn is_at_rest(&self) -> bool {
        let supervisor = &self.supervisor;
        let workers: Vec<_> = supervisor.pool.workers().collect();
        matches!(supervisor.life, Life::Running)
            && supervisor.reload == Reload::Idle
            && !supervisor.reload_queued
            && workers.len() == usize::from(supervisor.wanted)
            && workers.iter().all(|worker| worker.is_serving() && !worker.spent)
            && supervisor.zygotes.values().filter(|z| z.is_ready()).count() == 1
            && supervisor.zygotes.values().all(Zygote::is_ready)
    }
}

fn some_plan() -> impl Strategy<Value = Plan> {
    (1..5u16, 1..3u16, any::<u64>()).prop_map(|(workers, max_surge, seed)| Plan {
        workers,
        workers_max: 6,
        max_surge,
        max_requests: 100,
        max_requests_jitter: 10,
        seed,
        ..Plan::default()
    })
}

fn some_steps() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((0..31u8, any::<u16>()), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_a_kind_world_gets_the_service_it_wants(
        plan in some_plan(), steps in some_steps(),
    ) {
        let mut world = World::new(plan);
        for (kind, pick) in steps {
            world.step(kind, pick);
        }
        world.be_kind();
        if world.exit.is_some() {
            let over = !world.supervisor.worker_was_ever_ready();
            prop_assert!(over, "an app that had once run ended the master");
        }
    }

    #[test]
    fn whatever_happened_a_stop_ends_within_its_bound(
        plan in some_plan(), steps in some_steps(), is_quit in any::<bool>(),
        afterwards in prop::collection::vec((0..30u8, any::<u16>()), 0..40),
    ) {
        let mut world = World::new(plan.clone());
        for (kind, pick) in steps {
            world.step(kind, pick);
        }
        let begun = world.now;
        world.give(Event::Asked(if is_quit { Wish::Quit } else { Wish::Stop }));
        for (kind, pick) in afterwards {
            if !(27..=28).contains(&kind) {
                world.step(kind, pick);
            }
        }
        let bound = if is_quit { plan.abort_grace } else { plan.graceful_timeout };
        world.tick_until(begun + bound + plan.abort_grace);
        prop_assert!(world.exit.is_some(), "{:?}", world.supervisor.snapshot());
        prop_assert_eq!(world.supervisor.next_deadline(), None);
    }

    #[test]
    fn the_same_events_give_the_same_actions(plan in some_plan(), steps in some_steps()) {
        let run = || {
            let mut world = World::new(plan.clone());
            steps.iter().for_each(|&(kind, pick)| world.step(kind, pick));
            world.supervisor.snapshot()
        };
        prop_assert_eq!(run(), run());
    }
}
