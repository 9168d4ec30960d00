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
use remuda_front::{Awaited, Exchange, Front};
use remuda_journal::Level;
use remuda_scoreboard::{LineWriter, Ticket, now_ns};

use crate::journal::PyJournal;
use crate::memory_samples::MemorySamples;
use crate::overdue::Flights;
use crate::wsgi::{Closing, Phrases, describe};

/// How long a wait lasts that somebody else's reading may have made vain.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What requests share while they are served.
pub(crate) struct Serving {
    pub(crate) front: Front,
    pub(crate) app: Py<PyAny>,
    pub(crate) journal: Py<PyJournal>,
    pub(crate) line: LineWriter,
    pub(crate) flights: Flights,
    /// To the master.
    pub(crate) channel: RawFd,
    /// The user's functions around each request; see `python/remuda/hooks.py`.
    pub(crate) request_hooks: Option<Py<PyAny>>,
    /// Waits for a socket without blocking the hub; `None` blocks the thread.
    pub(crate) wait_socket: Option<Py<PyAny>>,
    pub(crate) write_pause: Duration,
    /// Has `Worker.collect` called as soon as the loop runs; `None` where a thread waits in epoll.
    pub(crate) schedule: Option<Py<PyAny>>,
    pub(crate) scheduled: Cell<bool>,
    /// Somebody goes through all that is ready, and needs no telling.
    pub(crate) attending: Cell<bool>,
    /// Requests with the app.
    pub(crate) in_app: Cell<usize>,
    pub(crate) served: Cell<u64>,
    pub(crate) max_requests: u64,
    pub(crate) closing: Closing,
    pub(crate) phrases: Phrases,
    pub(crate) memory: MemorySamples,
}

impl Serving {
    /// A request goes to the app.
    pub(crate) fn begin(&self, exchange: &Exchange) -> Ticket {
        self.in_app.set(self.in_app.get() + 1);
        let (method, path) = (exchange.head.method.as_str(), exchange.head.uri.path());
        let ticket = self.line.begin(now_ns(), method, path);
        self.memory.begin(ticket, path);
        ticket
    }

    /// The app is done with a request.
    pub(crate) fn end(&self, ticket: Ticket) {
        self.line.end(ticket);
        if let Some(words) = self.memory.end(ticket) {
            self.log(Level::Info, &words);
        }
        self.leave_app();
    }

    /// The same for what does not stand on the scoreboard any more.
    pub(crate) fn leave_app(&self) {
        self.in_app.set(self.in_app.get() - 1);
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
        self.journal.get().say(level, message);
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
        let Some(schedule) = &self.schedule else {
            self.front.ring();
            return Ok(());
        };
        if !self.attending.get() && !self.scheduled.replace(true) {
            schedule.call0(py)?;
        }
        Ok(())
    }

    /// Waits until a response may go on; false when there was no sign of that in time.
    pub(crate) fn wait_for_room(&self, py: Python<'_>, awaited: Awaited) -> PyResult<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let pause = if awaited.room_is_said { LOOK_AGAIN } else { self.write_pause };
        if let Some(wait) = &self.wait_socket {
            let arguments = (awaited.socket, awaited.room_is_said, pause.as_secs_f64());
            return wait.call1(py, arguments)?.extract(py);
        }
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        let flags = if awaited.room_is_said { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        loop {
            // SAFETY: another thread may close the connection meanwhile. Then poll reports that, or
            // the state of whatever has got the number; the caller looks again in either case.
            let fd = unsafe { BorrowedFd::borrow_raw(awaited.socket) };
            match py.detach(|| poll(&mut [PollFd::new(fd, flags)], timeout)) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::EINTR) => py.check_signals()?,
                Err(error) => return Err(PyOSError::new_err(error.desc())),
            }
        }
    }
}
