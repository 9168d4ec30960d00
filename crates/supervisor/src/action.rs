//! What we may ask of the runtime.

use crate::{Generation, Line, Notice, Pid, SlotId, Standing, WorkerId};

/// The signals we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Drain and leave; to a new master and dirty arbiters, since workers are told on their channel.
    Terminate,
    /// Leave at once, but by the worker's own code: requests in flight get a 500.
    Quit,
    /// Break out of what hangs.
    Abort,
    /// Open the log files again; to dirty arbiters only.
    Reopen,
    /// SIGKILL, to the whole process group.
    Kill,
}

/// What a worker is told on its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take requests.
    Serve,
    /// Accept no more, finish, leave.
    Drain,
    /// First accept what waits in the accept queue, then drain.
    DrainQueue,
    /// Accept no more, take what others have passed on, finish, leave: another master will serve,
    /// and nobody knows when.
    HandOver,
    /// Open the log files again.
    Reopen,
}

/// What we may ask of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Execute a zygote. Answered by `ZygoteSpawned` or `ZygoteSpawnFailed`.
    StartZygote { generation: Generation },
    /// Close a zygote's channel, at which it exits.
    RetireZygote { generation: Generation },
    /// Ask a zygote for a worker. Answered by `Forked` or `ForkFailed`.
    Fork {
        generation: Generation,
        worker: WorkerId,
        slot: SlotId,
        line: Line,
        /// Requests after which it is spent, jitter included; 0 = never.
        max_requests: u64,
    },
    /// Ask a zygote for a dirty arbiter, under a number like a worker's. Answered by `Forked` or
    /// `ForkFailed`.
    ForkDirty { generation: Generation, worker: WorkerId },
    /// Say something on a worker's channel.
    Tell { worker: WorkerId, order: Order },
    /// Make a worker write all its Python stacks into the log.
    DumpStacks { worker: WorkerId, pid: Pid },
    /// Send a signal to a worker, a zygote, a dirty arbiter or a new master.
    Send { pid: Pid, signal: Signal },
    /// Let no new connection into the accept queues; those inside can still be accepted.
    CloseGate,
    /// Execute a new master beside this one, with our listeners. Answered by `UpgradeSpawned` or
    /// `UpgradeSpawnFailed`.
    StartUpgrade,
    /// The listeners, and all that bears the service's name, are the new master's from now on.
    HandOver { to: Pid },
    /// The new master has crashed: they are ours again.
    TakeBack,
    /// Tell the service manager how the service stands.
    Publish(Standing),
    /// Tell the service manager that decisions are still made.
    FeedWatchdog,
    /// Open the master's own log files again.
    ReopenLogs,
    /// What this generation was planned with counts from now on, also for zygotes to come.
    Adopt { generation: Generation },
    /// Tell the log.
    Report(Notice),
    /// End the master. The last action there ever is.
    Exit { status: u8 },
}
