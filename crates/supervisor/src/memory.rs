//! Limits of memory: who has to go when workers take too much.
//!
//! Above a soft limit the largest worker is replaced as if it had served its requests: one at a
//! time, its successor first, no request lost. Above a hard limit there is no time for that, and
//! the largest is killed before the kernel chooses for itself.
//!
//! Where a successor would not fit beside its predecessor, the old one goes before the new one
//! comes: it still finishes its requests, and the others serve meanwhile.
//!
//! What a successor would take as well is no reason to replace anybody: a worker that has hardly
//! grown stays, and the log says that the limit is too low.

use crate::pool::Seat;
use crate::supervisor::{Life, Supervisor};
use crate::worker::{Input, Worker};
use crate::{Action, Cause, Notice, SlotId, Tick, WorkerId};

/// One limit, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Above this the largest worker is replaced.
    pub soft: u64,
    /// Above this it is killed.
    pub hard: u64,
}

/// A worker that has grown by less than this share of what it began with would not be smaller anew.
const GROWTH_SHARE: u64 = 8;
const GROWTH_MIN: u64 = 2 << 20;

/// What was measured of all workers at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// A limit was found too low, and that was said.
    told: bool,
    /// One worker more would bring us above the hard limit; what was measured, for the log.
    short: Option<Room>,
}

/// Why there is no room for one worker more, in bytes.
#[derive(Clone, Copy, Debug)]
struct Room {
    takes: u64,
    newcomer: u64,
    limit: u64,
}

/// What is known of one worker's private memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// When it was measured for the first time.
    pub(crate) first: u64,
    pub(crate) latest: u64,
}

impl Weight {
    fn has_grown(self) -> bool {
        let growth = self.latest.saturating_sub(self.first);
        growth >= GROWTH_MIN && growth >= self.first / GROWTH_SHARE
    }
}

impl Supervisor {
    /// Takes a round of measurements: private memory of workers, and what the whole service takes.
    pub(crate) fn on_measured(
        &mut self,
        workers: &[(WorkerId, u64)],
        total: u64,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        for &(id, bytes) in workers {
            if let Some(worker) = self.pool.worker_mut(id)
                && worker.holds_requests()
            {
                let first = worker.weight.map_or(bytes, |weight| weight.first);
                worker.weight = Some(Weight { first, latest: bytes });
            }
        }
        self.memory.short = self.plan.total_memory.and_then(|limit| {
            let room = Room { takes: total, newcomer: self.newcomer()?, limit: limit.hard };
            (total.saturating_add(room.newcomer) > limit.hard).then_some(room)
        });
        if let Some(limit) = self.plan.total_memory {
            self.hold_total(limit, total, now, out);
        }
        if let Some(limit) = self.plan.worker_memory {
            self.hold_each(limit, now, out);
        }
        self.make_room(now, out);
    }

    fn hold_total(&mut self, limit: Limit, total: u64, now: Tick, out: &mut Vec<Action>) {
        if total <= limit.soft {
            self.memory.told = false;
            return;
        }
        if total > limit.hard
            && let Some((id, bytes)) = self.heaviest(grown)
        {
            self.kill_for_memory(id, (bytes, total), limit.hard, now, out);
        } else if let Some((id, _)) = self.largest(|worker| grown(worker) && worker.spent.is_none())
        {
            self.recycle_for_memory(id, limit.soft, Some(total), now, out);
        } else if !self.memory.told && !self.is_recycling_for_memory() {
            self.memory.told = true;
            out.push(Action::Report(Notice::MemoryLimitTooLow { limit: limit.soft, takes: total }));
        }
    }

    /// What a new worker takes; `None` = none was measured.
    fn newcomer(&self) -> Option<u64> {
        self.pool.workers().filter_map(|worker| Some(worker.weight?.first)).max()
    }

    /// Where memory is short, a worker that is to be replaced goes before its successor comes. Decided
    /// when it was measured, so that what the one before has left behind is known.
    fn make_room(&mut self, now: Tick, out: &mut Vec<Action>) {
        let Some(Room { takes, newcomer, limit }) = self.memory.short else { return };
        if self.pool.is_making_room() || !self.can_make_room() {
            return;
        }
        let is_meant = |worker: &Worker| worker.spent.is_some() && worker.slot.0 < self.wanted;
        let Some((id, _)) = self.largest(is_meant) else { return };
        let Some(worker) = self.pool.worker_mut(id) else { return };
        let (slot, Some(pid), Some(cause)) = (worker.slot, worker.pid(), worker.spent) else {
            return;
        };
        worker.makes_room = true;
        out.push(Action::Report(Notice::WorkerMakesRoom {
            worker: id,
            slot,
            pid,
            takes,
            newcomer,
            limit,
        }));
        self.drain(id, cause, now, out);
    }

    /// Whether one may go while nobody serves in its place: everybody else does, and whoever comes
    /// afterwards may start at once. Never the only one, nor for code that is not known to run, nor
    /// where a slot is closed: they are fewer than wanted already.
    fn can_make_room(&self) -> bool {
        let Some(source) = self.fork_source() else { return false };
        let is_slow = !self.intensity.allows_start(0) || !self.shortage.allows_start(0);
        if !matches!(self.life, Life::Running) || !self.reload.is_idle() || is_slow {
            return false;
        }
        let seats = self.pool.seats(self.wanted);
        let is_steady = |(slot, seat): (SlotId, &Seat)| {
            let is_closed = self.pool.is_closed(slot, source);
            seat.under_way.is_none() && seat.serving.is_some() && !is_closed
        };
        let serving = seats.iter().filter(|seat| seat.serving.is_some()).count();
        serving >= 2 && (0..).map(SlotId).zip(&seats).all(is_steady)
    }

    /// Where memory is short, nobody gets a successor beside it while another makes room, or may do
    /// so soon, or somebody comes already.
    pub(crate) fn awaits_room(&self) -> bool {
        // Without a limit nothing is measured any more that could end it.
        if self.plan.total_memory.is_none() {
            return false;
        }
        let somebody_comes = self.pool.under_way() > 0;
        let is_short = self.memory.short.is_some();
        self.pool.is_making_room() || is_short && (somebody_comes || self.can_make_room())
    }

    fn hold_each(&mut self, limit: Limit, now: Tick, out: &mut Vec<Action>) {
        let over = |worker: &Worker, most: u64| worker.weight.is_some_and(|w| w.latest > most);
        while let Some((id, bytes)) = self.heaviest(|w| over(w, limit.hard) && grown(w)) {
            self.kill_for_memory(id, (bytes, bytes), limit.hard, now, out);
        }
        let due = |worker: &Worker| over(worker, limit.soft) && worker.spent.is_none();
        if let Some((id, _)) = self.largest(|worker| due(worker) && grown(worker)) {
            self.recycle_for_memory(id, limit.soft, None, now, out);
        } else if let Some((_, bytes)) = self.largest(due)
            && !self.memory.told
        {
            self.memory.told = true;
            out.push(Action::Report(Notice::MemoryLimitTooLow { limit: limit.soft, takes: bytes }));
        }
    }

    /// The serving worker with the most private memory, of those that are meant.
    fn largest(&self, is_meant: impl Fn(&Worker) -> bool) -> Option<(WorkerId, u64)> {
        self.heaviest(|worker| worker.is_serving() && is_meant(worker))
    }

    /// The same among those that finish what they hold as well: when one must be killed, who leaves
    /// anyway is no less of a choice.
    fn heaviest(&self, is_meant: impl Fn(&Worker) -> bool) -> Option<(WorkerId, u64)> {
        let meant =
            self.pool.workers().filter(|worker| worker.holds_requests() && is_meant(worker));
        meant.filter_map(|worker| Some((worker.id, worker.weight?.latest))).max_by_key(|&(_, b)| b)
    }

    /// One is being replaced for this already; what it takes will be free soon.
    fn is_recycling_for_memory(&self) -> bool {
        self.pool.workers().any(Worker::leaves_for_memory)
    }

    fn recycle_for_memory(
        &mut self,
        id: WorkerId,
        limit: u64,
        total: Option<u64>,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        if self.is_recycling_for_memory() {
            return;
        }
        let Some(worker) = self.pool.worker(id) else { return };
        let (Some(pid), Some(weight)) = (worker.pid(), worker.weight) else { return };
        out.push(Action::Report(Notice::WorkerTooLarge {
            worker: id,
            slot: worker.slot,
            pid,
            first: weight.first,
            bytes: weight.latest,
            limit,
            total,
        }));
        self.step_worker(id, Input::Spent(Cause::Memory), now, out);
    }

    fn kill_for_memory(
        &mut self,
        id: WorkerId,
        (bytes, takes): (u64, u64),
        limit: u64,
        now: Tick,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.pool.worker(id) else { return };
        let Some(pid) = worker.pid() else { return };
        let slot = worker.slot;
        out.push(Action::Report(Notice::WorkerFarTooLarge {
            worker: id,
            slot,
            pid,
            bytes,
            takes,
            limit,
        }));
        self.step_worker(id, Input::Kill(Cause::Memory), now, out);
    }
}

fn grown(worker: &Worker) -> bool {
    worker.weight.is_some_and(Weight::has_grown)
}
