//! 7: A signal goes to the process that is meant: never to one that was reaped, never to a
//! stranger, never to another one that has got the number.

use remuda_supervisor::{Action, Generation, Pid, Snapshot, WorkerId};

use super::{Invariant, Step, Violation};
use crate::process::Role;

const NAME: &str = "targets";

pub(super) struct Targets;

impl Invariant for Targets {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        for action in step.actions {
            let (Action::Send { pid, .. } | Action::DumpStacks { pid, .. }) = *action else {
                continue;
            };
            let Some(process) = step.kernel.with_pid(pid) else {
                return Err(step.violation(NAME, format!("{action:?} goes to a reaped process")));
            };
            let name = crate::world::name(process);
            let is_arbiter = |view: &Snapshot| view.arbiters.iter().any(|a| a.pid == Some(pid));
            let is_known = is_arbiter(step.before) || is_arbiter(step.after);
            if is_known && !matches!(process.role, Role::Dirty(_)) {
                return Err(step.violation(NAME, format!("{action:?} hits {name}")));
            }
            let meant = match (process.worker(), process.zygote()) {
                (Some(life), _) => is_meant(step, pid, Some(life.id), None),
                (_, Some(life)) => is_meant(step, pid, None, Some(life.generation)),
                _ if matches!(process.role, Role::Dirty(_)) => is_meant(step, pid, None, None),
                _ => {
                    let is_heir = matches!(process.role, Role::Heir { .. });
                    is_heir && step.before.upgrade.pid() == Some(pid)
                }
            };
            if !meant {
                return Err(step.violation(NAME, format!("{action:?} hits {name}")));
            }
        }
        Ok(())
    }
}

/// The supervisor knows this number as that worker's or zygote's; or it was given up, and nobody
/// else is known by the number.
fn is_meant(
    step: &Step<'_>,
    pid: Pid,
    worker: Option<WorkerId>,
    zygote: Option<Generation>,
) -> bool {
    let views = [step.before, step.after];
    let workers = views.iter().flat_map(|view| &view.workers);
    let workers: Vec<_> = workers.filter(|w| w.pid == Some(pid)).map(|w| w.worker).collect();
    let zygotes = views.iter().flat_map(|view| &view.zygotes);
    let zygotes: Vec<_> = zygotes.filter(|z| z.pid == Some(pid)).map(|z| z.generation).collect();
    workers.iter().all(|known| Some(*known) == worker)
        && zygotes.iter().all(|known| Some(*known) == zygote)
}
