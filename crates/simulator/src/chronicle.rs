//! The story of a run, for people: what happened, what was asked, and how the pool stood then.

use std::fmt::Write;

use remuda_supervisor::{Action, Event, Snapshot, Tick, WorkerState, ZygoteState};

use crate::world::BEGINNING;

/// The story of a run; silent unless somebody wants to read it.
pub(crate) struct Chronicle {
    text: Option<String>,
}

impl Chronicle {
    /// For the many runs that go well.
    pub(crate) fn silent() -> Self {
        Self { text: None }
    }

    /// For the one that somebody reads.
    pub(crate) fn told() -> Self {
        Self { text: Some(String::new()) }
    }

    pub(crate) fn note(&mut self, now: Tick, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            let _ = writeln!(text, "{} {}", clock(now), what());
        }
    }

    /// One step, when something came of it.
    pub(crate) fn step(
        &mut self,
        now: Tick,
        event: &Event,
        actions: &[Action],
        before: &Snapshot,
        after: &Snapshot,
    ) {
        let Some(text) = &mut self.text else { return };
        let is_quiet = actions.is_empty() && before == after;
        if is_quiet && matches!(event, Event::Sampled { .. } | Event::Tick) {
            return;
        }
        let _ = writeln!(text, "{} → {event:?}", clock(now));
        for action in actions {
            let _ = writeln!(text, "             {action:?}");
        }
        if before != after {
            let _ = writeln!(text, "             = {}", picture(after));
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}

/// Seconds since the start.
fn clock(now: Tick) -> String {
    format!("{:>11.4}s", now.since(BEGINNING).as_secs_f64())
}

/// The state of pool and zygotes in one line.
fn picture(view: &Snapshot) -> String {
    let mut line = format!("{:?}, {} wanted", view.phase, view.wanted);
    if let Some(generation) = view.reloading {
        let _ = write!(line, ", reloading to {}", generation.0);
    }
    for worker in &view.workers {
        let spent = if worker.spent { " spent" } else { "" };
        let (slot, id, generation) = (worker.slot.0, worker.worker.0, worker.generation.0);
        let _ =
            write!(line, " | {slot}: #{id} g{generation} {}{spent}", worker_state(worker.state));
    }
    for zygote in &view.zygotes {
        let _ = write!(line, " | zygote {} {}", zygote.generation.0, zygote_state(zygote.state));
    }
    for arbiter in &view.arbiters {
        let state = first_word(&format!("{:?}", arbiter.state));
        let _ = write!(line, " | dirty {} {state}", arbiter.generation.0);
    }
    line
}

fn worker_state(state: WorkerState) -> String {
    first_word(&format!("{state:?}"))
}

fn zygote_state(state: ZygoteState) -> String {
    first_word(&format!("{state:?}"))
}

fn first_word(debug: &str) -> String {
    debug.split([' ', '{']).next().unwrap_or_default().to_owned()
}
