//! Every pair of state and input, printed. The snapshots are there to be read: a change of the
//! machines shows as a change of lines, and each line must be one that was meant.

use std::fmt::{Debug, Write};

use super::driver::{plan, secs};
use crate::arbiter::{Arbiter, DirtyInput, DirtyState};
use crate::backoff::Backoff;
use crate::random::Random;
use crate::upgrade::{UpgradeInput, UpgradeState};
use crate::worker::{Input, Worker, WorkerState};
use crate::zygote::{Outcome, Zygote, ZygoteInput, ZygoteState};
use crate::{
    Action, BootFailure, Cause, Ending, Generation, Line, Notice, Order, Pid, Refusal, SlotId,
    Stood, Tick, WorkerId,
};

const NOW: Tick = Tick(1_000_000_000_000);
const LATER: Tick = Tick(1_001_000_000_000);
const PID: Pid = Pid(7);

/// The first word of a debug text: a variant's name.
fn name(debug: &str) -> String {
    debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn told(action: &Action) -> String {
    match action {
        Action::Report(Notice::WorkerExited { cause, .. }) => {
            let cause = cause.map_or("nobody".to_owned(), |cause| format!("{cause:?}"));
            format!("report WorkerExited by {cause}")
        }
        Action::Report(notice) => format!("report {}", name(&format!("{notice:?}"))),
        Action::Send { signal, .. } => format!("send {signal:?}"),
        Action::Tell { order, .. } => format!("tell {order:?}"),
        other => name(&format!("{other:?}")),
    }
}

/// One pair.
struct Met {
    from: String,
    to: String,
    /// What it means for the others.
    outcome: String,
}

impl Met {
    fn of(from: &impl Debug, to: &impl Debug) -> Self {
        let named = |state: &dyn Debug| name(&format!("{state:?}"));
        Self { from: named(from), to: named(to), outcome: String::new() }
    }
}

/// A line for each state with each input; `meet` lets one pair happen.
fn every_pair<S: Copy, I: Copy + Debug>(
    states: Vec<S>,
    inputs: &[I],
    meet: impl Fn(S, I, &mut Vec<Action>) -> Met,
) -> String {
    let mut table = String::new();
    for state in states {
        for &input in inputs {
            let mut out = Vec::new();
            let Met { from, to, outcome } = meet(state, input, &mut out);
            let to = if from == to { "=" } else { &to };
            let input = name(&format!("{input:?}"));
            let actions = out.iter().map(told).collect::<Vec<_>>().join(", ");
            let actions = if out.is_empty() { String::new() } else { format!(" [{actions}]") };
            writeln!(table, "{from} + {input} -> {to}{actions}{outcome}").unwrap();
        }
        table.push('\n');
    }
    table
}

fn worker_states() -> Vec<WorkerState> {
    let (pid, deadline, cause) = (PID, LATER, Cause::Recycle);
    vec![
        WorkerState::Forking { deadline },
        WorkerState::Unwanted { deadline: Some(deadline), cause: Cause::Scale },
        WorkerState::Unwanted { deadline: None, cause: Cause::BootTimeout },
        WorkerState::Booting { pid, deadline },
        WorkerState::Serving { pid, ready_at: Tick(0) },
        WorkerState::Draining { pid, deadline, cause },
        WorkerState::Dumping { pid, deadline, cause: Cause::Hang },
        WorkerState::Aborting { pid, deadline, cause: Cause::DrainTimeout },
        WorkerState::Quitting { pid, deadline },
        WorkerState::Dying { pid, cause: Cause::Hang },
    ]
}

fn worker_inputs() -> Vec<Input> {
    vec![
        Input::Forked(PID),
        Input::ForkFailed,
        Input::Ready,
        Input::Spent(Cause::Recycle),
        Input::Drains,
        Input::Hung { what: Stood::Standing, stood: secs(31) },
        Input::Slow { since: Tick(0), stood: secs(5) },
        Input::Overdue { stood: secs(31) },
        Input::DeadlinePassed,
        Input::Cancel(Cause::Scale),
        Input::Drain { order: Order::Drain, cause: Cause::Recycle, deadline: LATER },
        Input::Quit,
        Input::Kill(Cause::Stop),
        Input::Exited(Ending::Exited(0)),
    ]
}

fn worker_name(state: WorkerState, spent: bool) -> String {
    let spent = if spent { "(spent)" } else { "" };
    match state {
        WorkerState::Unwanted { deadline: None, .. } => format!("Unwanted(stuck){spent}"),
        state => format!("{}{spent}", name(&format!("{state:?}"))),
    }
}

fn worker(state: WorkerState) -> Worker {
    Worker {
        id: WorkerId(1),
        slot: SlotId(0),
        line: Line(0),
        generation: Generation(1),
        asked_at: Tick(0),
        limits: plan().limits(),
        spent: None,
        drains: false,
        lifetime: None,
        weight: None,
        makes_room: false,
        slow_since: None,
        state,
    }
}

#[test]
fn every_worker_state_meets_every_input() {
    let table = every_pair(worker_states(), &worker_inputs(), |state, input, out| {
        let mut worker = worker(state);
        worker.step(input, NOW, &plan(), out);
        let to = worker_name(worker.state, worker.spent.is_some());
        Met { from: worker_name(state, false), to, outcome: String::new() }
    });
    insta::assert_snapshot!("workers", table);
}

fn zygote_states() -> Vec<ZygoteState> {
    let (pid, deadline) = (PID, LATER);
    vec![
        ZygoteState::Starting { deadline },
        ZygoteState::Unwanted { deadline },
        ZygoteState::Booting { pid, deadline },
        ZygoteState::Ready { pid, ready_at: Tick(0) },
        ZygoteState::Leaving { pid, deadline },
        ZygoteState::Stuck { pid, ready_at: Tick(0) },
        ZygoteState::Dying { pid },
    ]
}

fn zygote_inputs() -> Vec<ZygoteInput> {
    vec![
        ZygoteInput::Spawned(PID),
        ZygoteInput::SpawnFailed(Refusal::Other),
        ZygoteInput::Load { within: secs(300) },
        ZygoteInput::Ready,
        ZygoteInput::Failed(BootFailure::Import),
        ZygoteInput::Stuck,
        ZygoteInput::DeadlinePassed,
        ZygoteInput::Retire,
        ZygoteInput::Abandon,
        ZygoteInput::Exited(Ending::Exited(4)),
    ]
}

#[test]
fn every_zygote_state_meets_every_input() {
    let table = every_pair(zygote_states(), &zygote_inputs(), |state, input, out| {
        let mut zygote = Zygote { generation: Generation(1), state };
        let outcome = match zygote.step(input, NOW, &plan(), out) {
            Outcome::Nothing => String::new(),
            outcome => format!(" => {}", name(&format!("{outcome:?}"))),
        };
        Met { outcome, ..Met::of(&state, &zygote.state) }
    });
    insta::assert_snapshot!("zygotes", table);
}

fn arbiter_states() -> Vec<DirtyState> {
    let (pid, deadline, zygote) = (PID, LATER, Generation(1));
    vec![
        DirtyState::Waiting { until: None },
        DirtyState::Waiting { until: Some(LATER) },
        DirtyState::Asked { zygote, deadline: Some(deadline) },
        DirtyState::Asked { zygote, deadline: None },
        DirtyState::Running { pid, since: Tick(0) },
        DirtyState::Leaving { pid, deadline },
        DirtyState::Dying { pid },
    ]
}

fn arbiter(state: DirtyState) -> Arbiter {
    let (edition, backoff) = (Generation(1), Backoff::default());
    Arbiter { edition, worker: Some(WorkerId(1)), grace: secs(30), backoff, state }
}

fn arbiter_name(state: DirtyState) -> String {
    match state {
        DirtyState::Waiting { until: None } => "Waiting(due)".to_owned(),
        DirtyState::Asked { deadline: None, .. } => "Asked(late)".to_owned(),
        state => name(&format!("{state:?}")),
    }
}

#[test]
fn every_state_of_a_dirty_arbiter_meets_every_input() {
    let inputs = [
        DirtyInput::Ask { zygote: Generation(1), worker: WorkerId(1) },
        DirtyInput::Forked(PID),
        DirtyInput::ForkFailed,
        DirtyInput::DeadlinePassed,
        DirtyInput::Leave,
        DirtyInput::Quit,
        DirtyInput::Kill,
        DirtyInput::Exited(Ending::Exited(0)),
    ];
    let table = every_pair(arbiter_states(), &inputs, |state, input, out| {
        let mut arbiter = arbiter(state);
        arbiter.step(input, NOW, &plan(), &mut Random::new(1), out);
        let (from, to) = (arbiter_name(state), arbiter_name(arbiter.state));
        Met { from, to, outcome: String::new() }
    });
    insta::assert_snapshot!("arbiters", table);
}

fn upgrade_states() -> Vec<UpgradeState> {
    let (pid, deadline, since) = (PID, LATER, Tick(0));
    vec![
        UpgradeState::Idle,
        UpgradeState::Starting,
        UpgradeState::Booting { pid, since, deadline },
        UpgradeState::Draining { pid, deadline },
        UpgradeState::Dying { pid },
        UpgradeState::Succeeded { pid, ready: true },
    ]
}

fn upgrade_inputs() -> Vec<UpgradeInput> {
    vec![
        UpgradeInput::Asked,
        UpgradeInput::Spawned(PID),
        UpgradeInput::SpawnFailed,
        UpgradeInput::Ready(PID),
        UpgradeInput::LeftAlone,
        UpgradeInput::DeadlinePassed,
        UpgradeInput::Exited(Ending::Exited(3)),
        UpgradeInput::TakenBack(Ending::Signaled(9)),
    ]
}

#[test]
fn every_state_of_an_upgrade_meets_every_input() {
    let table = every_pair(upgrade_states(), &upgrade_inputs(), |from, input, out| {
        let mut state = from;
        state.step(input, NOW, &plan(), out);
        Met::of(&from, &state)
    });
    insta::assert_snapshot!("upgrade", table);
}

/// Which deadline a state waits for; the others wait for an event only.
#[test]
fn every_state_carries_its_own_deadline() {
    let waits: Vec<_> = worker_states()
        .into_iter()
        .map(worker)
        .filter(|worker| worker.deadline().is_none())
        .map(|worker| worker_name(worker.state, false))
        .collect();
    assert_eq!(waits, ["Unwanted(stuck)", "Serving", "Dying"]);

    let waits: Vec<_> = zygote_states()
        .into_iter()
        .map(|state| Zygote { generation: Generation(1), state })
        .filter(|zygote| zygote.deadline().is_none())
        .map(|zygote| name(&format!("{:?}", zygote.state)))
        .collect();
    assert_eq!(waits, ["Ready", "Stuck", "Dying"]);

    let waits: Vec<_> = arbiter_states()
        .into_iter()
        .filter(|state| arbiter(*state).deadline().is_none())
        .map(arbiter_name)
        .collect();
    assert_eq!(waits, ["Waiting(due)", "Asked(late)", "Running", "Dying"]);

    let waits: Vec<_> = upgrade_states()
        .into_iter()
        .filter(|state| state.deadline().is_none())
        .map(|state| name(&format!("{state:?}")))
        .collect();
    // Starting is answered at once, by whoever was asked.
    assert_eq!(waits, ["Idle", "Starting", "Dying", "Succeeded"]);
}
