//! What may happen to us.

use crate::{Generation, Pid, Plan, Tick, WorkerId};

/// Why something could not boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFailure {
    /// The app's module raised while it was imported, or is missing. gunicorn's exit status 3.
    Import,
    /// The module has no such app. gunicorn's exit status 4.
    App,
    /// The worker class cannot run here. Exit status 1.
    Class,
    /// Something of ours, before the app was touched. Exit status 1.
    Setup,
    /// A fork would break the app, and it is not to be forked then. Exit status 65.
    Unsafe,
    /// There was no room: the kernel refused the process, or it left with exit status 75.
    Shortage,
    /// It left with exit status 78: another try is of no use.
    NoRetry,
}

/// Why a process could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel has no room for it now: EAGAIN, ENOMEM, EMFILE, ENFILE.
    Shortage,
    /// Anything else: no such program, a fork hook that hangs, a zygote that is gone.
    Other,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It called exit.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Finish what is held and what waits in the accept queue, then leave (TERM).
    Stop,
    /// Leave at once (INT, QUIT).
    Quit,
    /// Load the code again (HUP).
    Reload,
    /// One worker more (TTIN).
    MoreWorkers,
    /// One worker less, never below one (TTOU).
    FewerWorkers,
    /// Close and open the log files again (USR1).
    ReopenLogs,
    /// Hand over to a new master (USR2).
    Upgrade,
}

/// What a worker's line of the scoreboard says of time. `None` = there is no such request, or the
/// line cannot be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Since when the oldest request (sync) or the loop (other classes) has stood still.
    pub standing_since: Option<Tick>,
    /// When the oldest request in flight began, or later if the app has put off its limits.
    pub oldest_since: Option<Tick>,
    /// No request in flight began later, or is to be counted from later.
    pub latest_since: Option<Tick>,
}

/// What may happen to us.
///
/// Of what has happened at the same time, the runtime hands in first what was said on channels,
/// then the exits (a channel is read to its end before its zygote's exit), then `Tick`: so nobody
/// is given up for a word that has already arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The listeners are bound; begin.
    Start,
    /// Time has passed; deadlines are looked at. Sent at `next_deadline`, harmless at any time.
    Tick,
    /// A zygote's process exists.
    ZygoteSpawned { generation: Generation, pid: Pid },
    /// A zygote's process could not be made.
    ZygoteSpawnFailed { generation: Generation, refusal: Refusal },
    /// A zygote waits for fork requests.
    ZygoteReady { generation: Generation },
    /// A zygote says that it cannot; its exit follows.
    ZygoteFailed { generation: Generation, failure: BootFailure },
    /// The zygote has forked the worker, or the dirty arbiter.
    Forked { worker: WorkerId, pid: Pid },
    /// The zygote could not.
    ForkFailed { worker: WorkerId, refusal: Refusal },
    /// The worker takes requests from now on.
    WorkerReady { worker: WorkerId },
    /// The worker has served its requests and asks to be replaced.
    WorkerSpent { worker: WorkerId },
    /// The worker has read that it shall drain: it accepts nothing more.
    WorkerDrains { worker: WorkerId },
    /// What the scoreboard says of a worker. Sent for every worker once a sampling round, only when
    /// the plan has a limit that needs it. A round comes every second or more often.
    Sampled { worker: WorkerId, sample: Sample },
    /// Private memory of workers, and what all processes take together, in bytes. Sent every few
    /// seconds, only when the plan has a limit.
    Measured { workers: Vec<(WorkerId, u64)>, total: u64 },
    /// Workers have imported so many modules, all in all, that the newest zygote was not told of.
    Learned { modules: u32 },
    /// A file that the app was loaded from, or that belongs to it, has changed.
    Edited,
    /// A new master's process exists.
    UpgradeSpawned { pid: Pid },
    /// A new master's process could not be made.
    UpgradeSpawnFailed,
    /// The new master serves with all its workers.
    UpgradeReady { pid: Pid },
    /// The master before us has left everything to us.
    Promoted,
    /// A child was reaped: a worker, a zygote, a dirty arbiter, a new master, or a stranger.
    Exited { pid: Pid, ending: Ending },
    /// An operator asks.
    Asked(Wish),
    /// The settings were read again for the generation that is being loaded. They are adopted once
    /// it serves, and dropped with it if it never does.
    Replanned { generation: Generation, plan: Box<Plan> },
}
