//! How the service stands, for people: the supervisor's picture, and what workers say of themselves.

use remuda_channel::{RequestStatus, Status, WorkerStatus, ZygoteStatus};
use remuda_scoreboard::LineView;
use remuda_supervisor::{DirtyState, Stage, Tick, WorkerState, WorkerView, ZygoteState};

use crate::shell::{Shell, now};

impl Shell {
    pub(crate) fn status(&self) -> Status {
        let now = now();
        let (snapshot, standing) = (self.supervisor.snapshot(), self.supervisor.standing());
        let mut workers: Vec<_> = snapshot
            .workers
            .iter()
            .map(|view| worker(view, &self.board.read(view.line.0), now))
            .collect();
        workers.sort_by_key(|worker| worker.slot);
        let zygotes = snapshot.zygotes.iter().map(|zygote| ZygoteStatus {
            generation: zygote.generation.0,
            pid: zygote.pid.map(|pid| pid.0),
            state: zygote_state(zygote.state).to_owned(),
        });
        let arbiters = snapshot.arbiters.iter().map(|arbiter| ZygoteStatus {
            generation: arbiter.generation.0,
            pid: arbiter.pid.map(|pid| pid.0),
            state: arbiter_state(arbiter.state).to_owned(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            stage: match standing.stage {
                Stage::Starting => "starting",
                Stage::Serving => "serving",
                Stage::Reloading => "reloading",
                Stage::HandedOver { .. } => "handed over",
                Stage::Stopping => "stopping",
            }
            .to_owned(),
            uptime_s: now.since(self.started).as_secs_f64(),
            app: self.config.worker_plan.app.clone(),
            addresses: self.config.addresses.clone(),
            wanted: standing.wanted,
            ready: standing.ready,
            workers,
            zygotes: zygotes.collect(),
            dirty_arbiters: arbiters.collect(),
            memory: self.report.status(now),
        }
    }
}

/// A line that names another process says nothing about this one.
fn worker(view: &WorkerView, line: &LineView, now: Tick) -> WorkerStatus {
    let is_its = view.pid.is_some_and(|pid| u64::try_from(pid.0).is_ok_and(|pid| pid == line.pid));
    let line = Some(line).filter(|_| is_its);
    let oldest = line.filter(|line| line.in_flight > 0 && !line.oldest.method.is_empty());
    let age_s = |since: Tick| now.since(since).as_secs_f64();
    WorkerStatus {
        slot: view.slot.0,
        pid: view.pid.map(|pid| pid.0),
        state: state(view.state).to_owned(),
        generation: view.generation.0,
        age_s: age_s(view.asked_at),
        requests: line.map_or(0, |line| line.served),
        in_flight: line.map_or(0, |line| line.in_flight),
        oldest: oldest.map(|line| RequestStatus {
            method: line.oldest.method.clone(),
            path: line.oldest.path.clone(),
            age_s: age_s(Tick(line.oldest.start_ns)),
        }),
    }
}

fn state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Forking { .. } => "forking",
        WorkerState::Booting { .. } => "booting",
        WorkerState::Serving { .. } => "serving",
        WorkerState::Draining { .. } => "draining",
        WorkerState::Unwanted { .. } => "cancelled",
        WorkerState::Dumping { .. } | WorkerState::Aborting { .. } => "hung",
        WorkerState::Quitting { .. } => "quitting",
        WorkerState::Dying { .. } | WorkerState::Gone => "killed",
    }
}

fn arbiter_state(state: DirtyState) -> &'static str {
    match state {
        DirtyState::Waiting { .. } => "waiting",
        DirtyState::Asked { .. } => "forking",
        DirtyState::Running { .. } => "running",
        DirtyState::Leaving { .. } => "leaving",
        DirtyState::Dying { .. } | DirtyState::Gone => "killed",
    }
}

fn zygote_state(state: ZygoteState) -> &'static str {
    match state {
        ZygoteState::Starting { .. } | ZygoteState::Booting { .. } => "loading",
        ZygoteState::Ready { .. } => "ready",
        ZygoteState::Stuck { .. } => "stuck",
        _ => "leaving",
    }
}
