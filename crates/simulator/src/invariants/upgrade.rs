//! 27: We hand over only to a new master that has said that it serves, or because somebody told us
//! to leave; a new master that fails changes nothing; every upgrade ends; and one that crashes after
//! it took over gives the service back.

use remuda_supervisor::{Action, Ending, Event, Notice, Phase, Tick, UpgradeState, Wish};

use super::{Invariant, State, Step, Violation};
use crate::process::Role;

const NAME: &str = "upgrade";

#[derive(Default)]
pub(super) struct Upgrade {
    booting_since: Option<Tick>,
    /// Somebody wants the end.
    asked_to_stop: bool,
}

impl Invariant for Upgrade {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        hands_over_to_one_that_serves(step)?;
        failure_changes_nothing(step)?;
        self.is_taken_back(step)?;
        self.ends(step)
    }
}

fn hands_over_to_one_that_serves(step: &Step<'_>) -> Result<(), Violation> {
    for action in step.actions {
        let Action::HandOver { to } = *action else { continue };
        let heir = step.kernel.with_pid(to).map(|process| &process.role);
        let serves = matches!(heir, Some(Role::Heir { is_ready: true, .. }));
        let was_booting =
            matches!(step.before.upgrade, UpgradeState::Booting { pid, .. } if pid == to);
        let left_alone = !matches!(step.event, Event::UpgradeReady { .. });
        if !was_booting || !(serves || left_alone) {
            let what = format!("handed over to {to:?}, which does not serve");
            return Err(step.violation(NAME, what));
        }
    }
    Ok(())
}

fn failure_changes_nothing(step: &Step<'_>) -> Result<(), Violation> {
    let is_given_up = step.notices().any(|notice| matches!(notice, Notice::UpgradeGivenUp { .. }));
    // At a tick others may be due as well.
    if is_given_up && !matches!(step.event, Event::Tick) {
        let touches = |action: &&Action| matches!(action, Action::Tell { .. } | Action::CloseGate);
        if let Some(action) = step.actions.iter().find(touches) {
            return Err(step.violation(NAME, format!("{action:?} because an upgrade failed")));
        }
    }
    Ok(())
}

impl Upgrade {
    /// The service comes back when the new master crashes after it took over, as long as nobody has
    /// asked for the end; and never otherwise.
    fn is_taken_back(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.asked_to_stop |= matches!(step.event, Event::Asked(Wish::Stop | Wish::Quit));
        let has_crashed = match (step.event, step.before.upgrade) {
            (
                Event::Exited { pid, ending: Ending::Signaled(_) },
                UpgradeState::Succeeded { pid: heir, ready },
            ) => *pid == heir && ready && step.before.phase == Phase::Stopping,
            _ => false,
        };
        let shall_be = has_crashed && !self.asked_to_stop;
        let is = step.actions.contains(&Action::TakeBack) && step.after.phase == Phase::Running;
        if shall_be != is {
            let what = format!("taken back: {is}, where it should be: {shall_be}");
            return Err(step.violation(NAME, what));
        }
        Ok(())
    }

    fn ends(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        match step.after.upgrade {
            UpgradeState::Booting { .. } => {
                let since = *self.booting_since.get_or_insert(step.now);
                let longest = step.plans_since(since).map(|plan| plan.boot_timeout).max();
                let late = Some(step.now.since(since)) >= longest.map(|length| length * 2);
                let is_over = step.after.phase == Phase::Over;
                if late && matches!(step.event, Event::Tick) && !is_over {
                    let what = "a new master that is never ready is waited for".to_owned();
                    return Err(step.violation(NAME, what));
                }
            }
            _ => self.booting_since = None,
        }
        Ok(())
    }
}

/// No new master is left when nothing is under way.
pub(super) fn check_rest(state: &State<'_>) -> Result<(), Violation> {
    for process in state.kernel.living().filter(|p| matches!(p.role, Role::Heir { .. })) {
        if state.view.upgrade.pid() != Some(process.pid) {
            let name = crate::world::name(process);
            return Err(state.violation(NAME, format!("{name} is left behind")));
        }
    }
    Ok(())
}
