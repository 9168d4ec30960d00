//! Who needs a dirty arbiter.
//!
//! There is one for each *edition*: the generation that a reload has brought in, with those that took
//! the place of its zygote when that was lost. They share it, since it holds what apps have loaded and
//! stashed. It outlives the workers of its edition, because they may be waiting for it; and it is
//! never forked from a zygote of another edition, because that has other code.

use std::collections::BTreeMap;

use crate::arbiter::{Arbiter, DirtyInput, DirtyState};
use crate::backoff::Backoff;
use crate::supervisor::{Life, Supervisor};
use crate::zygote::{Zygote, ZygoteInput};
use crate::{Action, Generation, Pid, Tick, WorkerId};

/// All dirty arbiters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    arbiters: BTreeMap<Generation, Arbiter>,
    /// From which generation on which edition.
    editions: BTreeMap<Generation, Generation>,
}

impl Dirty {
    /// What a generation belongs to.
    pub(crate) fn edition_of(&self, generation: Generation) -> Generation {
        let known = self.editions.range(..=generation).next_back();
        known.map_or(Generation(1), |(_, edition)| *edition)
    }

    /// A reload begins; nobody older than `oldest` lives.
    pub(crate) fn begin_edition(&mut self, generation: Generation, oldest: Generation) {
        let known = self.editions.range(..=oldest).next_back().map(|(first, _)| *first);
        if let Some(first) = known {
            self.editions = self.editions.split_off(&first);
        }
        self.editions.insert(generation, generation);
    }

    /// It never came to serve: from `next` on, they belong to what does.
    pub(crate) fn give_up_edition(&mut self, generation: Generation, next: Generation) {
        let before = self.editions.range(..generation).next_back();
        let before = before.map_or(Generation(1), |(_, edition)| *edition);
        self.editions.insert(next, before);
    }

    pub(crate) fn arbiters(&self) -> impl Iterator<Item = &Arbiter> {
        self.arbiters.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.arbiters.is_empty()
    }

    /// The editions whose arbiters are meant; a list, so that they can be changed.
    pub(crate) fn editions(&self, is_meant: impl Fn(&Arbiter) -> bool) -> Vec<Generation> {
        self.arbiters().filter(|arbiter| is_meant(arbiter)).map(|arbiter| arbiter.edition).collect()
    }

    /// That which was asked for under this number, if the answer is owed or its process is there.
    pub(crate) fn known_as(&self, worker: WorkerId) -> Option<Generation> {
        let lives = |arbiter: &Arbiter| arbiter.pid().is_some() || arbiter.asked_of().is_some();
        let is_it = |arbiter: &&Arbiter| arbiter.worker == Some(worker) && lives(arbiter);
        self.arbiters().find(is_it).map(|arbiter| arbiter.edition)
    }

    pub(crate) fn with_pid(&self, pid: Pid) -> Option<Generation> {
        self.arbiters().find(|arbiter| arbiter.pid() == Some(pid)).map(|arbiter| arbiter.edition)
    }

    pub(crate) fn is_owed_a_fork(&self) -> bool {
        self.arbiters().any(|arbiter| arbiter.asked_of().is_some())
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.arbiters().filter_map(Arbiter::deadline).min()
    }

    pub(crate) fn forget_the_gone(&mut self) {
        self.arbiters.retain(|_, arbiter| arbiter.state != DirtyState::Gone);
    }
}

impl Supervisor {
    /// Whose dirty arbiter the workers of a generation ask; `None` = there is none.
    #[must_use]
    pub fn dirty_edition(&self, generation: Generation) -> Option<Generation> {
        self.plan_of(generation).dirty_grace.map(|_| self.dirty.edition_of(generation))
    }

    pub(crate) fn step_arbiter(
        &mut self,
        edition: Generation,
        input: DirtyInput,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if let Some(arbiter) = self.dirty.arbiters.get_mut(&edition) {
            arbiter.step(input, now, &self.plan, &mut self.random, out);
        }
    }

    pub(crate) fn step_arbiters(&mut self, input: DirtyInput, now: Tick, out: &mut Vec<Action>) {
        for edition in self.dirty.editions(|_| true) {
            self.step_arbiter(edition, input, now, out);
        }
    }

    /// Those who wait for a time that has come; a zygote that does not answer hangs.
    pub(crate) fn on_arbiter_deadlines(&mut self, now: Tick, out: &mut Vec<Action>) {
        for edition in self.dirty.editions(|arbiter| arbiter.deadline().is_some_and(|at| at <= now))
        {
            let asked_of = self.dirty.arbiters[&edition].asked_of();
            self.step_arbiter(edition, DirtyInput::DeadlinePassed, now, out);
            if let Some(zygote) = asked_of {
                self.on_fork_unanswered(zygote, now, out);
            }
        }
    }

    /// Asks for the arbiters that are wanted, before the workers that will need them, and ends the
    /// others.
    pub(crate) fn keep_arbiters(&mut self, now: Tick, out: &mut Vec<Action>) {
        let is_running = matches!(self.life, Life::Running);
        if let Some(source) = self.fork_source().filter(|_| is_running)
            && let Some(grace) = self.plan_of(source).dirty_grace
        {
            let (edition, backoff) = (self.dirty.edition_of(source), Backoff::default());
            let state = DirtyState::Waiting { until: None };
            let fresh = Arbiter { edition, worker: None, grace, backoff, state };
            self.dirty.arbiters.entry(edition).or_insert(fresh);
        }
        for edition in self.dirty.editions(|_| true) {
            let is_its = |generation| self.dirty.edition_of(generation) == edition;
            let is_of_use = |zygote: &Zygote| is_its(zygote.generation) && zygote.is_of_use();
            let has_workers = self.pool.workers().any(|worker| is_its(worker.generation));
            let has_zygote = is_running && self.zygotes.values().any(is_of_use);
            let source = self.ready_zygotes().rfind(|&ready| is_its(ready));
            let is_due = self.dirty.arbiters[&edition].state == DirtyState::Waiting { until: None };
            if !has_workers && !has_zygote {
                self.step_arbiter(edition, DirtyInput::Leave, now, out);
            } else if let Some(zygote) = source.filter(|_| is_due && is_running) {
                let ask = DirtyInput::Ask { zygote, worker: self.pool.next_number() };
                self.step_arbiter(edition, ask, now, out);
            }
        }
        self.dirty.forget_the_gone();
    }

    /// A zygote hangs, in a fork hook perhaps: whoever asks next would wait as long.
    pub(crate) fn on_fork_unanswered(
        &mut self,
        generation: Generation,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        self.step_zygote(generation, ZygoteInput::Stuck, now, out);
        if self.reload.is_trying() && self.reload.generation() == Some(generation) {
            self.give_up_reload(None, now, out);
        }
    }
}
