//! The few things that zygote and workers ask of the kernel or the interpreter and Python cannot, or
//! that gevent would patch.

use std::os::fd::{BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use pyo3::exceptions::{PyOSError, PyTimeoutError};
use pyo3::prelude::*;

use crate::overdue::RequestTimeout;

/// Forks without running Python's fork hooks: 0 in the child.
///
/// For the middle process of a double fork, which calls `os.fork` at once and exits. With two
/// `os.fork` the hooks would run twice, and hooks that restart threads would make the second
/// fork come from a threaded process.
#[pyfunction]
pub(crate) fn fork_without_hooks() -> PyResult<i32> {
    // SAFETY: the zygote checks that it has one thread, so no lock is held by somebody who is
    // gone in the child; the interpreter's lock is held by the caller and stays held in the
    // child's only thread.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::last().into_os_error()),
        pid => Ok(pid),
    }
}

trait IntoOsError {
    fn into_os_error(self) -> PyErr;
}

impl IntoOsError for Errno {
    fn into_os_error(self) -> PyErr {
        PyOSError::new_err((self as i32, self.desc()))
    }
}

/// Waits until the middle process has written to `pipe` and has exited, and reaps it; kills it
/// after `timeout` seconds. A fork hook of some library can hang, and must not take the zygote
/// with it.
///
/// Not written with Python's `select`, which gevent replaces by one that runs its hub.
#[pyfunction]
pub(crate) fn await_middle(pid: i32, pipe: i32, timeout: f64) -> PyResult<()> {
    let deadline = Instant::now() + Duration::from_secs_f64(timeout);
    // SAFETY: the caller holds the descriptor open for the length of this call.
    let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        let timeout = PollTimeout::try_from(left()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe, PollFlags::POLLIN)], timeout) {
            Ok(0) => return give_up(pid),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into_os_error()),
        }
    }
    // It has only `_exit` left to do.
    loop {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if left().is_zero() => return give_up(pid),
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(200)),
            Err(Errno::EINTR) => {}
            Err(error) if error != Errno::ECHILD => return Err(error.into_os_error()),
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

fn give_up(pid: i32) -> PyResult<()> {
    let pid = Pid::from_raw(pid);
    // It is our unreaped child, so the number cannot belong to anybody else.
    let _ = kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
    Err(PyTimeoutError::new_err("a fork hook did not return in time"))
}

/// Asks the kernel for a signal when the parent dies; to be called once that is who it will be.
#[pyfunction]
#[pyo3(signature = (signal = libc::SIGTERM))]
pub(crate) fn die_with_parent(signal: i32) -> PyResult<()> {
    let signal = Signal::try_from(signal).map_err(IntoOsError::into_os_error)?;
    nix::sys::prctl::set_pdeathsig(signal).map_err(IntoOsError::into_os_error)
}

/// Waits until the master says that it knows this process; false when it never will.
///
/// A zygote may die before it has told the number of a process that it has forked. Nobody would stop,
/// replace or reap such a worker, and its line of the scoreboard is given to another.
#[pyfunction]
pub(crate) fn is_known(py: Python<'_>, channel: RawFd) -> PyResult<bool> {
    let mut packet = [0; 64];
    loop {
        // Any word will do; what it asks for is read in its turn.
        match py.detach(|| recv(channel, &mut packet, MsgFlags::MSG_PEEK)) {
            Ok(length) => return Ok(length > 0),
            Err(Errno::EINTR) => py.check_signals()?,
            Err(_) => return Ok(false),
        }
    }
}

/// Waits until the master has said something on `channel`, until a signal comes, or for `timeout`.
pub(crate) fn await_word(channel: RawFd, timeout: Duration) {
    // SAFETY: the worker's channel stays open as long as the process.
    let channel = unsafe { BorrowedFd::borrow_raw(channel) };
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    // Whoever waits looks again, whatever has ended the wait.
    let _ = poll(&mut [PollFd::new(channel, PollFlags::POLLIN)], timeout);
}

/// Gives free heap pages back to the kernel, so that workers do not inherit them.
#[pyfunction]
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; takes malloc's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Writes what C's own streams hold: a process that ends by `_exit` would lose it.
#[pyfunction]
pub(crate) fn flush_c_streams() {
    // SAFETY: null means all of them; takes their locks.
    unsafe {
        libc::fflush(std::ptr::null_mut());
    }
}

/// Raises `RequestTimeout` in another thread of Python, as soon as that runs Python code; `thread` as
/// `threading.get_ident` numbers it.
#[pyfunction]
pub(crate) fn interrupt_thread(py: Python<'_>, thread: std::ffi::c_ulong) {
    let exception = py.get_type::<RequestTimeout>();
    set_async_exc(py, thread, exception.as_ptr());
}

/// Takes back what `interrupt_thread` has not raised yet.
#[pyfunction]
pub(crate) fn calm_thread(py: Python<'_>, thread: std::ffi::c_ulong) {
    set_async_exc(py, thread, std::ptr::null_mut());
}

fn set_async_exc(_py: Python<'_>, thread: std::ffi::c_ulong, exc: *mut pyo3::ffi::PyObject) {
    // SAFETY: the interpreter's lock is held; a thread that is gone is not found, and that is all.
    unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(thread as _, exc) };
}
