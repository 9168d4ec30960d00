//! Brings what is nearer to what is wanted, after every event.
//!
//! Events only change the state of the one worker or zygote they are about; what follows from
//! that for the others is worked out here, always by the same rules, so that a recycle, a reload,
//! a hang and a crash need no code of their own. The order of the rules matters: room is made
//! before it is filled, and a zygote is chosen before it is forked.

use std::cmp::Reverse;

use crate::edits::Edits;
use crate::pool::Seat;
use crate::refresh::Refresh;
use crate::reload::Reload;
use crate::supervisor::{Life, Supervisor};
use crate::worker::{Input, Worker};
use crate::zygote::{Zygote, ZygoteInput};
use crate::{Action, BootFailure, Cause, Notice, Occasion, Order, Reason, SlotId, Tick, WorkerId};

impl Supervisor {
    pub(crate) fn settle(&mut self, now: Tick, out: &mut Vec<Action>) {
        self.pool.forget_the_gone();
        self.zygotes.retain(|_, zygote| !zygote.is_gone());
        match self.life {
            Life::Waiting | Life::Over => {}
            Life::Running => {
                self.relieve(now, out);
                self.shrink(now, out);
                self.finish_reload(now, out);
                self.overtake_reload(now, out);
                self.begin_queued_reload(now, out);
                self.begin_refresh(now, out);
                self.retire_zygotes(now, out);
                self.keep_a_zygote(now, out);
                self.watch_the_crash_loop(now, out);
                self.keep_arbiters(now, out);
                self.fill_slots(now, out);
                self.announce(out);
                self.stop_when_all_are_closed(now, out);
            }
            Life::Stopping(stop) => {
                self.drain_late_comers(now, out);
                self.retire_zygotes(now, out);
                self.keep_arbiters(now, out);
                let are_gone = self.pool.is_empty() && self.zygotes.is_empty();
                if are_gone && self.dirty.is_empty() && self.strays.is_empty() {
                    self.exit(stop.status, out);
                }
            }
        }
        if !self.is_owed_a_pid() {
            self.strangers.forget();
        }
    }

    /// Empties the slots that are no longer wanted. As long as nobody serves in one of the others,
    /// a worker beyond them stays in its stead, of the newest code that there is.
    fn shrink(&mut self, now: Tick, out: &mut Vec<Action>) {
        let wanted = self.wanted;
        let stand_in = |seat: &&Seat| seat.serving.is_none();
        let stand_ins = self.pool.seats(wanted).iter().filter(stand_in).count();
        let mut kept = 0;
        let mut beyond = self.pool.ids(|worker| worker.slot.0 >= wanted);
        beyond.sort_by_key(|id| Reverse(self.pool.worker(*id).map(|worker| worker.generation)));
        for id in beyond {
            if self.pool.worker(id).is_some_and(Worker::is_serving) && kept < stand_ins {
                kept += 1;
                continue;
            }
            self.step_worker(id, Input::Cancel(Cause::Scale), now, out);
            self.drain(id, Cause::Scale, now, out);
        }
    }

    /// Drains the workers whose successor serves in the same slot, wanted or not: nobody needs two
    /// to stand in for one.
    fn relieve(&mut self, now: Tick, out: &mut Vec<Action>) {
        let newest = self.pool.newest_serving();
        let is_newest = |worker: &Worker| newest.get(&worker.slot) == Some(&worker.id);
        for id in self.pool.ids(|worker| worker.is_serving() && !is_newest(worker)) {
            let spent = self.pool.worker(id).and_then(|worker| worker.spent);
            let cause = spent.unwrap_or(Cause::Reload);
            self.drain(id, cause, now, out);
        }
    }

    pub(crate) fn drain(&mut self, id: WorkerId, cause: Cause, now: Tick, out: &mut Vec<Action>) {
        let deadline = now + self.plan.graceful_timeout;
        self.step_worker(id, Input::Drain { order: Order::Drain, cause, deadline }, now, out);
    }

    /// Ends a reload when nobody older takes a connection any more: then whoever comes meets the new
    /// code. One that finishes what it holds is not waited for.
    fn finish_reload(&mut self, now: Tick, out: &mut Vec<Action>) {
        let Reload::Rolling { generation, since, .. } = self.reload else { return };
        let is_old = |worker: &Worker| worker.generation < generation;
        if !self.pool.workers().any(|worker| is_old(worker) && worker.may_accept()) {
            self.reload = Reload::Idle;
            let took = now.since(since);
            out.push(Action::Report(Notice::ReloadDone { generation, took }));
        }
    }

    /// Ends the load of code that has been edited since, when none of its workers serves yet.
    fn overtake_reload(&mut self, now: Tick, out: &mut Vec<Action>) {
        if self.edits != Edits::Settled || self.reload.is_rolling() {
            return;
        }
        let Some(generation) = self.reload.generation() else { return };
        // What an operator has asked for is still owed.
        self.reload_queued |= self.asked_with.is_some();
        self.forget_reload();
        out.push(Action::Report(Notice::ReloadOvertaken { generation }));
        self.abandon_candidate(generation, now, out);
    }

    /// Begins a reload that was asked for, perhaps while something else was being loaded, or that
    /// follows from an edit.
    fn begin_queued_reload(&mut self, now: Tick, out: &mut Vec<Action>) {
        let is_loading = self.zygotes.values().any(Zygote::is_booting);
        let is_due = self.reload_queued || self.edits == Edits::Settled;
        if !is_due || !self.reload.is_idle() || is_loading {
            return;
        }
        let is_asked = std::mem::take(&mut self.reload_queued);
        self.edits = Edits::None;
        self.refresh = Refresh::Unneeded;
        self.asked_with = is_asked.then_some(self.wanted);
        let occasion = if is_asked { Occasion::Asked } else { Occasion::Edited };
        self.begin_reload(occasion, now, out);
    }

    /// Loads the app again with what workers have imported late, when nothing else is going on.
    fn begin_refresh(&mut self, now: Tick, out: &mut Vec<Action>) {
        let is_loading = self.zygotes.values().any(Zygote::is_booting);
        let is_troubled = self.intensity.is_looping() || self.shortage.until().is_some();
        let is_complete = self.pool.seats(self.wanted).iter().all(|seat| seat.serving.is_some());
        if self.refresh == Refresh::Now
            && self.reload.is_idle()
            && !is_loading
            && !is_troubled
            && is_complete
        {
            self.refresh = Refresh::Done;
            self.begin_reload(Occasion::Learned, now, out);
        }
    }

    fn begin_reload(&mut self, occasion: Occasion, now: Tick, out: &mut Vec<Action>) {
        let generation = self.next_generation;
        out.push(Action::Report(Notice::ReloadStarted { generation, occasion }));
        let workers = self.pool.workers().map(|worker| worker.generation);
        let oldest = workers.chain(self.zygotes.keys().copied()).min().unwrap_or(generation);
        self.dirty.begin_edition(generation, oldest);
        self.start_zygote(now, out);
        self.reload = Reload::Loading { generation, since: now };
    }

    /// Retires all zygotes but the one that is forked from. While a candidate is being tried, the
    /// one before it waits; while an answer about a worker is owed, closing its channel would lose it.
    /// One that owes a dirty arbiter goes: its old code must not be forked from, and an arbiter whose
    /// answer is lost leaves by itself.
    fn retire_zygotes(&mut self, now: Tick, out: &mut Vec<Action>) {
        let source = self.fork_source().filter(|_| matches!(self.life, Life::Running));
        let before = source
            .filter(|_| self.reload.is_trying())
            .and_then(|source| self.ready_zygotes().rfind(|&generation| generation < source));
        for generation in self.ready_zygotes().collect::<Vec<_>>() {
            let is_kept = Some(generation) == source || Some(generation) == before;
            if !is_kept && !self.pool.is_owed_a_fork_by(generation) {
                self.step_zygote(generation, ZygoteInput::Retire, now, out);
            }
        }
    }

    /// Starts a zygote when there is none to fork from; workers serve on meanwhile.
    fn keep_a_zygote(&mut self, now: Tick, out: &mut Vec<Action>) {
        let waits = self.zygote_backoff.until().or(self.shortage.until());
        if self.has_zygote() || waits.is_some() {
            return;
        }
        self.start_zygote(now, out);
    }

    /// Asks for a worker: first for slots where nobody serves, then for successors of those that
    /// are spent or of an older generation, as many as `max_surge` allows.
    ///
    /// One at a time: a zygote forks one after the other, and the deadline of a fork is its own
    /// only when it does not wait for others. The answer brings us here again.
    fn fill_slots(&mut self, now: Tick, out: &mut Vec<Action>) {
        let Some(source) = self.fork_source() else { return };
        if self.pool.is_owed_a_fork_by(source) {
            return;
        }
        let seats = self.pool.seats(self.wanted);
        let surge = usize::from(self.plan.max_surge.max(1));
        let has_room = self.pool.replacements(&seats) < surge;
        let is_due = |&(slot, seat): &(SlotId, &Seat)| {
            seat.under_way.is_none()
                && !self.pool.makes_room_in(slot)
                && !self.pool.is_backing_off(slot)
                && !self.pool.is_closed(slot, source)
        };
        let numbered = || (0..).map(SlotId).zip(&seats).filter(is_due);
        let vacant = numbered().find(|(_, seat)| seat.serving.is_none());
        let outdated =
            numbered().find(|(_, seat)| seat.serving.is_some_and(|id| self.is_outdated(id)));
        let successor = outdated.filter(|_| has_room && !self.awaits_room());
        let Some((slot, _)) = vacant.or(successor) else { return };
        let under_way = self.pool.under_way();
        if !self.intensity.allows_start(under_way) || !self.shortage.allows_start(under_way) {
            return;
        }
        let Some(line) = self.pool.free_line() else { return };
        let plan = self.plan_of(source).clone();
        self.pool.ask_for((slot, line, source), now, &plan, &mut self.random, out);
        self.intensity.count_start(now, self.wanted, &self.plan);
    }

    /// Says once a window how a crash loop goes on, and when it is over.
    fn watch_the_crash_loop(&mut self, now: Tick, out: &mut Vec<Action>) {
        let ends = |ready_at| self.intensity.is_ended_by(ready_at, now, &self.plan);
        if self.pool.workers().filter_map(Worker::serves_since).any(ends) {
            self.intensity.forget();
            out.push(Action::Report(Notice::CrashLoopOver));
        }
        if let Some(summary) = self.intensity.summary(now, self.wanted, &self.plan) {
            self.tell_crash_loop(summary, out);
        }
    }

    /// When every worker has asked not to be started again, nobody is left to serve.
    fn stop_when_all_are_closed(&mut self, now: Tick, out: &mut Vec<Action>) {
        let Some(source) = self.fork_source() else { return };
        let is_left = |worker: &Worker| worker.is_serving() || worker.is_under_way();
        let all_closed = (0..self.wanted).map(SlotId).all(|slot| self.pool.is_closed(slot, source));
        if all_closed && !self.pool.workers().any(is_left) && self.reload.is_idle() {
            self.stop(Some(Reason::Boot(BootFailure::NoRetry)), now, out);
        }
    }

    fn is_outdated(&self, id: WorkerId) -> bool {
        let oldest_wanted = self.reload.oldest_wanted();
        self.pool.worker(id).is_some_and(|worker| {
            worker.spent.is_some() || oldest_wanted.is_some_and(|oldest| worker.generation < oldest)
        })
    }

    /// Says once that the service is complete.
    fn announce(&mut self, out: &mut Vec<Action>) {
        if self.announced || !self.pool.seats(self.wanted).iter().all(|seat| seat.serving.is_some())
        {
            return;
        }
        self.announced = true;
        out.push(Action::Report(Notice::Serving { workers: self.wanted }));
    }
}
