//! How much memory processes take, as the kernel counts it.

use std::fs;
use std::time::Duration;

use remuda_supervisor::{Event, Pid, WorkerId};

use crate::cgroup;
use crate::report::Measured;
use crate::shell::{Shell, now};

/// How often memory is measured. The kernel walks a process's page tables for it: about a
/// millisecond for each 100 MiB, during which the process can run.
pub(crate) const PACE: Duration = Duration::from_secs(2);
/// The same where no limit asks for it, for the report.
pub(crate) const PACE_UNLIMITED: Duration = Duration::from_secs(30);

/// What is compared with the limit of the whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalOf {
    /// PSS of all processes that we know: the limit was asked for.
    Processes,
    /// What the container's group is charged, without cache that can be had back at once: the limit
    /// is a share of the group's own.
    Group,
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollup {
    /// A page that n processes share counts as 1/n.
    pub(crate) pss: u64,
    /// Pages that nobody else has.
    pub(crate) private: u64,
}

/// Measures a process; `None` when it is gone.
pub(crate) fn rollup(pid: Pid) -> Option<Rollup> {
    parse(&fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.0)).ok()?)
}

fn parse(text: &str) -> Option<Rollup> {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Rollup {
        pss: field("Pss")?,
        private: field("Private_Clean")?.saturating_add(field("Private_Dirty")?),
    })
}

/// A process and all that it has started.
fn tree(root: Pid) -> Vec<Pid> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(Pid(pid)) = all.get(next) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        all.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid));
        next += 1;
    }
    all
}

impl Shell {
    /// Measures everybody: for the report, and for the supervisor where there is a limit.
    pub(crate) fn measure(&mut self) {
        let own = Pid(i32::try_from(std::process::id()).unwrap_or(0));
        let zygotes = self.zygotes.values().map(|zygote| zygote.pid);
        let arbiters = self.supervisor.snapshot().arbiters;
        let dirty = arbiters.iter().filter_map(|arbiter| arbiter.pid).flat_map(tree);
        let others = zygotes.chain([own]).chain(dirty);
        let mut total: u64 = others.filter_map(rollup).map(|rollup| rollup.pss).sum();
        let mut workers: Vec<(WorkerId, u64)> = Vec::new();
        let mut slots: Vec<(u16, Rollup)> = Vec::new();
        for (id, worker) in &self.workers {
            if let Some(rollup) = worker.pid.and_then(rollup) {
                total = total.saturating_add(rollup.pss);
                workers.push((*id, rollup.private));
                slots.push((worker.slot, rollup));
            }
        }
        self.report.add(&Measured { total, slots }, now());
        if !self.config.plan.limits_memory() {
            return;
        }
        if self.config.total_of == TotalOf::Group {
            total = cgroup::memory_used().unwrap_or(total);
        }
        self.handle(Event::Measured { workers, total });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers_are_read_in_bytes() {
        let text = "\
            5581-7ffd ---p 00000000 00:00 0 [rollup]\n\
            Rss:               22940 kB\n\
            Pss:                1024 kB\n\
            Pss_Dirty:          9999 kB\n\
            Private_Clean:         8 kB\n\
            Private_Dirty:        12 kB\n";
        let expected = Rollup { pss: 1 << 20, private: 20 << 10 };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("Pss: many kB\n"), None);
    }

    #[test]
    fn what_a_process_has_started_counts_with_it() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        // It says a line once its own child is there.
        let mut line = [0];
        let out = child.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(out, &mut line).expect("a line");
        let all = tree(Pid(i32::try_from(child.id()).expect("small")));
        assert_eq!(all.len(), 2, "{all:?}");
        for Pid(pid) in all.into_iter().rev() {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("ours");
        }
        child.wait().expect("wait");
    }

    #[test]
    fn a_process_is_measured_and_one_that_is_gone_is_not() {
        let own = rollup(Pid(i32::try_from(std::process::id()).expect("small"))).expect("this one");
        assert!(own.pss > 0 && own.private > 0);
        assert_eq!(rollup(Pid(i32::MAX)), None);
    }
}
