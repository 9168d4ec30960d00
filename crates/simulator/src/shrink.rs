//! Cutting a failing script down to what is needed for the failure.

use std::fmt;

use remuda_supervisor::Plan;

use crate::chronicle::Chronicle;
use crate::invariants::Violation;
use crate::script::Script;
use crate::world::{Master, World};

/// A run in which something happened that never should.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What happened, in the run that is told.
    pub violation: Violation,
    /// The script, cut down.
    pub script: Script,
    /// How many faults the script had before.
    pub faults_before: usize,
    /// The whole run, as a time line.
    pub story: String,
}

/// Takes away halves, quarters and at last single faults, as long as the same invariant breaks.
pub(crate) fn shrink<M: Master>(
    script: &Script,
    violation: &Violation,
    master: fn(Plan) -> M,
) -> Failure {
    let fails = |script: &Script| {
        let run = World::new(script, master(script.plan.clone()), Chronicle::silent()).run();
        run.violation.is_some_and(|found| found.invariant == violation.invariant)
    };
    let mut small = script.clone();
    let mut piece = small.faults.len();
    while piece > 0 {
        let mut at = 0;
        while at < small.faults.len() {
            let mut smaller = small.clone();
            smaller.faults.drain(at..(at + piece).min(small.faults.len()));
            if fails(&smaller) {
                small = smaller;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    let told = World::new(&small, master(small.plan.clone()), Chronicle::told()).run();
    Failure {
        violation: told.violation.unwrap_or_else(|| violation.clone()),
        faults_before: script.faults.len(),
        script: small,
        story: told.story,
    }
}

/// Lines of the story that are shown, from its end; `{:#}` shows all.
const LINES_MAX: usize = 200;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violation, script, faults_before, story } = self;
        let (seed, faults) = (script.seed, script.faults.len());
        writeln!(f, "seed {seed} breaks {violation}")?;
        writeln!(f, "{faults} of {faults_before} faults are needed:")?;
        for fault in &script.faults {
            writeln!(f, "  {fault}")?;
        }
        writeln!(f, "{:?}", script.plan)?;
        let (class, code, lag) = (script.class, script.code, script.lag);
        writeln!(f, "class {class:?}, code {code:?}, the master wakes up after {lag:?}")?;
        let lines: Vec<&str> = story.lines().collect();
        let shown = if f.alternate() { usize::MAX } else { LINES_MAX };
        let hidden = lines.len().saturating_sub(shown);
        if hidden > 0 {
            writeln!(f, "({hidden} lines before)")?;
        }
        for line in &lines[hidden..] {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
