//! 21: For want of room nothing at all is started while the wait runs, then one worker at a time;
//! the waits grow as long as there is none.

use remuda_supervisor::{Action, Notice, Tick};

use super::{Invariant, Step, Violation, is_under_way};

const NAME: &str = "shortage";

#[derive(Default)]
pub(super) struct Shortage {
    refusals: u32,
    until: Tick,
    is_short: bool,
}

impl Invariant for Shortage {
    fn check(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        if step.actions.contains(&Action::TakeBack) {
            *self = Self::default();
        }
        for notice in step.notices() {
            match *notice {
                Notice::Shortage { refusals, wait } => {
                    // A stable life in between makes it the first again.
                    let is_next = refusals == self.refusals + 1 || refusals == 1;
                    if !is_next || self.until > step.now {
                        let what = format!("refusal {refusals} after {}", self.refusals);
                        return Err(step.violation(NAME, what));
                    }
                    *self = Self { refusals, until: step.now + wait, is_short: true };
                    let doubled = step.plan().backoff_first * (1 << (refusals - 1).min(20));
                    let expected = doubled.min(step.plan().backoff_max);
                    if wait < expected * 79 / 100 || wait > expected * 121 / 100 {
                        return Err(step.violation(NAME, format!("{refusals} wait {wait:?}")));
                    }
                }
                Notice::ShortageOver => self.is_short = false,
                _ => {}
            }
        }
        if !self.is_short {
            return Ok(());
        }
        for action in step.actions {
            let starts = matches!(action, Action::Fork { .. } | Action::StartZygote { .. });
            // An operator's reload is not held up.
            let by_reload = matches!(action, Action::StartZygote { generation } if step.after.reloading == Some(*generation));
            if starts && self.until > step.now && !by_reload {
                return Err(step.violation(NAME, format!("no room, and {action:?}")));
            }
        }
        let asked = step.actions.iter().any(|action| matches!(action, Action::Fork { .. }));
        let under_way = step.after.workers.iter().filter(|worker| is_under_way(worker)).count();
        if asked && under_way > 1 {
            return Err(step.violation(NAME, format!("no room, and {under_way} are under way")));
        }
        Ok(())
    }
}
