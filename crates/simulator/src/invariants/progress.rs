//! 5: A worker that makes progress is never ended as hung. Time in which the whole machine stood
//! still is not the worker's.

use std::collections::BTreeSet;

use remuda_supervisor::{Event, Notice, Stood, Tick, WorkerId};

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
            let Notice::WorkerHung { worker, pid, what, .. } = *notice else { continue };
            let Event::Sampled { worker: sampled, sample } = *step.event else {
                let what = format!("worker {} hangs, says nobody's line", worker.0);
                return Err(step.violation(NAME, what));
            };
            let process = step.kernel.with_pid(pid);
            let Some(life) = process.and_then(Process::worker).filter(|_| sampled == worker) else {
                let what = format!("worker {} hangs, says the line of {}", worker.0, sampled.0);
                return Err(step.violation(NAME, what));
            };
            // It breathes as often as what it was told asks for.
            let limits = step.plan().limits().longer(life.plan.limits());
            // A request that began last has run for the least time of all.
            let (said, since, limit) = match what {
                Stood::Standing => {
                    (sample.standing_since, standing_since(life, step), limits.timeout)
                }
                Stood::Request => (sample.latest_since, latest_since(life), limits.request_timeout),
            };
            let stood = since.map(|since| ran_since(since, step));
            if said != since {
                self.garbled.insert(worker);
            } else if stood.is_none_or(|stood| Some(stood) <= limit) {
                let what = format!("worker {} is ended as hung, and stood {stood:?}", worker.0);
                return Err(step.violation(NAME, what));
            }
        }
        Ok(())
    }
}

fn standing_since(life: &WorkerLife, step: &Step<'_>) -> Option<Tick> {
    match step.script.class {
        Class::Sync => life.requests.values().map(|request| request.began).min(),
        Class::Loop => Some(life.beat(step.now)),
    }
}

fn latest_since(life: &WorkerLife) -> Option<Tick> {
    life.requests.values().map(|request| request.began).max()
}

/// How long it really stood, in time in which it could have moved.
fn ran_since(since: Tick, step: &Step<'_>) -> std::time::Duration {
    step.now.since(since).saturating_sub(step.kernel.frozen_since(since))
}
