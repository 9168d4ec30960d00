//! What the fates of zygotes mean for the service: stop, give a reload up, or load anew.

use crate::arbiter::DirtyInput;
use crate::reload::Reload;
use crate::supervisor::{Life, Supervisor};
use crate::worker::{Input, Worker};
use crate::zygote::{Outcome, Zygote, ZygoteInput};
use crate::{Action, BootFailure, Cause, Generation, Notice, Pid, Plan, Reason, Tick};

impl Supervisor {
    pub(crate) fn step_zygote(
        &mut self,
        generation: Generation,
        input: ZygoteInput,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        let Some(zygote) = self.zygotes.get_mut(&generation) else { return };
        match zygote.step(input, now, &self.plan, out) {
            Outcome::Nothing => {}
            Outcome::Ready => {
                self.zygote_ever_ready = true;
                if self.reload.generation() == Some(generation) {
                    // How the old code died says nothing about the new.
                    self.pool.forget_all_deaths();
                    self.intensity.forget();
                }
                self.reload.on_zygote_ready(generation);
            }
            Outcome::Failed(failure) => self.on_zygote_failed(generation, failure, now, out),
            Outcome::Lost { ready_at } => self.on_zygote_lost(generation, ready_at, now, out),
        }
    }

    fn on_zygote_failed(
        &mut self,
        generation: Generation,
        failure: BootFailure,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if !self.zygote_ever_ready {
            self.stop(Some(Reason::Boot(failure)), now, out);
            return;
        }
        self.zygote_backoff.count_death(now, &self.plan, &mut self.random);
        if failure == BootFailure::Shortage {
            self.count_shortage(now, out);
        }
        // Either the candidate itself, or, while rolling, the successor of one that was lost: in
        // both cases nothing is left that could bring the reload to its end soon.
        if self.reload.generation().is_some_and(|reloading| reloading <= generation) {
            self.give_up_reload(Some(failure), now, out);
        }
    }

    fn on_zygote_lost(
        &mut self,
        generation: Generation,
        ready_at: Tick,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if now.since(ready_at) >= self.plan.stable_life {
            self.zygote_backoff.forget();
        } else {
            self.zygote_backoff.count_death(now, &self.plan, &mut self.random);
        }
        if self.reload.is_trying() && self.reload.generation() == Some(generation) {
            self.give_up_reload(None, now, out);
        }
    }

    /// Forks that a dead zygote owes an answer for will not come.
    pub(crate) fn fail_forks_of(
        &mut self,
        generation: Generation,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        let is_owed = |w: &Worker| w.generation == generation && w.is_asked_for();
        for id in self.pool.ids(is_owed) {
            self.step_worker(id, Input::ForkFailed, now, out);
        }
        for edition in self.dirty.editions(|arbiter| arbiter.asked_of() == Some(generation)) {
            self.step_arbiter(edition, DirtyInput::ForkFailed, now, out);
        }
    }

    /// Goes back to what serves. The candidate's zygote and boots end, unless some of its workers
    /// serve already: then its zygote is the only one left.
    pub(crate) fn give_up_reload(
        &mut self,
        failure: Option<BootFailure>,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        let Some(generation) = self.reload.generation() else { return };
        let is_rolling = self.reload.is_rolling();
        self.forget_reload();
        let serving = self.pool.workers().filter(|worker| worker.is_serving());
        let older = serving.map(|worker| worker.generation).filter(|&g| g < generation);
        let zygotes = self.zygotes.keys().copied().filter(|&g| g < generation);
        let serving = older.max().or(zygotes.max()).unwrap_or(generation);
        out.push(Action::Report(Notice::ReloadGivenUp { generation, serving, failure }));
        if !is_rolling {
            self.abandon_candidate(generation, now, out);
        }
    }

    /// None is under way any more, and what was read for it counts for nobody.
    pub(crate) fn forget_reload(&mut self) {
        self.reload = Reload::Idle;
        self.next_plan = None;
        self.asked_with = None;
    }

    /// Ends a candidate that nobody serves from.
    pub(crate) fn abandon_candidate(
        &mut self,
        generation: Generation,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        self.dirty.give_up_edition(generation, self.next_generation);
        for id in self.pool.ids(|worker| worker.generation == generation) {
            self.step_worker(id, Input::Cancel(Cause::Reload), now, out);
        }
        if self.zygotes.get(&generation).is_some_and(Zygote::is_of_use) {
            self.step_zygote(generation, ZygoteInput::Abandon, now, out);
        }
    }

    /// Keeps what the settings say now until the generation that is loaded with them serves.
    pub(crate) fn on_replanned(
        &mut self,
        generation: Generation,
        plan: Plan,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if self.is_loading(generation) {
            // The scoreboard was made for so many.
            let Plan { workers_max, seed, .. } = self.plan;
            let workers = plan.workers.min(workers_max);
            let plan = Plan { workers, workers_max, seed, ..plan };
            let within = plan.boot_timeout;
            self.next_plan = Some(plan);
            self.step_zygote(generation, ZygoteInput::Load { within }, now, out);
        }
    }

    /// What a generation is started with: its own settings, also before they count for all.
    pub(crate) fn plan_of(&self, generation: Generation) -> &Plan {
        let next = self.next_plan.as_ref();
        next.filter(|_| self.reload.generation() == Some(generation)).unwrap_or(&self.plan)
    }

    /// A worker of the new generation serves: there is no way back to the old settings. A service
    /// that stops keeps what it began its stop with.
    ///
    /// TTIN and TTOU hold until a reload that was asked for has come so far, as with gunicorn; those
    /// that came while it was being loaded are meant for it, and hold on.
    pub(crate) fn adopt_plan(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.life, Life::Running) {
            return;
        }
        let asked_with = self.asked_with.take();
        let before = self.plan.workers.max(1);
        if let Some(generation) = self.reload.generation()
            && let Some(plan) = self.next_plan.take()
        {
            self.plan = plan;
            out.push(Action::Adopt { generation });
        }
        let planned = i32::from(self.plan.workers.max(1));
        let scaled = i32::from(self.wanted) - i32::from(asked_with.unwrap_or(before));
        let most = self.plan.workers_max.max(self.plan.workers).max(1);
        let wanted = (planned + scaled).clamp(1, i32::from(most));
        self.want(u16::try_from(wanted).unwrap_or(most), out);
    }

    /// Whether this generation is the one that a reload loads.
    #[must_use]
    pub fn is_loading(&self, generation: Generation) -> bool {
        self.reload.is_loading() && self.reload.generation() == Some(generation)
    }

    pub(crate) fn start_zygote(&mut self, now: Tick, out: &mut Vec<Action>) {
        let generation = self.next_generation;
        self.next_generation = Generation(generation.0.saturating_add(1));
        self.zygotes.insert(generation, Zygote::start(generation, now, &self.plan));
        out.push(Action::StartZygote { generation });
    }

    pub(crate) fn abandon_zygotes(&mut self, now: Tick, out: &mut Vec<Action>) {
        for generation in self.zygotes.keys().copied().collect::<Vec<_>>() {
            self.step_zygote(generation, ZygoteInput::Abandon, now, out);
        }
    }

    /// The zygote that workers are forked from: the newest that is ready. Once the workers of a
    /// newer generation serve, an older one is not gone back to, even when it is the only one left
    /// (it may still owe an answer): what was forked from it would have to be replaced at once.
    pub(crate) fn fork_source(&self) -> Option<Generation> {
        let oldest = self.reload.oldest_wanted();
        let is_wanted = |g: &Generation| oldest.is_none_or(|oldest| *g >= oldest);
        self.ready_zygotes().last().filter(is_wanted)
    }

    /// Oldest first.
    pub(crate) fn ready_zygotes(&self) -> impl DoubleEndedIterator<Item = Generation> {
        self.zygotes.values().filter(|zygote| zygote.is_ready()).map(|zygote| zygote.generation)
    }

    /// One can be forked from, or will be.
    pub(crate) fn has_zygote(&self) -> bool {
        self.fork_source().is_some() || self.zygotes.values().any(Zygote::is_booting)
    }

    pub(crate) fn zygote_with_pid(&self, pid: Pid) -> Option<Generation> {
        self.zygotes.values().find(|z| z.pid() == Some(pid)).map(|zygote| zygote.generation)
    }
}
