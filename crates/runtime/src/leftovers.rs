//! Who is left when all workers are gone: what the app has started, and nobody has waited for.
//!
//! The master is a subreaper (or PID 1), so orphans of its workers are its children. They are told
//! to leave, then killed, so that a stop leaves nothing behind. As PID 1 the kernel would kill them
//! the moment we exit; elsewhere they would live on and hold ports and files.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid as UnixPid, getsid};
use remuda_journal::log;
use remuda_supervisor::Pid;

use crate::children;

/// From TERM to KILL, and from KILL until we leave nevertheless.
const GRACE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Ends all children that are left, except `spared` and its descendants.
pub(crate) fn end(spared: Option<Pid>) {
    let left = theirs(spared);
    if left.is_empty() {
        return;
    }
    log!(LEFTOVERS, count = left.len());
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let until = Instant::now() + GRACE;
        let mut told = Vec::new();
        // Whose parent goes becomes our child in turn.
        while Instant::now() < until {
            while children::next_ended().is_some() {}
            let left = theirs(spared);
            if left.is_empty() {
                return;
            }
            for pid in left {
                if !told.contains(&pid) {
                    told.push(pid);
                    send(pid, signal);
                }
            }
            sleep(PAUSE);
        }
    }
}

fn send(pid: UnixPid, signal: Signal) {
    if let Err(error) = kill(pid, signal)
        && error != Errno::ESRCH
    {
        tracing::debug!("cannot send {signal} to {pid}: {error}");
    }
    // A stopped process takes TERM only when it goes on.
    let _ = kill(pid, Signal::SIGCONT);
}

fn theirs(spared: Option<Pid>) -> Vec<UnixPid> {
    let is_first = UnixPid::this().as_raw() == 1;
    let own_session = getsid(None).ok();
    children()
        .into_iter()
        .filter(|pid| spared.is_none_or(|spared| spared.0 != pid.as_raw()))
        // Who has a session of its own was made a daemon on purpose, and outlives other servers
        // as well. In a container nobody outlives PID 1.
        .filter(|pid| is_first || getsid(Some(*pid)).ok() == own_session)
        .collect()
}

/// Our children, unless `/proc` is not there or shows other processes' numbers than ours.
fn children() -> Vec<UnixPid> {
    let own = UnixPid::this();
    let shown = fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse().ok());
    if shown != Some(own.as_raw()) {
        return Vec::new();
    }
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = |list: String| {
        let pids = list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        pids.map(UnixPid::from_raw).collect::<Vec<_>>()
    };
    lists.flat_map(pids).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn children_are_found_and_one_can_be_spared() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = UnixPid::from_raw(i32::try_from(child.id()).expect("small"));
        assert!(children().contains(&pid));
        assert!(theirs(None).contains(&pid));
        assert!(!theirs(Some(Pid(pid.as_raw()))).contains(&pid));
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
