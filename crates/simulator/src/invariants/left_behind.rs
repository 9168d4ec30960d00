//! 19: No process is left behind: each one that lives is known, or was killed, or leaves by itself.

use super::{State, Violation};
use crate::process::Role;

const NAME: &str = "left_behind";

pub(super) fn check_running(state: &State<'_>) -> Result<(), Violation> {
    for process in state.kernel.living() {
        let is_known = match (process.worker(), process.zygote()) {
            (Some(_), _) => state.view.workers.iter().any(|w| w.pid == Some(process.pid)),
            (_, Some(_)) => state.view.zygotes.iter().any(|z| z.pid == Some(process.pid)),
            _ if matches!(process.role, Role::Dirty(_)) => {
                state.view.arbiters.iter().any(|a| a.pid == Some(process.pid))
            }
            _ => true,
        };
        // Its answer was lost with its zygote: nobody has ever known its number. The end of its
        // channel tells it to leave, and one that hangs does not hear it.
        let was_never_known = process.told.farewell.is_some();
        if !is_known && process.told.kill.is_none() && !was_never_known {
            let name = crate::world::name(process);
            return Err(state.violation(NAME, format!("{name} is left behind")));
        }
    }
    Ok(())
}
