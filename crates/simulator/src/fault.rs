//! Everything that can go wrong, as plain data: a script is a list of these.

use std::fmt;
use std::time::Duration;

use remuda_supervisor::{Ending, Generation, Wish, WorkerId};

use crate::settings::OnDisk;

/// What the code on disk is like; a zygote keeps what it has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nothing is wrong with it.
    Good,
    /// The import raises: exit status 3.
    ImportRaises,
    /// There is no such app: exit status 4.
    AppMissing,
    /// The import ends the process.
    ImportDies(Ending),
    /// The import never ends.
    ImportHangs,
    /// Every worker ends before it is ready.
    BootDies(Ending),
    /// No worker ever becomes ready.
    BootHangs,
    /// Every worker ends some time after it became ready.
    ServingDies(Duration, Ending),
    /// Every tenth request hangs.
    RequestsHang,
}

/// What one worker does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerFault {
    /// Ends before it is ready; `Exited(0)` is the silent way.
    BootEnds(Ending),
    /// Hangs in a fork hook or an import.
    BootHangs,
    /// Takes this much longer to boot.
    BootSlow(Duration),
    /// Ends so long after it became ready, with whatever it holds.
    Ends(Duration, Ending),
    /// A request hangs, in C code (ABRT changes nothing) or in Python.
    Hangs {
        /// Counted from the worker's first.
        request: u64,
        /// Whether ABRT is of no use.
        in_c: bool,
    },
    /// Told to drain, it goes on.
    IgnoresDrain,
    /// INT and QUIT do nothing.
    IgnoresQuit,
    /// Sleeps in the kernel for so long before KILL takes effect.
    KillTakes(Duration),
    /// Starts so many programs, which outlive it unless its group is killed.
    Grandchildren(u8),
}

/// What one zygote does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZygoteFault {
    /// The kernel does not make the process.
    SpawnFails,
    /// Takes this much longer to boot.
    BootSlow(Duration),
    /// Ends so long after it became ready.
    Ends(Duration, Ending),
    /// The kernel refuses its n-th fork.
    ForkFails(u64),
    /// A hook before its n-th fork hangs; it gives up after five seconds.
    HookHangs(u64),
    /// It hangs itself at its n-th fork, and never answers again.
    Hangs(u64),
    /// Its channel ends, and it stays.
    IgnoresRetirement,
    /// Sleeps in the kernel for so long before KILL takes effect.
    KillTakes(Duration),
}

/// What one dirty arbiter does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyFault {
    /// Ends so long after it began.
    Ends(Duration, Ending),
    /// TERM and QUIT do nothing.
    IgnoresTerm,
    /// Sleeps in the kernel for so long before KILL takes effect.
    KillTakes(Duration),
}

/// What a new master does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeirFault {
    /// The kernel does not make the process, or there is no such program.
    SpawnFails,
    /// Takes this much longer to boot.
    BootSlow(Duration),
    /// Ends so long after it began, ready or not.
    Ends(Duration, Ending),
    /// Ends so long after it took over.
    Lost(Duration, Ending),
    /// Is never ready, and does not listen to TERM.
    Hangs,
}

/// Who speaks on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speaker {
    /// The master to a worker.
    Master,
    /// A worker to the master.
    Worker,
    /// A zygote to the master.
    Zygote,
}

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Its sender is held up before it sends.
    Late(Duration),
    /// It never arrives.
    Lost,
    /// Only so many of its bytes arrive.
    Truncated(u8),
}

/// Whom an outsider picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A worker, whatever it does.
    Worker,
    /// A zygote.
    Zygote,
    /// A dirty arbiter.
    Dirty,
}

/// One thing that goes wrong, or one wish of an operator. Times count from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An operator asks, so many times at once.
    Asks(Duration, Wish, u8),
    /// The code on disk changes.
    Deploy(Duration, Code),
    /// The settings on disk change.
    Settings(Duration, OnDisk),
    /// The whole machine stands still while the clock goes on.
    Suspend(Duration, Duration),
    /// The master stands still (STOP … CONT).
    MasterStops(Duration, Duration),
    /// One process stands still (STOP … CONT).
    Stops(Duration, Target, u8, Duration),
    /// Somebody else ends a process: the kernel for want of memory (9), a crash, an operator.
    Kills(Duration, Target, u8, i32),
    /// For so long no fork works: EAGAIN, ENOMEM.
    Shortage(Duration, Duration),
    /// Exits are reported so much later, all at once.
    LateReports(Duration, Duration),
    /// So many orphans of somebody's come to us and end.
    Strangers(Duration, u8),
    /// A line of the scoreboard says nonsense once: standing since so many seconds.
    Garbage(Duration, u8, u32),
    /// The master hears of what does not exist, or exists no more.
    Nonsense(Duration, u8),
    /// The n-th worker.
    Worker(WorkerId, WorkerFault),
    /// The zygote of a generation.
    Zygote(Generation, ZygoteFault),
    /// The n-th dirty arbiter.
    Dirty(u8, DirtyFault),
    /// The new master of the n-th upgrade.
    Heir(u8, HeirFault),
    /// The n-th message of these speakers.
    Message(Speaker, u64, Mishap),
}

impl Fault {
    /// When it happens, if at a time.
    pub(crate) fn at(&self) -> Option<Duration> {
        match *self {
            Self::Asks(at, ..)
            | Self::Deploy(at, _)
            | Self::Settings(at, _)
            | Self::Suspend(at, _)
            | Self::MasterStops(at, _)
            | Self::Stops(at, ..)
            | Self::Kills(at, ..)
            | Self::Shortage(at, _)
            | Self::LateReports(at, _)
            | Self::Strangers(at, _)
            | Self::Nonsense(at, _)
            | Self::Garbage(at, ..) => Some(at),
            Self::Worker(..)
            | Self::Zygote(..)
            | Self::Dirty(..)
            | Self::Heir(..)
            | Self::Message(..) => None,
        }
    }

    /// Its kind, for the summary.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Asks(_, _, 2..) => "operator asks twice",
            Self::Asks(..) => "operator asks",
            Self::Deploy(..) => "code on disk changes",
            Self::Settings(_, OnDisk::Unusable) => "settings become unusable",
            Self::Settings(..) => "settings on disk change",
            Self::Suspend(..) => "machine suspended",
            Self::MasterStops(..) => "master stopped and continued",
            Self::Stops(..) => "process stopped and continued",
            Self::Kills(_, _, _, 9) => "killed from outside (OOM)",
            Self::Kills(..) => "ended by a signal from outside",
            Self::Shortage(..) => "forks fail for a while",
            Self::LateReports(..) => "exits reported late and merged",
            Self::Strangers(..) => "strangers to reap",
            Self::Garbage(..) => "garbage on the scoreboard",
            Self::Nonsense(..) => "words about what does not exist",
            Self::Worker(_, fault) => fault.kind(),
            Self::Zygote(_, fault) => fault.kind(),
            Self::Dirty(_, fault) => fault.kind(),
            Self::Heir(_, fault) => fault.kind(),
            Self::Message(_, _, Mishap::Late(_)) => "message late",
            Self::Message(_, _, Mishap::Lost) => "message lost",
            Self::Message(_, _, Mishap::Truncated(_)) => "message truncated",
        }
    }
}

impl WorkerFault {
    fn kind(&self) -> &'static str {
        match self {
            Self::BootEnds(Ending::Exited(0)) => "worker leaves silently in boot",
            Self::BootEnds(_) => "worker dies in boot",
            Self::BootHangs => "worker hangs in boot",
            Self::BootSlow(_) => "worker boots slowly",
            Self::Ends(_, Ending::Exited(0)) => "worker leaves silently",
            Self::Ends(..) => "worker crashes",
            Self::Hangs { .. } => "request hangs",
            Self::IgnoresDrain => "worker ignores the order to drain",
            Self::IgnoresQuit => "worker ignores QUIT",
            Self::KillTakes(_) => "worker cannot be killed for a while",
            Self::Grandchildren(_) => "worker has children of its own",
        }
    }
}

impl DirtyFault {
    fn kind(self) -> &'static str {
        match self {
            Self::Ends(..) => "dirty arbiter dies",
            Self::IgnoresTerm => "dirty arbiter ignores TERM",
            Self::KillTakes(_) => "dirty arbiter cannot be killed for a while",
        }
    }
}

impl HeirFault {
    fn kind(self) -> &'static str {
        match self {
            Self::SpawnFails => "new master cannot be executed",
            Self::BootSlow(_) => "new master boots slowly",
            Self::Ends(..) => "new master dies",
            Self::Lost(..) => "new master dies after it took over",
            Self::Hangs => "new master hangs",
        }
    }
}

impl ZygoteFault {
    fn kind(&self) -> &'static str {
        match self {
            Self::SpawnFails => "zygote cannot be executed",
            Self::BootSlow(_) => "zygote boots slowly",
            Self::Ends(..) => "zygote dies",
            Self::ForkFails(_) => "fork fails",
            Self::HookHangs(_) => "fork hook hangs",
            Self::Hangs(_) => "zygote hangs in a fork",
            Self::IgnoresRetirement => "zygote ignores its retirement",
            Self::KillTakes(_) => "zygote cannot be killed for a while",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
