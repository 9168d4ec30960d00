//! The messages between the master and the herald, the Python process that reads the configuration
//! file and calls the hooks that gunicorn calls in its master.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::WorkerPlan;

/// Where a Python configuration file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConfigPlace {
    /// A path, absolute.
    Path {
        /// The path.
        path: String,
    },
    /// A module to import.
    Module {
        /// Its dotted name.
        module: String,
    },
}

/// A worker class that has to be imported to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassQuestion {
    /// Its path, where it is not the file that names it.
    pub path: Option<String>,
    /// The paths that need no look.
    pub known: Vec<String>,
    /// Where modules are looked for, beside what the file says.
    pub folders: Vec<String>,
}

/// What a worker class that is not ours is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerForm {
    /// Its path, as it was given.
    pub path: String,
    /// The path of its nearest base that is known, or of what it is based on.
    pub base: String,
    /// What it has of its own that this base would run.
    pub overrides: Vec<String>,
    /// What it passes to uvicorn.
    pub kwargs: serde_json::Map<String, serde_json::Value>,
    /// Why it could not be imported.
    pub error: Option<String>,
}

/// What the master says to the herald.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToHerald {
    /// Run the file, and say what is in it. Answered by `Values` or `Unreadable`.
    Read {
        /// The file, if there is one.
        place: Option<ConfigPlace>,
        /// The names of all settings; with a hook, how many arguments it may take.
        known: BTreeMap<String, Vec<u8>>,
        /// What to find out of the worker class, if it matters.
        worker_class: Option<ClassQuestion>,
    },
    /// What the settings have become. The file that was read last belongs to them.
    Settled {
        /// Process id of the master.
        master: i32,
        /// Everything that zygotes and workers are told.
        plan: Box<WorkerPlan>,
    },
    /// The sockets are bound.
    Bound {
        /// Their addresses, as URLs.
        listeners: Vec<String>,
    },
    /// Call a hook that takes the server alone. Answered by `Called`.
    Call {
        /// Its name.
        hook: String,
    },
    /// A worker was forked.
    Forked {
        /// Its serial number.
        worker: u64,
        /// Its place in the pool.
        slot: u16,
        /// Its process id.
        pid: i32,
    },
    /// A worker has been reaped: `child_exit`.
    Exited {
        /// Its process id.
        pid: i32,
    },
    /// Open the log files again.
    Reopen,
    /// The number of wanted workers was set: `nworkers_changed`.
    Scaled {
        /// To this.
        workers: u16,
    },
}

/// What a name of the file stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", content = "is", rename_all = "snake_case")]
pub enum ValueForm {
    /// A number, a text, a list, a table, or nothing.
    Plain(serde_json::Value),
    /// A function, by its name.
    Callable(String),
    /// A class, by its dotted path.
    Class(String),
    /// Something else, by the name of its type.
    Other(String),
}

/// One name of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// The name.
    pub name: String,
    /// Line of its assignment, where there is one at the top level.
    pub line: Option<u32>,
    /// What it stands for.
    #[serde(flatten)]
    pub form: ValueForm,
}

/// What the herald says to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromHerald {
    /// The file has run.
    Values {
        /// What it has left behind.
        values: Vec<ConfigValue>,
        /// The worker class, where it had to be looked at.
        #[serde(default)]
        worker: Option<WorkerForm>,
    },
    /// The file could not be run.
    Unreadable {
        /// What went wrong, with a traceback if Python has one; for people.
        text: String,
    },
    /// A hook was called, or there is none of this name.
    Called {
        /// Its name.
        hook: String,
        /// The traceback if it raised.
        error: Option<String>,
    },
}
