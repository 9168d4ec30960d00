//! Reads the user's wishes: every setting is declared once, in [`table`].
//!
//! In come the command line, the environment, the start directory and, from there, at most one
//! file; out goes an [`Outcome`]: typed [`Settings`] with warnings, a text to print, or the list of
//! everything that is wrong. A TOML file is read here. A Python file is found here, and its values
//! are handed in by whoever can run Python: [`Sources`] has the two halves.
//!
//! ```text
//! default < PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS < gunicorn.conf.py or remuda.toml
//!         < GUNICORN_<SETTING> < GUNICORN_CMD_ARGS < command line        (later wins)
//! ```
//!
//! It opens no socket, starts no process and reads no variable of its own process: all is handed in.
//! Where to read next: [`table`] (what there is), `load` (the order), `resolve` (text to types).

#![forbid(unsafe_code)]

mod address;
mod cfg;
mod ciphers;
mod declare;
mod environment;
mod file;
mod flags;
mod foreign_worker;
mod load;
mod memory;
mod migration;
mod nearest;
mod origin;
mod paste;
mod print;
mod problem;
mod protocols;
mod python_file;
mod resolve;
mod settings;
pub mod table;
mod value;
mod wishes;
mod worker_class;

pub use address::Address;
pub use declare::{Group, Kind, Setting, Support, Zero};
pub use foreign_worker::ForeignWorker;
pub use load::{ClassQuestion, Outcome, Sources};
pub use origin::Origin;
pub use print::reference_page;
pub use problem::{Problem, Refusal, Warning};
pub use python_file::{Place, PythonFile, PythonForm, PythonValue};
pub use settings::{
    AsgiSettings, Changed, ControlSettings, ForwardedSettings, Http2Settings, IdentitySettings,
    Lenience, LoggingSettings, MemorySettings, MemorySize, ProxySettings, ReloadSettings, Settings,
    StatsdSettings, SyslogSettings, TlsSettings,
};
pub use table::HERALD_HOOKS;
pub use worker_class::{WorkerClass, known_paths};
