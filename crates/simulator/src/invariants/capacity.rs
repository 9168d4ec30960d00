//! 1: Nobody is taken from the pool before somebody else serves in its place: our own decisions
//! never leave fewer serving than are wanted. An empty slot is filled as soon as it may be; of
//! several one after the other, since a zygote is asked for one fork at a time.

use std::collections::BTreeMap;

use remuda_supervisor::{
    Cause, Generation, Notice, SlotId, Snapshot, Tick, WorkerState, WorkerView, ZygoteState,
    ZygoteView,
};

use super::rolling::Rolling;
use super::room::Room;
use super::{Invariant, Step, Violation, is_under_way};

const NAME: &str = "capacity";

/// Remembers how long each slot has to wait.
#[derive(Default)]
pub(super) struct Capacity {
    waits: BTreeMap<SlotId, Tick>,
    closed: BTreeMap<SlotId, Generation>,
    /// In a crash loop or a shortage one is started after another; how seldom is checked there.
    is_slow: bool,
    rolling: Rolling,
    room: Room,
}

impl Invariant for Capacity {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for notice in step.notices() {
            match *notice {
                Notice::BackingOff { slot, wait, .. } => {
                    self.waits.insert(slot, step.now + wait);
                }
                Notice::CrashLoop { .. } | Notice::Shortage { .. } => self.is_slow = true,
                _ => {}
            }
        }
        self.closed.extend(step.closed());
        self.rolling.follow(step);
        self.room.follow(step);
        one_fork_at_a_time(step)?;
        if step.is_running() {
            relieved_only_by_a_successor(step, &self.room)?;
            enough_go_on_serving(step)?;
            if !self.is_slow {
                self.empty_slots_are_filled(step)?;
            }
        }
        Ok(())
    }
}

/// The deadline of a fork would begin while the zygote is busy with others.
fn one_fork_at_a_time(step: &Step<'_>) -> Result<(), Violation> {
    for zygote in &step.after.zygotes {
        let owed = owed_by(step.after, zygote.generation);
        if owed > 1 {
            let what = format!("zygote {} owes {owed} forks", zygote.generation.0);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}

/// Forks that this zygote has not answered.
fn owed_by(view: &Snapshot, generation: Generation) -> usize {
    let is_asked_for = |worker: &&WorkerView| {
        let is_owed =
            matches!(worker.state, WorkerState::Forking { .. } | WorkerState::Unwanted { .. });
        worker.generation == generation && is_owed
    };
    view.workers.iter().filter(is_asked_for).count()
}

fn relieved_only_by_a_successor(step: &Step<'_>, room: &Room) -> Result<(), Violation> {
    for (id, _) in step.told_to_drain() {
        let Some(worker) = step.is(id) else { continue };
        if worker.is_serving() {
            let what = format!("worker {} is told to drain, and still counted on", id.0);
            return Err(step.violation(NAME, what));
        }
        let served = |view: &WorkerView| view.is_serving();
        if !step.was(id).is_some_and(served) {
            // Given up before it counted.
            continue;
        }
        let WorkerState::Draining {
            cause: Cause::Recycle | Cause::Memory | Cause::Age | Cause::Reload,
            ..
        } = worker.state
        else {
            continue;
        };
        let needs_another = worker.slot.0 < step.after.wanted && !room.is_made_by(id);
        if needs_another && !serves(step.after, worker.slot) {
            let what = format!("worker {} drains, and nobody serves in its slot", id.0);
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}

/// Of those that served, as many as are wanted still do, or a death or a hang took them.
fn enough_go_on_serving(step: &Step<'_>) -> Result<(), Violation> {
    let drained =
        step.told_to_drain().filter(|(id, _)| step.was(*id).is_some_and(WorkerView::is_serving));
    // A reload that was queued may bring the planned number back in the same step.
    let scaled = step.notices().filter_map(|notice| match notice {
        Notice::Scaled { workers } => Some(*workers),
        _ => None,
    });
    let wanted = scaled.chain([step.after.wanted]).min().unwrap_or(0);
    // One of them, whom `memory` watches.
    let makes_room = step.notices().any(|n| matches!(n, Notice::WorkerMakesRoom { .. }));
    let wanted = wanted - u16::from(makes_room);
    let (before, after) = (step.before.serving(), step.after.serving());
    if drained.count() > 0 && after < usize::from(wanted) && after < before {
        let what = format!("of {before} serving {after} are left, {wanted} wanted");
        return Err(step.violation(NAME, what));
    }
    Ok(())
}

fn serves(view: &Snapshot, slot: SlotId) -> bool {
    view.workers.iter().any(|worker| worker.slot == slot && worker.is_serving())
}

impl Capacity {
    fn empty_slots_are_filled(&self, step: &Step<'_>) -> Result<(), Violation> {
        let view = step.after;
        if step.next_deadline.is_some_and(|at| at <= step.now) {
            // A tick comes at once, and fills it.
            return Ok(());
        }
        let can_fork = |zygote: &ZygoteView| {
            let is_ready = matches!(zygote.state, ZygoteState::Ready { .. });
            is_ready && Some(zygote.generation) >= self.rolling.since()
        };
        let sources = view.zygotes.iter().filter(|zygote| can_fork(zygote));
        let Some(source) = sources.map(|zygote| zygote.generation).max() else {
            return Ok(());
        };
        if owed_by(view, source) > 0 {
            // It forks for another slot; when it has answered, this one is next.
            return Ok(());
        }
        let lines = step.script.plan.lines();
        if view.workers.len() >= usize::from(lines) {
            // The dying hold every line of the scoreboard.
            return Ok(());
        }
        for slot in (0..view.wanted).map(SlotId) {
            let sits = |worker: &WorkerView| {
                worker.slot == slot && (worker.is_serving() || is_under_way(worker))
            };
            let closed = self.closed.get(&slot).is_some_and(|&closed| closed >= source);
            let waits = self.waits.get(&slot).is_some_and(|&until| until > step.now);
            let waits = waits || self.room.is_made_in(slot);
            if !view.workers.iter().any(sits) && !waits && !closed {
                let what = format!("slot {} is empty, and nobody is asked for", slot.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}
