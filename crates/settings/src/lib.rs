//! Reads the user's wishes: every setting is declared once, in [`table`].
//!
//! In come the command line, the environment, the start directory and, from there, at most one
//! TOML file; out goes an [`Outcome`]: typed [`Settings`] with warnings, a text to print, or the
//! list of everything that is wrong.
//!
//! ```text
//! default < PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS < remuda.toml
//!         < GUNICORN_<SETTING> < GUNICORN_CMD_ARGS < command line        (later wins)
//! ```
//!
//! It opens no socket, starts no process and reads no variable of its own process: all is handed in.
//! Where to read next: [`table`] (what there is), `load` (the order), `resolve` (text to types).

#![forbid(unsafe_code)]

mod address;
mod ciphers;
mod declare;
mod environment;
mod file;
mod flags;
mod load;
mod nearest;
mod origin;
mod print;
mod problem;
mod protocols;
mod resolve;
mod settings;
pub mod table;
mod value;
mod wishes;
mod worker_class;

pub use address::Address;
pub use declare::{Group, Kind, Setting, Support, Zero};
pub use load::{Outcome, load};
pub use origin::Origin;
pub use print::reference_page;
pub use problem::{Problem, Refusal, Warning};
pub use settings::{
    AsgiSettings, Changed, ControlSettings, ForwardedSettings, Http2Settings, Lenience,
    ProxySettings, Settings, TlsSettings,
};
pub use worker_class::WorkerClass;
