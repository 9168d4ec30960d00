//! What a run is made of: a plan, an app, traffic, and everything that goes wrong.
//!
//! A script follows from its seed alone. Each seed has its own selection of kinds of fault, so that
//! rare pairs meet often in some runs and not at all in others.

use std::time::Duration;

use fastrand::Rng;
use remuda_supervisor::{Ending, Generation, Limit, Plan, Wish, WorkerId};

use crate::dice::{between, millis_between};
use crate::fault::{
    Code, DirtyFault, Fault, HeirFault, Mishap, Speaker, Target, WorkerFault, ZygoteFault,
};
use crate::settings::OnDisk;

/// How a worker runs requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One request at a time; the line shows when it began.
    Sync,
    /// Several at a time; the line shows when the loop last came round.
    Loop,
}

/// How a run ends, when it has not ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finale {
    /// TERM.
    Stop,
    /// QUIT.
    Quit,
    /// TERM, and soon after QUIT.
    StopThenQuit,
}

/// Everything about one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where it came from.
    pub seed: u64,
    /// What the supervisor decides by.
    pub plan: Plan,
    /// How workers run requests.
    pub class: Class,
    /// Mean time between two requests.
    pub arrivals: Duration,
    /// Typical time of a request.
    pub request: Duration,
    /// Typical time of a worker's boot.
    pub boot: Duration,
    /// Typical time of an import.
    pub import: Duration,
    /// Numbers that processes may have; they are used again after so many.
    pub pids: i32,
    /// Time that the master takes to wake up.
    pub lag: Duration,
    /// The first code on disk.
    pub code: Code,
    /// When all faults are over.
    pub calm: Duration,
    /// How it ends.
    pub finale: Finale,
    /// What the settings may become.
    pub plans: Vec<Plan>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Script {
    /// The script of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5eed_0000_5eed);
        let rng = &mut rng;
        let plan = some_plan(rng, seed);
        let calm = millis_between(rng, 5_000, 90_000);
        let boot = millis_between(rng, 1, 400);
        // Twice as long still fits, so that without a fault nobody boots too slowly.
        let import = millis_between(rng, 10, 3_000).min(plan.boot_timeout / 3);
        let arrivals = millis_between(rng, 40, 1_200);
        // On average a request takes three times its typical time; the pool can keep up.
        let request = arrivals * u32::from(plan.workers) * rng.u32(1..=9) / 30;
        let kinds: Vec<u8> = (0..KINDS).filter(|_| rng.u8(..3) > 0).collect();
        let most = if kinds.is_empty() { 0 } else { [1, 6, 16, 40][rng.usize(..4)] };
        let count = rng.usize(..=most);
        let mut fault = || {
            let kind = kinds[rng.usize(..kinds.len())];
            some_fault(rng, kind, calm)
        };
        let mut faults: Vec<Fault> = (0..count).map(|_| fault()).collect();
        // Not drawn with the others, so that a seed stays what it was.
        let plans = other_plans(&plan, seed, import);
        faults.extend(some_changes(seed, plans.len(), calm));
        faults.extend(some_dirty_faults(seed, calm));
        faults.sort_by_key(Fault::at);
        Self {
            seed,
            class: if rng.bool() { Class::Sync } else { Class::Loop },
            arrivals,
            request,
            boot,
            import,
            pids: rng.choice([60, 300, 32_768]).unwrap_or(300),
            lag: Duration::from_millis(rng.choice([0, 0, 1, 20, 200]).unwrap_or(0)),
            code: if rng.u8(..12) == 0 { some_code(rng) } else { Code::Good },
            calm,
            finale: [Finale::Stop, Finale::Quit, Finale::StopThenQuit][rng.usize(..3)],
            plan,
            plans,
            faults,
        }
    }
}

fn some_plan(rng: &mut Rng, seed: u64) -> Plan {
    let plan = Plan::default();
    let workers = rng.u16(1..=5);
    Plan {
        workers,
        workers_max: rng.u16(workers..=8),
        max_surge: rng.u16(1..=3),
        max_requests: rng.choice([0, 0, 5, 40, 200]).unwrap_or(0),
        max_requests_jitter: rng.choice([0, 10]).unwrap_or(0),
        timeout: rng.choice([None, Some(1), Some(5), Some(30)]).flatten().map(Duration::from_secs),
        request_timeout: rng
            .choice([None, None, Some(2), Some(20)])
            .flatten()
            .map(Duration::from_secs),
        slow_request_log: rng.choice([None, Some(1)]).flatten().map(Duration::from_secs),
        graceful_timeout: Duration::from_secs(rng.choice([0, 1, 5, 30]).unwrap_or(30)),
        boot_timeout: Duration::from_secs(rng.choice([2, 10, 60]).unwrap_or(60)),
        backoff_max: Duration::from_secs(rng.choice([1, 5, 30]).unwrap_or(30)),
        stable_life: Duration::from_secs(rng.choice([1, 10]).unwrap_or(10)),
        crash_loop_limit: rng.choice([0, 5, 20, 20]).unwrap_or(20),
        crash_loop_window: Duration::from_secs(rng.choice([10, 60]).unwrap_or(60)),
        crash_loop_exit: rng.u8(..8) == 0,
        // Not drawn, so that a seed stays what it was.
        max_age: seed.is_multiple_of(5).then(|| Duration::from_secs(20)),
        max_age_jitter: Duration::from_secs(5),
        worker_memory: (seed % 4 == 1).then_some(Limit { soft: 60 << 20, hard: 90 << 20 }),
        total_memory: (seed % 7 == 1).then(|| {
            // Every other time there is seldom room for one worker more.
            let hard = if seed.is_multiple_of(2) { 170 << 20 } else { 260 << 20 };
            Limit { soft: 150 << 20, hard }
        }),
        dirty_grace: (seed % 3 == 2).then(|| Duration::from_secs(seed % 5)),
        refresh_after: [None, Some(Duration::from_secs(10))][usize::from(seed.is_multiple_of(3))],
        seed,
        ..plan
    }
}

/// What the settings may become: all that a reload can change.
fn other_plans(first: &Plan, seed: u64, import: Duration) -> Vec<Plan> {
    let mut rng = Rng::with_seed(seed ^ 0x0713_0000_0713);
    let mut other = || {
        let seed = rng.u64(..);
        let plan = some_plan(&mut rng, seed);
        Plan {
            workers: plan.workers.min(first.workers_max),
            // Without a fault nobody boots too slowly.
            boot_timeout: plan.boot_timeout.max(import * 3),
            // No settings, or not to be changed.
            workers_max: first.workers_max,
            backoff_max: first.backoff_max,
            stable_life: first.stable_life,
            seed: first.seed,
            ..plan
        }
    };
    (0..3).map(|_| other()).collect()
}

/// Changes of the settings, most of them with a reload soon after, and some with a second.
fn some_changes(seed: u64, plans: usize, calm: Duration) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed ^ 0x5e77_0000_5e77);
    let mut changes = Vec::new();
    for _ in 0..[0, 0, 1, 1, 2, 4][rng.usize(..6)] {
        let at = between(&mut rng, Duration::ZERO, calm);
        let on_disk = match rng.usize(..plans + 2) {
            0 => OnDisk::Unusable,
            1 => OnDisk::First,
            nth => OnDisk::Other(nth - 2),
        };
        changes.push(Fault::Settings(at, on_disk));
        for _ in 0..[0, 1, 1, 2][rng.usize(..4)] {
            let soon = at + millis_between(&mut rng, 0, 3_000);
            changes.push(Fault::Asks(soon, Wish::Reload, 1));
        }
    }
    changes
}

/// What dirty arbiters do wrong, and what is done to them; of no effect where there are none.
fn some_dirty_faults(seed: u64, calm: Duration) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed ^ 0xd127_0000_d127);
    let rng = &mut rng;
    let fault = |rng: &mut Rng| match rng.u8(..8) {
        0 => Fault::Kills(between(rng, Duration::ZERO, calm), Target::Dirty, 0, 9),
        1 => Fault::Stops(between(rng, Duration::ZERO, calm), Target::Dirty, 0, some_length(rng)),
        nth => {
            let does = match nth {
                2 => DirtyFault::Ends(Duration::ZERO, some_ending(rng)),
                3 | 4 => DirtyFault::Ends(millis_between(rng, 0, 30_000), some_ending(rng)),
                5 => DirtyFault::KillTakes(some_length(rng)),
                _ => DirtyFault::IgnoresTerm,
            };
            Fault::Dirty(rng.u8(1..=6), does)
        }
    };
    (0..[0, 2, 6][rng.usize(..3)]).map(|_| fault(rng)).collect()
}

/// The last two are both of a worker: there are many more of them than of anything else.
const KINDS: u8 = 19;

fn some_fault(rng: &mut Rng, kind: u8, calm: Duration) -> Fault {
    let at = between(rng, Duration::ZERO, calm);
    match kind {
        0 => Fault::Asks(at, Wish::Reload, rng.u8(1..=2)),
        1 => {
            let wishes = [Wish::MoreWorkers, Wish::FewerWorkers, Wish::ReopenLogs];
            Fault::Asks(at, wishes[rng.usize(..3)], rng.u8(1..=2))
        }
        // Seldom, since nothing can follow it.
        2 if rng.u8(..8) == 0 => {
            Fault::Asks(at, [Wish::Stop, Wish::Quit][rng.usize(..2)], rng.u8(1..=2))
        }
        2 | 3 => Fault::Deploy(at, if rng.bool() { Code::Good } else { some_code(rng) }),
        4 => Fault::Suspend(at, some_length(rng)),
        5 => Fault::MasterStops(at, some_length(rng)),
        6 => Fault::Stops(at, some_target(rng), rng.u8(..), some_length(rng)),
        7 | 8 => Fault::Kills(at, some_target(rng), rng.u8(..), [9, 9, 11, 6][rng.usize(..4)]),
        9 => Fault::Shortage(at, some_length(rng)),
        10 => Fault::LateReports(at, some_length(rng)),
        11 => Fault::Strangers(at, rng.u8(1..=100)),
        12 => Fault::Garbage(at, rng.u8(..), rng.u32(..100_000)),
        13 => Fault::Zygote(Generation(rng.u32(1..=4)), some_zygote_fault(rng)),
        14 => {
            let speakers = [Speaker::Master, Speaker::Worker, Speaker::Zygote];
            Fault::Message(speakers[rng.usize(..3)], rng.u64(..30), some_mishap(rng))
        }
        15 => Fault::Nonsense(at, rng.u8(..)),
        16 if rng.u8(..4) > 0 => Fault::Heir(rng.u8(1..=3), some_heir_fault(rng)),
        16 => Fault::Asks(at, Wish::Upgrade, rng.u8(1..=2)),
        _ => Fault::Worker(WorkerId(rng.u64(1..=20)), some_worker_fault(rng)),
    }
}

fn some_length(rng: &mut Rng) -> Duration {
    let most = [30, 2_000, 20_000, 200_000][rng.usize(..4)];
    millis_between(rng, 1, most)
}

fn some_target(rng: &mut Rng) -> Target {
    if rng.u8(..4) == 0 { Target::Zygote } else { Target::Worker }
}

fn some_ending(rng: &mut Rng) -> Ending {
    match rng.u8(..10) {
        0 => Ending::Exited(0),
        1 => Ending::Exited(1),
        2 => Ending::Exited(3),
        3 => Ending::Exited(4),
        4 => Ending::Exited(75),
        5 => Ending::Exited(78),
        6 => Ending::Exited(255),
        7 => Ending::Signaled(9),
        _ => Ending::Signaled(11),
    }
}

fn some_code(rng: &mut Rng) -> Code {
    match rng.u8(..9) {
        0 => Code::ImportRaises,
        1 => Code::AppMissing,
        2 => Code::ImportDies(some_ending(rng)),
        3 => Code::ImportHangs,
        4 | 5 => Code::BootDies(some_ending(rng)),
        6 => Code::BootHangs,
        7 => Code::ServingDies(millis_between(rng, 1, 20_000), some_ending(rng)),
        _ => Code::RequestsHang,
    }
}

fn some_worker_fault(rng: &mut Rng) -> WorkerFault {
    match rng.u8(..10) {
        0 => WorkerFault::BootEnds(some_ending(rng)),
        1 => WorkerFault::BootHangs,
        2 => WorkerFault::BootSlow(some_length(rng)),
        3 => WorkerFault::Ends(millis_between(rng, 0, 30_000), some_ending(rng)),
        4 | 5 => WorkerFault::Hangs { request: rng.u64(1..=20), in_c: rng.bool() },
        6 => WorkerFault::IgnoresDrain,
        7 => WorkerFault::IgnoresQuit,
        8 => WorkerFault::KillTakes(some_length(rng)),
        _ => WorkerFault::Grandchildren(rng.u8(1..=5)),
    }
}

fn some_zygote_fault(rng: &mut Rng) -> ZygoteFault {
    match rng.u8(..8) {
        0 => ZygoteFault::SpawnFails,
        1 => ZygoteFault::BootSlow(some_length(rng)),
        2 => ZygoteFault::Ends(millis_between(rng, 0, 30_000), some_ending(rng)),
        3 => ZygoteFault::ForkFails(rng.u64(1..=8)),
        4 => ZygoteFault::HookHangs(rng.u64(1..=8)),
        5 => ZygoteFault::Hangs(rng.u64(1..=8)),
        6 => ZygoteFault::IgnoresRetirement,
        _ => ZygoteFault::KillTakes(some_length(rng)),
    }
}

fn some_heir_fault(rng: &mut Rng) -> HeirFault {
    match rng.u8(..7) {
        0 => HeirFault::SpawnFails,
        5 | 6 => HeirFault::Lost(millis_between(rng, 0, 3_000), some_ending(rng)),
        1 => HeirFault::BootSlow(some_length(rng)),
        2 | 3 => HeirFault::Ends(millis_between(rng, 0, 10_000), some_ending(rng)),
        _ => HeirFault::Hangs,
    }
}

fn some_mishap(rng: &mut Rng) -> Mishap {
    match rng.u8(..4) {
        0 => Mishap::Lost,
        1 => Mishap::Truncated(rng.u8(..12)),
        _ => Mishap::Late(some_length(rng)),
    }
}
