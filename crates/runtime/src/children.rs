//! Taking the exit statuses of children, and of strangers that the kernel gave to us.

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use remuda_supervisor::{Ending, Pid};

/// Reaps everything that has ended. Signals merge, so one of them may stand for many exits.
pub(crate) fn reap() -> Vec<(Pid, Ending)> {
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => {
                ended.push((Pid(pid.as_raw()), Ending::Exited(status)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                ended.push((Pid(pid.as_raw()), Ending::Signaled(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ended,
        }
    }
}
