//! The system calls that have no safe wrapper.

#![expect(unsafe_code, reason = "the smallest place for it")]

use nix::errno::Errno;

use remuda_supervisor::Pid;

/// Makes a worker write its Python stacks: the real-time signal that `remuda/worker.py` gives to
/// faulthandler. nix has no real-time signals.
pub(crate) fn ask_for_stacks(pid: Pid) -> Result<(), Errno> {
    // SAFETY: kill(2) has no memory effects; the pid is a child that was not reaped yet.
    Errno::result(unsafe { libc::kill(pid.0, libc::SIGRTMIN() + 4) }).map(drop)
}

/// Takes a descriptor that the environment says was handed to this process.
pub(crate) fn take_inherited(fd: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
    // SAFETY: only looked at; if nothing is open there, fcntl says EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    // Programs that we start do not get it, unless it is given to them.
    let keep = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(borrowed, keep)?;
    // SAFETY: it is open, was opened by whoever started us, and nothing else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
