//! Taking the exit statuses of children, and of strangers that the kernel gave to us.

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use remuda_supervisor::{Ending, Pid};

/// Reaps one child that has ended. Signals merge, so one of them may stand for many exits: to be
/// called until there is none.
pub(crate) fn next_ended() -> Option<(Pid, Ending)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => {
                return Some((Pid(pid.as_raw()), Ending::Exited(status)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some((Pid(pid.as_raw()), Ending::Signaled(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}
