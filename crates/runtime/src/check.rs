//! Loading the app once, in a process of its own, to see whether it can be loaded.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use remuda_channel::WorkerPlan;

/// Loads the app as a zygote would; 0 if it can be loaded, else Python has said on standard error
/// why not.
///
/// # Errors
///
/// When the interpreter cannot be run.
pub fn check_app(python: &Path, plan: &WorkerPlan) -> io::Result<u8> {
    let mut child =
        Command::new(python).args(["-m", "remuda.check"]).stdin(Stdio::piped()).spawn()?;
    let told = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(&serde_json::to_vec(plan)?),
        None => Ok(()),
    };
    let status = child.wait()?;
    // It has ended before it has read everything: its status says enough.
    let _ = told;
    Ok(if status.success() { 0 } else { 1 })
}
