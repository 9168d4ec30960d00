//! The supervisor: takes events, knows the whole, gives actions.
//!
//! Routes each event to the worker or zygote it is about (`worker`, `zygote`), draws the
//! conclusions that concern the whole service, then lets `settle` bring the pool to what is
//! wanted. It does no I/O and reads no clock: the same events at the same ticks with the same
//! plan always give the same actions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::arbiter::{DirtyInput, DirtyState};
use crate::arbiters::Dirty;
use crate::backoff::Backoff;
use crate::edits::Edits;
use crate::intensity::{Intensity, Summary};
use crate::memory::Memory;
use crate::pool::Pool;
use crate::random::Random;
use crate::refresh::Refresh;
use crate::reload::Reload;
use crate::shortage::{self, Shortage};
use crate::standstill::Standstill;
use crate::stop::{Due, Stop};
use crate::strangers::{Latest, Strangers};
use crate::upgrade::{UpgradeInput, UpgradeState};
use crate::worker::{Input, Worker, WorkerState};
use crate::zygote::{NO_RETRY_STATUS, Zygote, ZygoteInput, failure_of};
use crate::{
    Action, BootFailure, Cause, Ending, Event, Generation, Notice, Order, Phase, Pid, Plan, Reason,
    Refusal, Sample, Signal, SlotId, Standing, Stood, Tick, Wish, WorkerId,
};

/// Where the service is in its life.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    Waiting,
    Running,
    Stopping(Stop),
    Over,
}

impl Life {
    pub(crate) fn phase(self) -> Phase {
        match self {
            Self::Waiting => Phase::Waiting,
            Self::Running => Phase::Running,
            Self::Stopping(_) => Phase::Stopping,
            Self::Over => Phase::Over,
        }
    }
}

/// Makes all decisions of the master.
#[derive(Clone, Debug)]
pub struct Supervisor {
    pub(crate) plan: Plan,
    pub(crate) life: Life,
    pub(crate) wanted: u16,
    pub(crate) pool: Pool,
    pub(crate) zygotes: BTreeMap<Generation, Zygote>,
    pub(crate) dirty: Dirty,
    pub(crate) next_generation: Generation,
    pub(crate) zygote_backoff: Backoff,
    pub(crate) intensity: Intensity,
    pub(crate) shortage: Shortage,
    pub(crate) reload: Reload,
    pub(crate) reload_queued: bool,
    /// While a reload that was asked for has yet to succeed: how many workers were wanted then.
    pub(crate) asked_with: Option<u16>,
    pub(crate) refresh: Refresh,
    pub(crate) edits: Edits,
    pub(crate) memory: Memory,
    pub(crate) upgrade: UpgradeState,
    /// Another master serves beside us, and will leave for us.
    is_heir: bool,
    /// What was published last.
    pub(crate) told: Option<Standing>,
    /// The watchdog is fed then.
    pub(crate) next_feed: Tick,
    /// What counts once the generation that is being loaded serves.
    pub(crate) next_plan: Option<Plan>,
    /// Killed processes whose worker or zygote was given up before we knew them.
    pub(crate) strays: BTreeSet<Pid>,
    pub(crate) strangers: Strangers,
    pub(crate) random: Random,
    /// `Serving` has been reported.
    pub(crate) announced: bool,
    standstill: Standstill,
    pub(crate) zygote_ever_ready: bool,
    pub(crate) worker_ever_ready: bool,
}

impl Supervisor {
    /// A supervisor that waits for [`Event::Start`].
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            wanted: plan.workers.max(1),
            random: Random::new(plan.seed),
            life: Life::Waiting,
            pool: Pool::new(&plan),
            zygotes: BTreeMap::new(),
            dirty: Dirty::default(),
            next_generation: Generation(1),
            zygote_backoff: Backoff::default(),
            intensity: Intensity::default(),
            shortage: Shortage::default(),
            reload: Reload::Idle,
            reload_queued: false,
            asked_with: None,
            refresh: Refresh::default(),
            edits: Edits::default(),
            memory: Memory::default(),
            upgrade: UpgradeState::Idle,
            is_heir: plan.is_heir,
            told: None,
            next_feed: Tick::default(),
            next_plan: None,
            strays: BTreeSet::new(),
            strangers: Strangers::default(),
            announced: false,
            standstill: Standstill::default(),
            zygote_ever_ready: false,
            worker_ever_ready: false,
            plan,
        }
    }

    /// Applies one event, and pushes what the runtime has to do because of it, in order.
    ///
    /// After [`Action::Exit`] nothing is ever pushed again.
    pub fn handle(&mut self, now: Tick, event: Event, out: &mut Vec<Action>) {
        if matches!(self.life, Life::Over) {
            return;
        }
        self.standstill.observe(now, self.plan.watched());
        match event {
            Event::Start => self.on_start(out),
            Event::Tick => self.on_tick(now, out),
            Event::ZygoteSpawned { generation, pid } => {
                self.on_zygote_spawned(generation, pid, now, out);
            }
            Event::ZygoteSpawnFailed { generation, refusal } => {
                self.step_zygote(generation, ZygoteInput::SpawnFailed(refusal), now, out);
            }
            Event::ZygoteReady { generation } => {
                self.step_zygote(generation, ZygoteInput::Ready, now, out);
            }
            Event::ZygoteFailed { generation, failure } => {
                self.step_zygote(generation, ZygoteInput::Failed(failure), now, out);
            }
            Event::Forked { worker, pid } => self.on_forked(worker, pid, now, out),
            Event::ForkFailed { worker, refusal } => {
                self.on_fork_failed(worker, refusal, now, out);
            }
            Event::WorkerReady { worker } => self.step_worker(worker, Input::Ready, now, out),
            Event::WorkerSpent { worker } => {
                self.step_worker(worker, Input::Spent(Cause::Recycle), now, out)
            }
            Event::WorkerDrains { worker } => self.step_worker(worker, Input::Drains, now, out),
            Event::Sampled { worker, sample } => {
                // Most events are samples of workers that are well; nothing follows from them.
                if !self.judge(worker, sample, now, out) {
                    return;
                }
            }
            Event::Measured { workers, total } => self.on_measured(&workers, total, now, out),
            Event::Learned { modules } => self.refresh.on_learned(modules, now, &self.plan),
            Event::Edited => self.on_edited(now),
            Event::UpgradeSpawned { pid } => {
                self.step_upgrade(UpgradeInput::Spawned(pid), now, out);
            }
            Event::UpgradeSpawnFailed => self.step_upgrade(UpgradeInput::SpawnFailed, now, out),
            Event::UpgradeReady { pid } => self.on_upgrade_ready(pid, now, out),
            Event::Promoted => {
                if std::mem::take(&mut self.is_heir) {
                    out.push(Action::Report(Notice::Promoted));
                }
            }
            Event::Exited { pid, ending } => self.on_exited(pid, ending, now, out),
            Event::Asked(wish) => self.on_asked(wish, now, out),
            Event::Replanned { generation, plan } => {
                self.on_replanned(generation, *plan, now, out);
            }
        }
        self.pool.let_time_pass(now);
        self.zygote_backoff.let_time_pass(now);
        self.intensity.let_time_pass(now);
        self.shortage.let_time_pass(now);
        self.refresh.let_time_pass(now);
        self.edits.let_time_pass(now);
        self.settle(now, out);
        self.publish(now, out);
    }

    /// When [`Event::Tick`] is due; `None` = nothing is waited for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let zygotes = self.zygotes.values().filter_map(Zygote::deadline);
        let children = zygotes.chain(self.pool.next_deadline()).chain(self.dirty.next_deadline());
        let own = match self.life {
            Life::Waiting | Life::Over => return None,
            Life::Running => {
                let zygote = self.zygote_backoff.until().filter(|_| !self.has_zygote());
                let serving = self.pool.workers().filter_map(Worker::serves_since);
                let loop_end = serving.filter_map(|at| self.intensity.would_end(at, &self.plan));
                zygote
                    .into_iter()
                    .chain(self.pool.next_boot(self.wanted))
                    .chain(self.intensity.next_deadline())
                    .chain(self.shortage.until())
                    .chain(self.refresh.next_deadline())
                    .chain(self.edits.next_deadline())
                    .chain(loop_end)
                    .min()
            }
            Life::Stopping(stop) => Some(stop.next_deadline()),
        };
        let feed = self.plan.watchdog.map(|_| self.next_feed);
        children.chain(own).chain(self.upgrade.deadline()).chain(feed).min()
    }

    fn on_start(&mut self, out: &mut Vec<Action>) {
        if matches!(self.life, Life::Waiting) {
            self.life = Life::Running;
        } else {
            out.push(Action::Report(Notice::Surprise { what: "started twice" }));
        }
    }

    fn on_edited(&mut self, now: Tick) {
        if matches!(self.life, Life::Running) {
            self.edits.on_edited(now, &self.plan);
        }
    }

    fn on_tick(&mut self, now: Tick, out: &mut Vec<Action>) {
        for id in self.pool.ids(|worker| worker.deadline().is_some_and(|at| at <= now)) {
            self.on_worker_deadline(id, now, out);
        }
        let late = |zygote: &&Zygote| zygote.deadline().is_some_and(|at| at <= now);
        let late: Vec<_> = self.zygotes.values().filter(late).map(|z| z.generation).collect();
        for generation in late {
            self.step_zygote(generation, ZygoteInput::DeadlinePassed, now, out);
        }
        self.on_arbiter_deadlines(now, out);
        if self.upgrade.deadline().is_some_and(|at| at <= now) {
            self.step_upgrade(UpgradeInput::DeadlinePassed, now, out);
        }
        if let Life::Stopping(stop) = &mut self.life {
            match stop.on_tick(now, &self.plan) {
                Due::Nothing => {}
                Due::KillZygotes => self.abandon_zygotes(now, out),
                Due::KillAll => {
                    for id in self.pool.ids(|_| true) {
                        self.step_worker(id, Input::Kill(Cause::Stop), now, out);
                    }
                    self.step_arbiters(DirtyInput::Kill, now, out);
                    self.abandon_zygotes(now, out);
                }
                Due::Exit => {
                    let status = stop.status;
                    self.exit(status, out);
                }
            }
        }
    }

    fn on_worker_deadline(&mut self, id: WorkerId, now: Tick, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.worker(id) else { return };
        let (slot, generation, state) = (worker.slot, worker.generation, worker.state);
        self.step_worker(id, Input::DeadlinePassed, now, out);
        match state {
            WorkerState::Forking { .. } | WorkerState::Unwanted { .. } => {
                self.on_fork_unanswered(generation, now, out);
            }
            WorkerState::Booting { .. } => {
                self.back_off(slot, now, out);
                self.count_unready_death(generation, None, now, out);
            }
            _ => {}
        }
    }

    fn on_zygote_spawned(
        &mut self,
        generation: Generation,
        pid: Pid,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        let exited = self.strangers.take_zygote(generation, pid);
        if self.zygotes.contains_key(&generation) {
            let mut fresh = Vec::new();
            self.step_zygote(generation, ZygoteInput::Spawned(pid), now, &mut fresh);
            self.push_answer(fresh, pid, exited, now, out);
        } else if exited.is_none() {
            self.kill_stray(pid, out);
        }
    }

    fn on_forked(&mut self, id: WorkerId, pid: Pid, now: Tick, out: &mut Vec<Action>) {
        let exited = self.strangers.take_worker(id, pid);
        if self.pool.worker(id).is_some() {
            let mut fresh = Vec::new();
            self.step_worker(id, Input::Forked(pid), now, &mut fresh);
            self.push_answer(fresh, pid, exited, now, out);
        } else if let Some(edition) = self.dirty.known_as(id) {
            let mut fresh = Vec::new();
            self.step_arbiter(edition, DirtyInput::Forked(pid), now, &mut fresh);
            self.push_answer(fresh, pid, exited, now, out);
        } else if exited.is_none() {
            self.kill_stray(pid, out);
        }
    }

    /// Pushes what follows from learning a process's number. When it is dead already, the number
    /// may be somebody else's by now, so no signal may go there.
    fn push_answer(
        &mut self,
        mut fresh: Vec<Action>,
        pid: Pid,
        exited: Option<Ending>,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if exited.is_some() {
            fresh.retain(|action| !matches!(action, Action::Send { pid: to, .. } if *to == pid));
        }
        out.append(&mut fresh);
        if let Some(ending) = exited {
            self.on_exited(pid, ending, now, out);
        }
    }

    /// Kills a process that answers for something which we gave up long ago.
    fn kill_stray(&mut self, pid: Pid, out: &mut Vec<Action>) {
        if self.pool.with_pid(pid).is_none() && self.strays.insert(pid) {
            out.push(Action::Send { pid, signal: Signal::Kill });
        }
    }

    fn on_fork_failed(&mut self, id: WorkerId, refusal: Refusal, now: Tick, out: &mut Vec<Action>) {
        if let Some(edition) = self.dirty.known_as(id) {
            return self.step_arbiter(edition, DirtyInput::ForkFailed, now, out);
        }
        let Some(worker) = self.pool.worker(id) else { return };
        let (slot, generation) = (worker.slot, worker.generation);
        let was_wanted = matches!(worker.state, WorkerState::Forking { .. });
        self.step_worker(id, Input::ForkFailed, now, out);
        if was_wanted {
            match refusal {
                Refusal::Shortage => self.count_shortage(now, out),
                Refusal::Other => self.back_off(slot, now, out),
            }
            self.count_unready_death(generation, None, now, out);
        }
    }

    /// Judges a sample; true when something follows from it.
    fn judge(&mut self, id: WorkerId, sample: Sample, now: Tick, out: &mut Vec<Action>) -> bool {
        let stood = |since: Option<Tick>, limit: Option<Duration>| {
            let stood = self.standstill.stood(since?, now);
            (stood > limit?).then_some(stood)
        };
        let Sample { standing_since, oldest_since, latest_since } = sample;
        let Some(worker) = self.pool.worker(id) else { return false };
        let limits = worker.limits.longer(self.plan.limits());
        let oldest = stood(oldest_since, limits.request_timeout);
        let input = if let Some(stood) = stood(standing_since, limits.timeout) {
            Input::Hung { what: Stood::Standing, stood }
        } else if let Some(stood) =
            oldest.filter(|_| stood(latest_since, limits.request_timeout).is_some())
        {
            // Whatever it holds has had its time, so there is nothing to wait for.
            Input::Hung { what: Stood::Request, stood }
        } else if let Some(stood) = oldest {
            Input::Overdue { stood }
        } else if let Some(stood) = stood(standing_since, limits.slow_request_log)
            && let Some(since) = standing_since
        {
            Input::Slow { since, stood }
        } else {
            return false;
        };
        self.step_worker(id, input, now, out);
        true
    }

    fn on_exited(&mut self, pid: Pid, ending: Ending, now: Tick, out: &mut Vec<Action>) {
        if let Some(id) = self.pool.with_pid(pid) {
            self.on_worker_exited(id, ending, now, out);
        } else if let Some(generation) = self.zygote_with_pid(pid) {
            self.step_zygote(generation, ZygoteInput::Exited(ending), now, out);
            self.fail_forks_of(generation, now, out);
        } else if let Some(edition) = self.dirty.with_pid(pid) {
            self.step_arbiter(edition, DirtyInput::Exited(ending), now, out);
        } else if self.upgrade.pid() == Some(pid) {
            self.on_heir_exited(ending, now, out);
        } else if !self.strays.remove(&pid) && self.is_owed_a_pid() {
            let generation = Generation(self.next_generation.0 - 1);
            let latest = Latest { worker: self.pool.latest(), generation };
            self.strangers.remember(pid, ending, latest);
        }
    }

    fn on_worker_exited(&mut self, id: WorkerId, ending: Ending, now: Tick, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.worker(id) else { return };
        let (slot, generation, state) = (worker.slot, worker.generation, worker.state);
        self.step_worker(id, Input::Exited(ending), now, out);
        if ending == Ending::Exited(NO_RETRY_STATUS)
            && let WorkerState::Booting { pid, .. } | WorkerState::Serving { pid, .. } = state
            && self.worker_ever_ready
        {
            self.close_slot(slot, pid, generation, now, out);
            return;
        }
        match state {
            WorkerState::Serving { ready_at, .. }
                if now.since(ready_at) < self.plan.stable_life =>
            {
                self.count_early_death(slot, (ending, true), now, out);
            }
            WorkerState::Booting { .. } => {
                let failure = failure_of(ending);
                // For want of room the next one may do better.
                let is_final = |failure: &BootFailure| *failure != BootFailure::Shortage;
                if let Some(failure) = failure.filter(is_final)
                    && !self.worker_ever_ready
                {
                    self.stop(Some(Reason::Boot(failure)), now, out);
                } else {
                    self.count_early_death(slot, (ending, false), now, out);
                    self.count_unready_death(generation, failure, now, out);
                }
            }
            _ => {}
        }
    }

    /// A worker has ended without a stable life, and nobody had asked for it.
    fn count_early_death(
        &mut self,
        slot: SlotId,
        (ending, was_ready): (Ending, bool),
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if shortage::is_told_by(ending, was_ready) {
            self.count_shortage(now, out);
        } else {
            self.back_off(slot, now, out);
        }
    }

    pub(crate) fn count_shortage(&mut self, now: Tick, out: &mut Vec<Action>) {
        if let Some((refusals, wait)) = self.shortage.count(now, &self.plan, &mut self.random)
            && matches!(self.life, Life::Running)
        {
            out.push(Action::Report(Notice::Shortage { refusals, wait }));
        }
    }

    fn on_asked(&mut self, wish: Wish, now: Tick, out: &mut Vec<Action>) {
        let is_running = matches!(self.life, Life::Running);
        match wish {
            Wish::Stop | Wish::Quit => {
                if wish == Wish::Stop {
                    self.stop(None, now, out);
                } else {
                    self.quit(now, out);
                }
                if let Life::Stopping(stop) = &mut self.life {
                    stop.is_asked_for = true;
                }
            }
            Wish::ReopenLogs => self.reopen_logs(out),
            Wish::Reload if is_running => {
                let is_loading = self.zygotes.values().any(Zygote::is_booting);
                if is_loading || !self.reload.is_idle() {
                    out.push(Action::Report(Notice::ReloadQueued));
                }
                self.reload_queued = true;
            }
            Wish::MoreWorkers if is_running && self.wanted < self.plan.workers_max => {
                self.want(self.wanted + 1, out);
            }
            Wish::FewerWorkers if is_running && self.wanted > 1 => {
                self.want(self.wanted - 1, out);
            }
            Wish::Upgrade => self.on_asked_to_upgrade(is_running, now, out),
            Wish::Reload | Wish::MoreWorkers | Wish::FewerWorkers => {}
        }
    }

    fn on_asked_to_upgrade(&mut self, is_running: bool, now: Tick, out: &mut Vec<Action>) {
        let why = if self.plan.is_pid_1 {
            "as PID 1 this master cannot leave without ending the container"
        } else if self.is_heir {
            "the master before this one has not left yet"
        } else if !is_running {
            "the service stops"
        } else {
            return self.step_upgrade(UpgradeInput::Asked, now, out);
        };
        out.push(Action::Report(Notice::UpgradeRefused { why }));
    }

    /// The new master serves: we are only needed for what is in flight.
    fn on_upgrade_ready(&mut self, pid: Pid, now: Tick, out: &mut Vec<Action>) {
        self.step_upgrade(UpgradeInput::Ready(pid), now, out);
        if self.upgrade.heir() == Some(pid) {
            self.stop(None, now, out);
        }
    }

    pub(crate) fn step_upgrade(&mut self, input: UpgradeInput, now: Tick, out: &mut Vec<Action>) {
        self.upgrade.step(input, now, &self.plan, out)
    }

    fn reopen_logs(&mut self, out: &mut Vec<Action>) {
        out.push(Action::ReopenLogs);
        let hears = |state| !matches!(state, WorkerState::Dying { .. });
        for worker in self.pool.workers().filter(|w| w.pid().is_some() && hears(w.state)) {
            out.push(Action::Tell { worker: worker.id, order: Order::Reopen });
        }
        for arbiter in self.dirty.arbiters() {
            if let DirtyState::Running { pid, .. } = arbiter.state {
                out.push(Action::Send { pid, signal: Signal::Reopen });
            }
        }
    }

    pub(crate) fn want(&mut self, workers: u16, out: &mut Vec<Action>) {
        if self.wanted != workers {
            self.wanted = workers;
            out.push(Action::Report(Notice::Scaled { workers }));
        }
    }

    pub(crate) fn step_worker(
        &mut self,
        id: WorkerId,
        input: Input,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        // Words of workers that are gone are normal: exits and words come on different ways.
        let Some(worker) = self.pool.worker(id) else { return };
        let (slot, generation, before) = (worker.slot, worker.generation, worker.state);
        let asked_at = worker.asked_at;
        let plan = self.plan_of(generation).clone();
        let Some(worker) = self.pool.worker_mut(id) else { return };
        worker.step(input, now, &plan, out);
        match (before, worker.is_serving()) {
            (WorkerState::Serving { ready_at, .. }, false) => {
                if now.since(ready_at) >= self.plan.stable_life {
                    self.pool.forget_deaths(slot);
                    self.shortage.forget();
                }
            }
            (WorkerState::Serving { .. }, true) | (_, false) => {}
            (_, true) => {
                self.worker_ever_ready = true;
                self.reload.on_worker_ready(generation);
                if self.reload.is_rolling() {
                    self.adopt_plan(out);
                }
                if self.shortage.is_ended_by(asked_at) {
                    out.push(Action::Report(Notice::ShortageOver));
                }
            }
        }
    }

    fn count_unready_death(
        &mut self,
        generation: Generation,
        failure: Option<BootFailure>,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        let is_new = self.reload.oldest_wanted().is_some_and(|oldest| oldest <= generation);
        if self.reload.counts_out(generation) || (is_new && failure.is_some()) {
            self.give_up_reload(failure, now, out);
        }
    }

    /// A worker has asked not to be started again. During a reload it means the new code.
    fn close_slot(
        &mut self,
        slot: SlotId,
        pid: Pid,
        generation: Generation,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if self.reload.oldest_wanted().is_some_and(|oldest| oldest <= generation) {
            self.give_up_reload(Some(BootFailure::NoRetry), now, out);
        } else if matches!(self.life, Life::Running) {
            self.pool.close(slot, generation);
            out.push(Action::Report(Notice::SlotClosed { slot, pid }));
        }
    }

    fn back_off(&mut self, slot: SlotId, now: Tick, out: &mut Vec<Action>) {
        let (deaths, wait) = self.pool.count_death(slot, now, &self.plan, &mut self.random);
        if !matches!(self.life, Life::Running) {
            return;
        }
        let was_looping = self.intensity.is_looping();
        if !was_looping {
            out.push(Action::Report(Notice::BackingOff { slot, deaths, wait }));
        }
        if let Some(summary) = self.intensity.count_death(now, self.wanted, &self.plan) {
            self.tell_crash_loop(summary, out);
            if self.reload.oldest_wanted().is_some() {
                // One start at a time would never come to replace the last of the old workers.
                self.give_up_reload(None, now, out);
            }
            if self.plan.crash_loop_exit {
                self.stop(Some(Reason::CrashLoop), now, out);
            }
        }
    }

    pub(crate) fn tell_crash_loop(&mut self, summary: Summary, out: &mut Vec<Action>) {
        let Summary { deaths, pace } = summary;
        let serving = self.pool.workers().filter(|worker| worker.is_serving()).count();
        out.push(Action::Report(Notice::CrashLoop { deaths, pace, serving }));
    }

    /// A process exists, or will, whose number we have not been told.
    pub(crate) fn is_owed_a_pid(&self) -> bool {
        let is_owed_a_fork = self.pool.is_owed_a_fork() || self.dirty.is_owed_a_fork();
        is_owed_a_fork || self.zygotes.values().any(Zygote::is_asked_for)
    }
}
