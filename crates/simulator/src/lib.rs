//! A model of the world around the master, to find out what no test would think of.
//!
//! The supervisor is the real one. Around it stand a clock that jumps, a kernel that runs out of
//! room and uses numbers again, processes that hang, crash and do not listen, messages that come
//! late or never, operators who ask twice, and clients whose requests are counted. One seed gives
//! one script ([`Script`]), and one script gives one run, byte for byte. After every step all
//! `invariants` look at what happened; when one is broken, the script is cut down to what is
//! needed for it (`shrink`), and told as a time line.
//!
//! Read `world` first (the agenda), then `shell` (the master's runtime in the model), `settings` (what it
//! reads again), `zygote`, `worker` and `heir` (what processes do by themselves), then `invariants`, one file each. Nothing here
//! knows how the supervisor decides.

#![forbid(unsafe_code)]

mod census;
mod chronicle;
mod dice;
mod dirty;
mod fault;
mod heir;
mod incident;
mod invariants;
mod kernel;
mod process;
mod script;
mod settings;
mod shell;
mod shrink;
mod worker;
mod world;
mod zygote;

use remuda_supervisor::{Plan, Supervisor};

pub use census::Census;
pub use fault::{Code, Fault, HeirFault, Mishap, Speaker, Target, WorkerFault, ZygoteFault};
pub use invariants::Violation;
pub use script::{Class, Finale, Script};
pub use settings::OnDisk;
pub use shrink::Failure;
pub use world::Master;

use crate::chronicle::Chronicle;
use crate::world::World;

/// Runs one seed against the supervisor.
///
/// # Errors
///
/// The invariant that was broken, with the script cut down and the story told.
pub fn run_seed(seed: u64) -> Result<Census, Box<Failure>> {
    run(&Script::from_seed(seed), Supervisor::new)
}

/// Runs a script against whatever decides.
///
/// # Errors
///
/// As [`run_seed`].
pub fn run<M: Master>(script: &Script, master: fn(Plan) -> M) -> Result<Census, Box<Failure>> {
    probe(script, master).map_err(|violation| Box::new(shrink::shrink(script, &violation, master)))
}

/// The same, without the effort to explain a failure.
///
/// # Errors
///
/// The invariant that was broken.
pub fn probe<M: Master>(script: &Script, master: fn(Plan) -> M) -> Result<Census, Violation> {
    let outcome = World::new(script, master(script.plan.clone()), Chronicle::silent()).run();
    match outcome.violation {
        None => Ok(outcome.census),
        Some(violation) => Err(violation),
    }
}

/// The story of a script, from its first event to its last.
#[must_use]
pub fn story(script: &Script) -> String {
    World::new(script, Supervisor::new(script.plan.clone()), Chronicle::told()).run().story
}
