//! What requests share while they are served: the front, the app, and the accounts.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use remuda_channel::FromWorker;
use remuda_front::{Exchange, Front};
use remuda_journal::Level;
use remuda_scoreboard::{LineWriter, now_ns};

use crate::journal::PyJournal;
use crate::wsgi::{Closing, describe};

/// What requests share while they are served.
pub(crate) struct Serving {
    pub(crate) front: Front,
    pub(crate) app: Py<PyAny>,
    pub(crate) journal: Py<PyJournal>,
    pub(crate) line: LineWriter,
    /// To the master.
    pub(crate) channel: RawFd,
    /// Waits for a socket without blocking the hub; `None` blocks the thread.
    pub(crate) wait_write: Option<Py<PyAny>>,
    pub(crate) write_pause: Duration,
    /// Has `Worker.collect` called as soon as the loop runs; `None` where no loop has to be told.
    pub(crate) schedule: Option<Py<PyAny>>,
    pub(crate) scheduled: Cell<bool>,
    /// Somebody goes through all that is ready, and needs no telling.
    pub(crate) attending: Cell<bool>,
    /// Requests with the app.
    pub(crate) in_app: Cell<usize>,
    pub(crate) served: Cell<u64>,
    pub(crate) max_requests: u64,
    pub(crate) closing: Closing,
}

impl Serving {
    /// A request goes to the app.
    pub(crate) fn begin(&self, exchange: &Exchange) {
        self.line.begin(now_ns(), exchange.head.method.as_str(), exchange.head.uri.path());
        self.in_app.set(self.in_app.get() + 1);
    }

    /// The app is done with a request.
    pub(crate) fn end(&self) {
        self.in_app.set(self.in_app.get() - 1);
        self.line.end();
        let served = self.served.get() + 1;
        self.served.set(served);
        if served == self.max_requests {
            self.log(Level::Info, "Autorestarting worker after current request.");
            self.say(FromWorker::Spent);
        }
    }

    pub(crate) fn say(&self, word: FromWorker) {
        // A master that does not listen is dead, and its end of file is on the way.
        let _ =
            send(self.channel, word.as_bytes(), MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        self.journal.get().0.write(level, message);
    }

    /// An app's failure, with its traceback.
    pub(crate) fn report_failure(&self, request: &dyn fmt::Display, traceback: &str) {
        self.log(Level::Error, &format!("Error handling request {request}\n{traceback}"));
    }

    /// Whether [`Serving::close_results`] has something to do.
    pub(crate) fn has_results_to_close(&self) -> bool {
        !self.closing.borrow().is_empty()
    }

    /// Closes results of the app whose file the front has sent.
    pub(crate) fn close_results(&self, py: Python<'_>) {
        loop {
            // Not borrowed while Python runs.
            let Some(result) = self.closing.borrow_mut().pop() else { return };
            if let Err(error) = result.call_method0(py, intern!(py, "close")) {
                self.report_failure(&"(closing a file)", &describe(py, &error));
            }
        }
    }

    /// Has the loop look for work as soon as it runs.
    pub(crate) fn call_schedule(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(schedule) = &self.schedule
            && !self.attending.get()
            && !self.scheduled.replace(true)
        {
            schedule.call0(py)?;
        }
        Ok(())
    }

    /// Waits until a socket takes bytes again; false when the client is too slow.
    pub(crate) fn wait_writable(&self, py: Python<'_>, socket: RawFd) -> PyResult<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        if let Some(wait) = &self.wait_write {
            return wait.call1(py, (socket, self.write_pause.as_secs_f64()))?.extract(py);
        }
        let timeout = PollTimeout::try_from(self.write_pause).unwrap_or(PollTimeout::MAX);
        loop {
            // SAFETY: another thread may close the connection meanwhile. Then poll reports that, or
            // the state of whatever has got the number; the caller looks again in either case.
            let fd = unsafe { BorrowedFd::borrow_raw(socket) };
            match py.detach(|| poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout)) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::EINTR) => py.check_signals()?,
                Err(error) => return Err(PyOSError::new_err(error.desc())),
            }
        }
    }
}
