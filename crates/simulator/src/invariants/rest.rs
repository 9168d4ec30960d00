//! 18: With good code and no faults the service comes to rest: exactly what is wanted serves, of
//! one generation, from one zygote; no reload goes on, and no request waits.

use remuda_supervisor::{Phase, ZygoteState};

use super::{State, Violation};

const NAME: &str = "rest";

pub(super) fn check(state: &State<'_>) -> Result<(), Violation> {
    let view = state.view;
    let serving = view.workers.iter().filter(|worker| worker.is_serving() && !worker.spent);
    let ready =
        |zygote: &&remuda_supervisor::ZygoteView| matches!(zygote.state, ZygoteState::Ready { .. });
    let is_complete = view.phase == Phase::Running
        && serving.count() == usize::from(view.wanted)
        && view.workers.len() == usize::from(view.wanted)
        && view.reloading.is_none()
        && view.zygotes.len() == 1
        && view.zygotes.iter().all(|zygote| ready(&zygote));
    if !is_complete {
        return Err(state.violation(NAME, format!("it never comes to rest: {view:?}")));
    }
    if state.waiting > 0 {
        let what = format!("{} requests wait, and {} workers serve", state.waiting, view.wanted);
        return Err(state.violation(NAME, what));
    }
    Ok(())
}
