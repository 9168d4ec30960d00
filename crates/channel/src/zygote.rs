//! The messages between the master and a zygote.

use serde::{Deserialize, Serialize};

use crate::{Sources, WorkerPlan};

/// The zygote's end of its channel.
pub const CHANNEL_FD: i32 = 3;
/// The scoreboard's memfd in the zygote, inherited by the workers.
pub const SCOREBOARD_FD: i32 = 4;
/// The relay's end at which workers send connections in; inherited by the workers as well.
pub const RELAY_GIVE_FD: i32 = 5;
/// The end at which they take them out.
pub const RELAY_TAKE_FD: i32 = 6;
/// The first listener in the zygote; the others follow without a gap, in the order of the plan.
pub const FIRST_LISTENER_FD: i32 = 7;

/// Where a dirty arbiter is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirtyPlace {
    /// Path of the socket on which it listens.
    pub socket: String,
    /// The code is to take the place of code that serves, so it does not serve without its dirty apps.
    pub must_load: bool,
}

/// What the master says to a zygote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToZygote {
    /// The first message: what to load.
    Boot {
        /// The generation this zygote makes.
        generation: u32,
        /// Process id of the master, which workers must find as their parent.
        master: i32,
        /// Everything a zygote and its workers need to know.
        plan: Box<WorkerPlan>,
        /// Modules that earlier workers have imported after the fork.
        prefetch: Vec<String>,
        /// The dirty arbiter of this generation; `None` = there is none.
        dirty: Option<DirtyPlace>,
    },
    /// Open the log files again: workers to come inherit them.
    Reopen,
    /// Fork the dirty arbiter. Answered as `Fork`, and with a channel as well.
    ForkDirty {
        /// Serial number, never used twice, nor by a worker.
        worker: u64,
    },
    /// Fork one worker. The packet carries the worker's channel as its only descriptor.
    Fork {
        /// Serial number of the worker, never used twice; gunicorn calls it the age.
        worker: u64,
        /// Its place in the pool.
        slot: u16,
        /// Its line of the scoreboard.
        line: u16,
        /// Requests after which it asks to be replaced, jitter included; 0 = never.
        max_requests: u64,
    },
}

/// Why a zygote, or a worker that loads the app by itself, could not boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootFailure {
    /// The app's module raised while it was imported, or is missing. Exit status 3.
    Import,
    /// The module has no such app. Exit status 4.
    App,
    /// It has, but of another kind than the worker class calls. Exit status 4.
    Interface,
    /// The worker class cannot run here: a package is missing. Exit status 1.
    Class,
    /// A fork would break what the import has left behind, and `fork_check` is `refuse`. Exit
    /// status 65.
    Unsafe,
    /// Something of ours went wrong before the app was touched. Exit status 1.
    Setup,
}

/// What a zygote says to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromZygote {
    /// The interpreter runs and has found the package.
    Hello {
        /// Version of the Python package; must equal the master's.
        version: String,
        /// Version of Python, `3.12.1`.
        python: String,
    },
    /// Where its code comes from, if the plan asks for it; before the next word of how it fares.
    Sources(Sources),
    /// It waits for `fork` now.
    Ready {
        /// Whether the app is loaded here; else each worker imports it.
        preloaded: bool,
        /// How long it took since the boot message.
        took_ms: u64,
    },
    /// It gives up and exits. Whatever there was to say in detail stands in the log already.
    Failed {
        /// What kind of failure.
        failure: BootFailure,
        /// One line for people.
        message: String,
    },
    /// A worker was forked; it reports ready by its own channel.
    Forked {
        /// Serial number from the fork message.
        worker: u64,
        /// Its process id, as seen by the master.
        pid: i32,
    },
    /// No worker was made; the zygote goes on.
    ForkFailed {
        /// Serial number from the fork message.
        worker: u64,
        /// What the kernel said.
        error: String,
        /// It has no room for another process now.
        #[serde(default)]
        short: bool,
    },
}
