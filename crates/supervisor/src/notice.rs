//! What we tell the log. One variant an event; the words stand in `journal`.

use std::time::Duration;

use crate::{BootFailure, Ending, Generation, Pid, SlotId, WorkerId};

/// Why a worker's life was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Served its `max_requests`.
    Recycle,
    /// Takes too much memory.
    Memory,
    /// Has reached its `max_age`.
    Age,
    /// A newer generation serves.
    Reload,
    /// The pool was made smaller.
    Scale,
    /// The service stops.
    Stop,
    /// A new master serves.
    HandOver,
    /// It hung.
    Hang,
    /// It was not ready in time.
    BootTimeout,
    /// It did not finish draining in time.
    DrainTimeout,
}

/// Why the code is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// An operator asks. gunicorn: `Hang up: Master`.
    Asked,
    /// Workers shall share what they have imported late.
    Learned,
    /// A file has changed.
    Edited,
}

/// Why the service ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The app cannot boot at all.
    Boot(BootFailure),
    /// Workers died too often, and the plan says that this is the end.
    CrashLoop,
}

/// Why an upgrade was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeFailure {
    /// The new master could not be executed.
    Spawn,
    /// It ended before it was ready.
    Exited(Ending),
    /// It was not ready in time.
    TimedOut,
}

/// What has stood for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// The oldest request (sync), or the loop (other classes).
    Standing,
    /// The oldest request, in a worker whose loop is well.
    Request,
}

/// What we tell the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A worker was forked.
    WorkerForked { worker: WorkerId, slot: SlotId, pid: Pid },
    /// A worker takes requests.
    WorkerReady { worker: WorkerId, slot: SlotId, pid: Pid, took: Duration },
    /// A worker is told to drain.
    WorkerDraining { worker: WorkerId, slot: SlotId, pid: Pid, cause: Cause },
    /// A worker's request or loop has stood for too long. gunicorn: `WORKER TIMEOUT (pid:N)`.
    WorkerHung { worker: WorkerId, slot: SlotId, pid: Pid, what: Stood, stood: Duration },
    /// A worker's request or loop has stood for long enough to be told, not to be ended.
    WorkerSlow { worker: WorkerId, slot: SlotId, pid: Pid, stood: Duration },
    /// A request cannot be broken off; its worker will be replaced.
    WorkerOverdue { worker: WorkerId, slot: SlotId, pid: Pid, stood: Duration },
    /// A worker's private memory, or the memory of all (`total`), is above its soft limit; this one,
    /// the largest, is replaced. It began with `first`. In bytes.
    WorkerTooLarge {
        worker: WorkerId,
        slot: SlotId,
        pid: Pid,
        first: u64,
        bytes: u64,
        limit: u64,
        total: Option<u64>,
    },
    /// The same for a hard limit; `takes` is what is above it. The worker is killed.
    WorkerFarTooLarge {
        worker: WorkerId,
        slot: SlotId,
        pid: Pid,
        bytes: u64,
        takes: u64,
        limit: u64,
    },
    /// A successor of `newcomer` bytes would bring the service, which `takes` so much, above its hard
    /// limit: the worker drains before the successor is asked for.
    WorkerMakesRoom {
        worker: WorkerId,
        slot: SlotId,
        pid: Pid,
        takes: u64,
        newcomer: u64,
        limit: u64,
    },
    /// Above the limit, and no worker has grown: others in their place would take as much.
    MemoryLimitTooLow { limit: u64, takes: u64 },
    /// A worker was not ready in time and is killed.
    WorkerBootTimedOut { worker: WorkerId, slot: SlotId, pid: Pid },
    /// A worker did not finish draining in time and is killed.
    WorkerDrainTimedOut { worker: WorkerId, slot: SlotId, pid: Pid },
    /// A worker was reaped. `cause` is ours; `None` = nobody asked for it.
    WorkerExited { worker: WorkerId, slot: SlotId, pid: Pid, ending: Ending, cause: Option<Cause> },
    /// A fork failed or was not answered in time.
    ForkFailed { worker: WorkerId, slot: SlotId },
    /// The next boot in this slot waits, after so many deaths in a row. Not told one by one in a
    /// crash loop.
    BackingOff { slot: SlotId, deaths: u32, wait: Duration },
    /// So many workers died early since the last such notice, or within the window if it is the
    /// first; from now on one is started every `pace`.
    CrashLoop { deaths: u32, pace: Duration, serving: usize },
    /// A worker has had a stable life again.
    CrashLoopOver,
    /// For want of room nothing is started for a while, after so many refusals in a row.
    Shortage { refusals: u32, wait: Duration },
    /// There is room again.
    ShortageOver,
    /// A worker has asked not to be started again; the slot stays empty until the app is loaded
    /// anew.
    SlotClosed { slot: SlotId, pid: Pid },
    /// A zygote waits for fork requests.
    ZygoteReady { generation: Generation, pid: Pid },
    /// A zygote was given up.
    ZygoteFailed { generation: Generation, failure: BootFailure },
    /// A zygote was not ready in time and is killed.
    ZygoteBootTimedOut { generation: Generation },
    /// A serving zygote died; a new one is started, the workers serve on.
    ZygoteLost { generation: Generation, ending: Ending },
    /// A dirty arbiter was forked.
    DirtyStarted { generation: Generation, pid: Pid },
    /// A dirty arbiter could not be forked, or its zygote has not answered.
    DirtyForkFailed { generation: Generation, wait: Duration },
    /// A dirty arbiter has ended by itself; one is asked for after the wait if it is still needed.
    DirtyLost { generation: Generation, pid: Pid, ending: Ending, wait: Duration },
    /// A dirty arbiter did not leave in time, and is killed.
    DirtyTimedOut { pid: Pid },
    /// A dirty arbiter that was to leave is gone.
    DirtyExited { pid: Pid, ending: Ending },
    /// A reload begins.
    ReloadStarted { generation: Generation, occasion: Occasion },
    /// All workers are of the new generation.
    ReloadDone { generation: Generation, took: Duration },
    /// The new code does not run; the old generation serves on.
    ReloadGivenUp { generation: Generation, serving: Generation, failure: Option<BootFailure> },
    /// The code has changed while it was being loaded; it is loaded anew. The old generation serves.
    ReloadOvertaken { generation: Generation },
    /// A reload was asked for while one is under way; it follows afterwards.
    ReloadQueued,
    /// A new master boots beside this one.
    UpgradeStarted { pid: Pid },
    /// No upgrade begins.
    UpgradeRefused { why: &'static str },
    /// The new master will not serve; we serve on.
    UpgradeGivenUp { why: UpgradeFailure },
    /// The new master serves, and we leave; `took` is `None` when it was not ready, and we were
    /// told to leave.
    HandedOver { pid: Pid, took: Option<Duration> },
    /// The new master has ended while we were on our way out.
    HeirLost { pid: Pid, ending: Ending },
    /// The new master has crashed while we were on our way out, and we serve again.
    TakenBack { pid: Pid, ending: Ending },
    /// The master before us has left everything to us.
    Promoted,
    /// The service is complete for the first time: all wanted workers are ready.
    Serving { workers: u16 },
    /// The number of wanted workers has changed.
    Scaled { workers: u16 },
    /// The service stops. gunicorn: `Shutting down: Master`; `reason` when a boot failure ends it.
    Stopping { reason: Option<Reason> },
    /// An event that the state does not expect.
    Surprise { what: &'static str },
}
