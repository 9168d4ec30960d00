//! The system calls that have no safe wrapper.

#![expect(unsafe_code, reason = "the smallest place for it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::inotify::Inotify;
use remuda_supervisor::Pid;
use tokio::io::unix::AsyncFd;

/// Makes a worker write its Python stacks: the real-time signal that `remuda/worker.py` gives to
/// faulthandler. nix has no real-time signals.
pub(crate) fn ask_for_stacks(pid: Pid) -> Result<(), Errno> {
    // SAFETY: kill(2) has no memory effects; the pid is a child that was not reaped yet.
    Errno::result(unsafe { libc::kill(pid.0, libc::SIGRTMIN() + 4) }).map(drop)
}

/// How many connections wait at a listener for TCP to be accepted.
pub(crate) fn accept_queue(listener: BorrowedFd<'_>) -> Result<u32, Errno> {
    // SAFETY: it is plain numbers, for which zeroes are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (fd, into) = (listener.as_raw_fd(), (&raw mut info).cast());
    // SAFETY: the kernel writes at most `length` bytes to `info`, which has that many.
    let got =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length) };
    // Of a listener, this field is the length of its queue.
    Errno::result(got).map(|_| info.tcpi_unacked)
}

/// Keeps a descriptor that was handed to this process from those that it starts.
pub(crate) fn keep_private(fd: i32) -> std::io::Result<()> {
    // SAFETY: only its flag is set; if nothing is open there, fcntl says EBADF.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let flag = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(borrowed, flag)?;
    Ok(())
}

/// Takes a descriptor that the environment says was handed to this process.
pub(crate) fn take_inherited(fd: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};
    keep_private(fd)?;
    // SAFETY: it is open, was opened by whoever started us, and nothing else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An inotify instance, as the loop wants it.
pub(crate) struct Teller(pub(crate) Inotify);

impl AsRawFd for Teller {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Lets the loop wait for what the kernel tells of files.
pub(crate) fn teller(inotify: Inotify) -> io::Result<AsyncFd<Teller>> {
    // SAFETY: the instance owns an open descriptor, and nobody replaces or closes it as long as it
    // is in there.
    Ok(unsafe { AsyncFd::register(Teller(inotify)) }?)
}
