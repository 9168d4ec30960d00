//! Which lines of Python a worker's memory grows by, when the master wants to know.
//!
//! An order comes on the channel, or a setting asks for one after the other; the rest happens when
//! the worker comes round, which every class does about once a second. Tracing costs memory and time,
//! so it is on only in between.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use pyo3::prelude::*;
use remuda_journal::Level;
use remuda_scoreboard::now_ns;

use crate::serving::Serving;
use crate::wsgi::describe;

/// What was asked for, and how far it is.
pub(crate) struct MemoryProfile {
    stage: RefCell<Stage>,
    /// Seconds of each, one after the other; 0 = only what is asked for.
    every: Cell<u16>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    Asked {
        seconds: u16,
    },
    Tracing {
        /// `remuda.memory_profile.Profile`.
        profile: Py<PyAny>,
        began_ns: u64,
        length: Duration,
    },
}

impl MemoryProfile {
    pub(crate) fn new(every: u16) -> Self {
        Self { stage: RefCell::default(), every: Cell::new(every) }
    }

    /// The master wants one. While one is under way it comes to nothing; the log says so.
    pub(crate) fn ask(&self, seconds: u16, serving: &Serving) {
        let mut stage = self.stage.borrow_mut();
        if matches!(*stage, Stage::Idle) {
            *stage = Stage::Asked { seconds };
        } else {
            serving.log(Level::Warning, "A memory profile is under way; this one is left out");
        }
    }

    /// The worker has come round.
    pub(crate) fn look(&self, py: Python<'_>, serving: &Serving) {
        let is_due = match &*self.stage.borrow() {
            Stage::Idle if self.every.get() == 0 => return,
            Stage::Idle | Stage::Asked { .. } => true,
            Stage::Tracing { began_ns, length, .. } => since(*began_ns) >= *length,
        };
        if is_due {
            // Not borrowed while Python runs; another thread finds nothing to do meanwhile.
            match self.stage.take() {
                Stage::Idle => self.begin(py, self.every.get(), serving),
                Stage::Asked { seconds } => self.begin(py, seconds, serving),
                Stage::Tracing { profile, began_ns, .. } => end(py, &profile, began_ns, serving),
            }
        }
    }

    /// The worker leaves: what is known by now is told.
    pub(crate) fn finish(&self, py: Python<'_>, serving: &Serving) {
        if let Stage::Tracing { profile, began_ns, .. } = self.stage.take() {
            end(py, &profile, began_ns, serving);
        }
    }

    fn begin(&self, py: Python<'_>, seconds: u16, serving: &Serving) {
        let profile =
            py.import("remuda.memory_profile").and_then(|module| module.call_method0("Profile"));
        match profile {
            Ok(profile) => {
                let length = Duration::from_secs(u64::from(seconds));
                let profile = profile.unbind();
                self.stage.replace(Stage::Tracing { profile, began_ns: now_ns(), length });
                let pid = std::process::id();
                serving
                    .log(Level::Info, &format!("Memory profile begins (pid:{pid}), {seconds} s"));
            }
            Err(error) => {
                // It would fail once a second.
                self.every.set(0);
                tell_failure(py, &error, serving);
            }
        }
    }
}

fn since(began_ns: u64) -> Duration {
    Duration::from_nanos(now_ns().saturating_sub(began_ns))
}

fn end(py: Python<'_>, profile: &Py<PyAny>, began_ns: u64, serving: &Serving) {
    match profile.call_method0(py, "end").and_then(|text| text.extract::<String>(py)) {
        Ok(text) => {
            let (pid, seconds) = (std::process::id(), since(began_ns).as_secs());
            serving.log(Level::Info, &format!("Memory profile (pid:{pid}) of {seconds} s: {text}"));
        }
        Err(error) => tell_failure(py, &error, serving),
    }
}

fn tell_failure(py: Python<'_>, error: &PyErr, serving: &Serving) {
    serving.log(Level::Error, &format!("No memory profile\n{}", describe(py, error)));
}
