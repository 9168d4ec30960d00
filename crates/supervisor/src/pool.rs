//! All slots, and the workers that sit in them.
//!
//! Slots are the numbers `0..wanted`; they exist by being wanted. This room answers questions
//! about the workers as they are; what shall be is decided in `settle`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::random::Random;
use crate::worker::{Worker, WorkerState};
use crate::{Action, Generation, Line, Pid, Plan, SlotId, Tick, WorkerId};

#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Of the scoreboard, which is made once.
    lines: u16,
    workers: BTreeMap<WorkerId, Worker>,
    backoffs: BTreeMap<SlotId, Backoff>,
    /// A worker of this generation has asked not to be started again.
    closed: BTreeMap<SlotId, Generation>,
    asked_for: u64,
}

/// Who sits in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The newest worker that serves.
    pub(crate) serving: Option<WorkerId>,
    /// A worker on its way to serve.
    pub(crate) under_way: Option<WorkerId>,
}

impl Pool {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            lines: plan.lines(),
            workers: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            closed: BTreeMap::new(),
            asked_for: 0,
        }
    }

    pub(crate) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    pub(crate) fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&id)
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// The workers for which `is_meant` holds, by number; a list, so that they can be changed.
    pub(crate) fn ids(&self, is_meant: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.workers().filter(|worker| is_meant(worker)).map(|worker| worker.id).collect()
    }

    pub(crate) fn with_pid(&self, pid: Pid) -> Option<WorkerId> {
        self.workers().find(|worker| worker.pid() == Some(pid)).map(|worker| worker.id)
    }

    pub(crate) fn forget_the_gone(&mut self) {
        self.workers.retain(|_, worker| worker.state != WorkerState::Gone);
    }

    /// Who sits in the slots `0..wanted`, in order.
    pub(crate) fn seats(&self, wanted: u16) -> Vec<Seat> {
        let mut seats = vec![Seat::default(); usize::from(wanted)];
        for worker in self.workers() {
            if let Some(seat) = seats.get_mut(usize::from(worker.slot.0)) {
                if worker.is_serving() {
                    // Numbers grow, so the last one found is the newest.
                    seat.serving = Some(worker.id);
                } else if worker.is_under_way() {
                    seat.under_way = Some(worker.id);
                }
            }
        }
        seats
    }

    /// Who serves in each slot, wanted or not; of several the newest, as numbers grow.
    pub(crate) fn newest_serving(&self) -> BTreeMap<SlotId, WorkerId> {
        let serving = self.workers().filter(|worker| worker.is_serving());
        serving.map(|worker| (worker.slot, worker.id)).collect()
    }

    /// Forks that `generation`'s zygote has not answered.
    pub(crate) fn is_owed_a_fork_by(&self, generation: Generation) -> bool {
        self.workers().any(|worker| worker.generation == generation && worker.is_asked_for())
    }

    pub(crate) fn is_owed_a_fork(&self) -> bool {
        self.workers().any(Worker::is_asked_for)
    }

    /// How many replacements are under way: successors that are not ready, and old workers that
    /// have one but are not gone. Both take memory beyond the wanted workers.
    pub(crate) fn replacements(&self, seats: &[Seat]) -> usize {
        let successors =
            seats.iter().filter(|seat| seat.serving.is_some() && seat.under_way.is_some()).count();
        successors + self.workers().filter(|worker| worker.is_relieved()).count()
    }

    /// Somebody leaves before the successor comes, and is not gone yet.
    pub(crate) fn is_making_room(&self) -> bool {
        self.workers().any(|worker| worker.makes_room)
    }

    /// The same, in this slot.
    pub(crate) fn makes_room_in(&self, slot: SlotId) -> bool {
        self.workers().any(|worker| worker.makes_room && worker.slot == slot)
    }

    /// The lowest free line of the scoreboard; `None` while the dying still hold all of them.
    pub(crate) fn free_line(&self) -> Option<Line> {
        let taken: BTreeSet<u16> = self.workers().map(|worker| worker.line.0).collect();
        (0..self.lines).find(|line| !taken.contains(line)).map(Line)
    }

    /// Seats a worker that the zygote is asked for, and pushes the request.
    pub(crate) fn ask_for(
        &mut self,
        (slot, line, generation): (SlotId, Line, Generation),
        now: Tick,
        plan: &Plan,
        random: &mut Random,
        out: &mut Vec<Action>,
    ) {
        let id = self.next_number();
        let max_requests = match plan.max_requests {
            0 => 0,
            most => most.saturating_add(random.up_to(plan.max_requests_jitter)),
        };
        let state = WorkerState::Forking { deadline: now + plan.fork_timeout };
        let lifetime = plan.max_age.map(|age| {
            let most = u64::try_from(plan.max_age_jitter.as_millis()).unwrap_or(u64::MAX);
            age.saturating_add(Duration::from_millis(random.up_to(most)))
        });
        let worker = Worker {
            id,
            slot,
            line,
            generation,
            asked_at: now,
            limits: plan.limits(),
            spent: None,
            drains: false,
            lifetime,
            weight: None,
            makes_room: false,
            slow_since: None,
            state,
        };
        self.workers.insert(id, worker);
        out.push(Action::Fork { generation, worker: id, slot, line, max_requests });
    }

    /// A number for what is asked for now.
    pub(crate) fn next_number(&mut self) -> WorkerId {
        self.asked_for += 1;
        WorkerId(self.asked_for)
    }

    /// What was asked for last, worker or dirty arbiter.
    pub(crate) fn latest(&self) -> WorkerId {
        WorkerId(self.asked_for)
    }

    /// Counts a death in a slot; says how many in a row, and how long it now waits.
    pub(crate) fn count_death(
        &mut self,
        slot: SlotId,
        now: Tick,
        plan: &Plan,
        random: &mut Random,
    ) -> (u32, Duration) {
        self.backoffs.entry(slot).or_default().count_death(now, plan, random)
    }

    /// A worker of this slot has had a stable life.
    pub(crate) fn forget_deaths(&mut self, slot: SlotId) {
        if let Some(backoff) = self.backoffs.get_mut(&slot) {
            backoff.forget();
        }
    }

    /// What follows is forked from other code.
    pub(crate) fn forget_all_deaths(&mut self) {
        self.backoffs.clear();
    }

    /// Nobody of this generation is started in this slot any more.
    pub(crate) fn close(&mut self, slot: SlotId, generation: Generation) {
        self.closed.insert(slot, generation);
    }

    pub(crate) fn is_closed(&self, slot: SlotId, generation: Generation) -> bool {
        self.closed.get(&slot).is_some_and(|&closed| closed >= generation)
    }

    /// On their way to serve, in any slot.
    pub(crate) fn under_way(&self) -> usize {
        self.workers().filter(|worker| worker.is_under_way()).count()
    }

    pub(crate) fn let_time_pass(&mut self, now: Tick) {
        self.backoffs.values_mut().for_each(|backoff| backoff.let_time_pass(now));
    }

    pub(crate) fn is_backing_off(&self, slot: SlotId) -> bool {
        self.backoffs.get(&slot).is_some_and(|backoff| backoff.until().is_some())
    }

    /// When the next slot below `wanted` may boot again.
    pub(crate) fn next_boot(&self, wanted: u16) -> Option<Tick> {
        self.backoffs.range(..SlotId(wanted)).filter_map(|(_, backoff)| backoff.until()).min()
    }

    /// The earliest deadline of all workers.
    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.workers().filter_map(Worker::deadline).min()
    }
}
