//! 5: A worker that makes progress is never ended as hung. Time in which the whole machine stood
//! still is not the worker's.

use std::collections::BTreeSet;

use remuda_supervisor::{Event, Notice, Tick, WorkerId};

use super::{Invariant, Step, Violation};
use crate::process::{Process, WorkerLife};
use crate::script::Class;

const NAME: &str = "progress";

/// Remembers whose line spoke nonsense.
#[derive(Default)]
pub(super) struct Progress {
    garbled: BTreeSet<WorkerId>,
}

impl Invariant for Progress {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for notice in step.notices() {
            let Notice::WorkerHung { worker, pid, .. } = *notice else { continue };
            let Event::Sampled { worker: sampled, standing_since } = *step.event else {
                let what = format!("worker {} hangs, says nobody's line", worker.0);
                return Err(step.violation(NAME, what));
            };
            let process = step.kernel.with_pid(pid);
            let Some(life) = process.and_then(Process::worker).filter(|_| sampled == worker) else {
                let what = format!("worker {} hangs, says the line of {}", worker.0, sampled.0);
                return Err(step.violation(NAME, what));
            };
            let stood = stands(life, step);
            if !is_truth(life, standing_since, step) {
                self.garbled.insert(worker);
            } else if stood.is_none_or(|stood| Some(stood) <= step.plan().timeout) {
                let what = format!("worker {} is ended as hung, and stood {stood:?}", worker.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}

/// The line says what the worker wrote, and not what a fault put there.
fn is_truth(life: &WorkerLife, said: Option<Tick>, step: &Step<'_>) -> bool {
    match step.script.class {
        Class::Sync => life.requests.values().any(|request| Some(request.began) == said),
        Class::Loop => said == Some(life.beat(step.now, beat_period(step))),
    }
}

fn beat_period(step: &Step<'_>) -> std::time::Duration {
    let second = std::time::Duration::from_secs(1);
    step.plan().timeout.map_or(second, |timeout| second.min(timeout / 4))
}

/// How long it really stood, in time in which it could have moved.
fn stands(life: &WorkerLife, step: &Step<'_>) -> Option<std::time::Duration> {
    let since = match step.script.class {
        Class::Sync => life.requests.values().map(|request| request.began).min()?,
        Class::Loop => life.beat(step.now, beat_period(step)),
    };
    Some(step.now.since(since).saturating_sub(step.kernel.frozen_since(since)))
}
