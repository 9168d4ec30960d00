//! The kernel: everything the master asks of it, and everything it says.
//!
//! ```text
//!  signals · exits · channels · timer · scoreboard ──events──▶ supervisor ──actions──▶ here
//! ```
//!
//! This crate only turns happenings into events and actions into system calls; what to do is
//! decided in `supervisor`. One thread, one tokio loop without worker threads, no Python: the
//! master starts its zygotes by exec, so nothing here is ever forked with state.
//!
//! The loop is in `shell.rs`.

#![deny(unsafe_code)]

mod cgroup;
mod check;
mod children;
mod control;
mod dirty;
mod herald;
mod identity;
mod learned;
mod leftovers;
mod listen;
mod memory;
mod notify;
mod perform;
mod pidfile;
mod renewal;
mod report;
mod sample;
mod shell;
mod signals;
mod sources;
mod sys;
mod upgrade;
mod wire;
mod words;
mod zygote;

pub use cgroup::{Cpus, CpusOf, MemoryLimit, cpus, machine_memory, memory_limit};
pub use check::check_app;
pub use control::{ControlSocket, Place};
pub use herald::{Herald, HeraldError};
pub use identity::{Identity, IdentityError, go_to_background};
pub use listen::{Address, Binding, ListenError, Listeners, listen_fds};
pub use memory::TotalOf;
pub use notify::Notifier;
pub use pidfile::{Pidfile, PidfileError};
pub use renewal::{Renewal, Renewed, Unreadable};
pub use shell::{Config, run};
pub use signals::{Halt, Signals};
pub use sources::Watching;
pub use upgrade::{Heirloom, Launch, PRIVATE_VARIABLES};
