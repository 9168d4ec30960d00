//! What the master decides: when to fork, drain, kill, reload and leave.
//!
//! In come [`Event`]s with the time at which they happened, out go [`Action`]s; in between stands
//! [`Supervisor`], a plain value. There is no I/O, no clock, no thread and no dependency here
//! (`clippy.toml` of this crate holds that), so every run can be repeated and every decision
//! tested without a process. `runtime` turns kernel happenings into events and actions into
//! system calls; `journal` has the words for [`Notice`]s.
//!
//! Read `supervisor` first (which event goes where), then `settle` (the rules that keep the pool),
//! then
//! `worker`, `zygote` and `arbiter` (one life each), `zygotes`, `arbiters`, `reload`, `upgrade` and `stop` (what follows for
//! all).

#![forbid(unsafe_code)]

#[expect(missing_docs, reason = "fields bear the name of their type; variants say the rest")]
mod action;
mod arbiter;
mod arbiters;
mod backoff;
mod edits;
#[expect(missing_docs, reason = "fields bear the name of their type; variants say the rest")]
mod event;
mod ids;
mod intensity;
mod memory;
#[expect(missing_docs, reason = "fields bear the name of their type; variants say the rest")]
mod notice;
mod plan;
mod pool;
mod random;
mod refresh;
mod reload;
mod settle;
mod shortage;
mod snapshot;
mod standing;
mod standstill;
mod stop;
mod strangers;
mod supervisor;
#[cfg(test)]
mod tests;
#[expect(missing_docs, reason = "fields bear the name of their type; variants say the rest")]
mod upgrade;
mod worker;
mod zygote;
mod zygotes;

pub use action::{Action, Order, Signal};
pub use arbiter::DirtyState;
pub use event::{BootFailure, Ending, Event, Refusal, Sample, Wish};
pub use ids::{Generation, Line, Pid, SlotId, Tick, WorkerId};
pub use memory::Limit;
pub use notice::{Cause, Notice, Occasion, Reason, Stood, UpgradeFailure};
pub use plan::{Limits, Plan};
pub use snapshot::{ArbiterView, Phase, Snapshot, WorkerView, ZygoteView};
pub use standing::{Stage, Standing};
pub use stop::status_of;
pub use supervisor::Supervisor;
pub use upgrade::UpgradeState;
pub use worker::WorkerState;
pub use zygote::ZygoteState;
