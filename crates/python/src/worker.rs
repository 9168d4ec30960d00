//! One worker: the front, the app, and the loop that drives them.
//!
//! - `sync`: [`Worker::run_blocking`] waits, serves, and returns once drained.
//! - `gthread`: each thread of the pool calls [`Worker::run_thread`]; see `pool.rs`.
//! - `gevent`: the hub watches [`Worker::fileno`] and calls [`Worker::collect`]; a leader greenlet
//!   calls [`Worker::lead`], which runs request after request on the leader's own stack. A request
//!   that blocks switches to the hub from inside `lead`; whatever is ready then belongs to the
//!   next leader, so all state that must outlive a switch lives in the front's queues.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use remuda_channel::{FromWorker, ToWorker, WorkerClass, WorkerPlan};
use remuda_front::{AccessFormat, Batch, Front, Limits, Listener, Notice, TrustedPeers, Waiter};
use remuda_journal::{AccessLog, Level};
use remuda_scoreboard::{Board, LineWriter, now_ns};

use crate::journal::PyJournal;
use crate::pool::Pool;
use crate::wsgi::{self, EnvironBuilder};

/// What a request needs while it is served.
pub(crate) struct Serving {
    pub(crate) front: Front,
    pub(crate) app: Py<PyAny>,
    pub(crate) environ: EnvironBuilder,
    pub(crate) journal: Py<PyJournal>,
    /// Waits for a socket without blocking the hub; `None` blocks the process.
    wait_write: Option<Py<PyAny>>,
    write_pause: Duration,
}

/// Serves requests; made once in each worker process, after the fork.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct Worker {
    serving: Rc<Serving>,
    pool: Pool,
    class: WorkerClass,
    access: Option<AccessLog>,
    line: LineWriter,
    channel: RawFd,
    /// Calls [`Worker::collect`] and wakes a leader as soon as the hub runs.
    schedule: Option<Py<PyAny>>,
    scheduled: Cell<bool>,
    /// Counts calls of `collect`: when it moves during a request, the request has blocked.
    turns: Cell<u64>,
    /// When time limits were last applied.
    swept: Cell<u64>,
    served: Cell<u64>,
    max_requests: u64,
    left: Cell<bool>,
    /// Requests with the app.
    in_app: Cell<usize>,
}

// SAFETY: Python reaches a worker only through the methods below, with the interpreter's lock, and
// none of them gives that lock up while it has a borrow of the front or of a cell: what runs
// without it (`Waiter::wait`, `Pool::park`, poll) touches neither. So at any time one thread at
// most is in here, and the lock orders what one thread wrote before what the next one reads. The
// module does not declare itself free of that lock, so a free-threaded interpreter enables it.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

/// How long the blocking loop sleeps at most: the pace of the time limits.
const PACE: Duration = Duration::from_secs(1);
const PACE_DRAINING: Duration = Duration::from_millis(50);

#[pymethods]
impl Worker {
    /// A worker that serves `app`.
    ///
    /// `plan` is the master's JSON; `line` its line of the scoreboard at `board`; `channel` the
    /// descriptor of its channel to the master. `wait_write(fd, seconds) -> bool` and
    /// `schedule()` are given by cooperative loops only.
    #[new]
    #[pyo3(signature = (plan, app, journal, errors, *, board, line, channel, max_requests, wait_write=None, schedule=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords on the Python side")]
    fn new(
        py: Python<'_>,
        plan: &str,
        app: Py<PyAny>,
        journal: Py<PyJournal>,
        errors: &Bound<'_, PyAny>,
        board: RawFd,
        line: u16,
        channel: RawFd,
        max_requests: u64,
        wait_write: Option<Py<PyAny>>,
        schedule: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let plan = read_plan(plan)?;
        let listeners = take_listeners(&plan);
        let environ = EnvironBuilder::new(
            py,
            &listeners,
            plan.workers > 1,
            plan.worker_class != WorkerClass::Sync,
            errors,
        )?;
        let (access, format) = open_access_log(&plan)?;
        let no_line = || PyValueError::new_err(format!("the scoreboard has no line {line}"));
        let line = Board::attach(board)?.writer(line).ok_or_else(no_line)?;
        let front = Front::new(
            listeners,
            limits(&plan),
            trusted_peers(&plan)?,
            format,
            duplicate(channel)?,
        )?;
        let write_pause = Duration::from_secs_f64(plan.write_timeout_s);
        Ok(Self {
            serving: Rc::new(Serving { front, app, environ, journal, wait_write, write_pause }),
            pool: Pool::default(),
            class: plan.worker_class,
            access,
            line,
            channel,
            schedule,
            scheduled: Cell::new(false),
            turns: Cell::new(0),
            swept: Cell::new(0),
            served: Cell::new(0),
            max_requests,
            left: Cell::new(false),
            in_app: Cell::new(0),
        })
    }

    /// The descriptor that a loop watches for reading.
    fn fileno(&self) -> RawFd {
        self.serving.front.fd()
    }

    /// Tells the master that requests can come.
    fn ready(&self) {
        self.line.claim(std::process::id(), now_ns());
        self.say(FromWorker::Ready);
    }

    /// Serves until drained. Signal handlers of Python run between requests.
    fn run_blocking(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = self.serving.front.waiter();
        let mut batch = Batch::default();
        while !self.is_finished() {
            self.wait(py, &waiter, &mut batch)?;
            py.check_signals()?;
            while !self.left.get()
                && let Some(exchange) = self.serving.front.next_exchange()
            {
                self.serve(py, exchange);
                py.check_signals()?;
            }
            self.write_access_lines();
            self.sweep_when_due();
        }
        self.write_access_lines();
        Ok(())
    }

    /// Serves, in one of several threads, until drained. Somebody else has to call `beat`.
    fn run_thread(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = self.serving.front.waiter();
        let mut batch = Batch::default();
        while !self.is_finished() {
            self.pool.turn();
            if let Some(exchange) = self.serving.front.next_exchange() {
                self.serve(py, exchange);
                continue;
            }
            self.write_access_lines();
            if self.pool.start_watching() {
                let waited = self.wait(py, &waiter, &mut batch);
                self.pool.stop_watching();
                waited?;
                self.sweep_when_due();
            } else {
                let pool = &self.pool;
                py.detach(|| pool.park());
            }
        }
        self.pool.close();
        Ok(())
    }

    /// Takes what the kernel has ready; true when a leader has something to do.
    fn collect(&self) -> PyResult<bool> {
        self.scheduled.set(false);
        self.turns.set(self.turns.get() + 1);
        self.collect_now()
    }

    /// Serves what is ready; returns true when the caller never blocked, and so may serve again.
    fn lead(&self, py: Python<'_>) -> PyResult<bool> {
        let front = &self.serving.front;
        let turns = self.turns.get();
        while let Some(exchange) = front.next_exchange() {
            if front.has_work() {
                self.call_schedule(py)?;
            }
            self.serve(py, exchange);
            if self.turns.get() != turns {
                if front.has_work() {
                    self.call_schedule(py)?;
                }
                self.write_access_lines();
                return Ok(false);
            }
        }
        self.write_access_lines();
        Ok(true)
    }

    /// A sign of life of a cooperative loop, and its time limits; true once the worker is done.
    fn beat(&self, py: Python<'_>) -> PyResult<bool> {
        self.beat_line();
        self.sweep();
        self.write_access_lines();
        if self.serving.front.has_work() {
            self.call_schedule(py)?;
        }
        Ok(self.is_finished())
    }

    /// Accepts no more, finishes what is held. With `queue`, first accepts what waits already.
    #[pyo3(signature = (*, queue=false))]
    fn drain(&self, py: Python<'_>, queue: bool) -> PyResult<()> {
        self.serving.front.drain(queue);
        // A loop that waits must look at this now.
        self.call_schedule(py)
    }

    /// Ends the loop at once, whatever is in flight.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.left.set(true);
        self.drain(py, false)
    }

    /// Opens the log files again.
    fn reopen_logs(&self) {
        self.reopen();
    }

    /// Whether a drain was asked for.
    #[getter]
    fn draining(&self) -> bool {
        self.serving.front.is_draining()
    }

    /// Whether a request is with the app.
    #[getter]
    fn busy(&self) -> bool {
        self.in_app.get() > 0
    }

    /// Requests served so far.
    #[getter]
    fn served(&self) -> u64 {
        self.served.get()
    }

    /// Open connections.
    #[getter]
    fn connections(&self) -> usize {
        self.serving.front.connections()
    }
}

impl Worker {
    fn is_finished(&self) -> bool {
        // An app may go on after its response has left.
        self.left.get() || self.serving.front.is_drained() && self.in_app.get() == 0
    }

    fn collect_now(&self) -> PyResult<bool> {
        let work = self.serving.front.collect()?;
        self.look_at_channel();
        Ok(work || self.serving.front.has_work())
    }

    fn look_at_channel(&self) {
        if self.serving.front.take_watched() {
            self.listen();
        }
    }

    /// Waits for the kernel with the interpreter's lock given up, and takes what it has.
    fn wait(&self, py: Python<'_>, waiter: &Waiter, batch: &mut Batch) -> PyResult<()> {
        let pace = if self.serving.front.has_work() { Duration::ZERO } else { self.pace() };
        py.detach(|| waiter.wait(batch, pace))?;
        self.serving.front.take(batch);
        self.look_at_channel();
        Ok(())
    }

    fn pace(&self) -> Duration {
        if self.serving.front.is_draining() { PACE_DRAINING } else { PACE }
    }

    fn serve(&self, py: Python<'_>, exchange: remuda_front::Exchange) {
        self.line.begin(now_ns(), exchange.head.method.as_str(), exchange.head.uri.path());
        let context = match self.class {
            WorkerClass::Sync | WorkerClass::Asgi => None,
            WorkerClass::Gthread | WorkerClass::Gevent => FreshContext::enter(py),
        };
        self.in_app.set(self.in_app.get() + 1);
        wsgi::run(py, &self.serving, exchange);
        self.in_app.set(self.in_app.get() - 1);
        drop(context);
        self.line.end();
        self.count();
    }

    fn count(&self) {
        let served = self.served.get() + 1;
        self.served.set(served);
        if served == self.max_requests {
            let message = "Autorestarting worker after current request.";
            self.journal(Level::Info, message);
            self.say(FromWorker::Spent);
        }
    }

    fn call_schedule(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(schedule) = &self.schedule
            && !self.scheduled.replace(true)
        {
            schedule.call0(py)?;
        }
        Ok(())
    }

    fn beat_line(&self) {
        self.line.beat(now_ns());
    }

    fn sweep_when_due(&self) {
        if now_ns() - self.swept.get() >= self.pace().as_nanos() as u64 {
            self.sweep();
        }
    }

    fn sweep(&self) {
        self.swept.set(now_ns());
        self.serving.front.sweep();
        for notice in self.serving.front.take_notices() {
            let (level, message) = match notice {
                Notice::CannotAccept(error) => {
                    (Level::Error, format!("Cannot accept connections: {error}. Trying again."))
                }
                Notice::SpoolFailed(error) => (
                    Level::Error,
                    format!("Cannot keep a request body in a temporary file: {error}"),
                ),
                Notice::InvalidRequest { peer, reason } => {
                    let ip = peer.ip().map_or("unix".to_owned(), |ip| ip.to_string());
                    (Level::Warning, format!("Invalid request from ip={ip}: {reason}"))
                }
            };
            self.journal(level, &message);
        }
    }

    /// Reads what the master says.
    fn listen(&self) {
        let mut packet = [0; 64];
        loop {
            match recv(self.channel, &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return self.orphan(),
                Ok(length) => match ToWorker::try_from(&packet[..length]) {
                    Ok(ToWorker::Drain) => self.serving.front.drain(false),
                    Ok(ToWorker::DrainQueue) => self.serving.front.drain(true),
                    Ok(ToWorker::Reopen) => self.reopen(),
                    Err(_) => self.journal(Level::Warning, "The master said an unknown word"),
                },
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(_) => return self.orphan(),
            }
        }
    }

    /// The master is gone: nobody would replace, stop or reap this worker.
    fn orphan(&self) {
        // A closed channel stays readable for ever, and there is nothing left to hear.
        self.serving.front.unwatch();
        self.journal(Level::Info, "Parent changed, shutting down");
        self.serving.front.drain(false);
    }

    fn say(&self, word: FromWorker) {
        // A master that does not listen is dead, and its end of file is on the way.
        let _ =
            send(self.channel, word.as_bytes(), MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    fn reopen(&self) {
        // What cannot be opened again keeps its old file; the journal says so.
        let _ = self.serving.journal.get().0.reopen();
        if let Some(access) = &self.access {
            let _ = access.reopen();
        }
    }

    fn write_access_lines(&self) {
        if let Some(access) = &self.access {
            let lines = self.serving.front.take_access_lines();
            if !lines.is_empty() {
                access.write(&lines);
            }
        }
    }

    fn journal(&self, level: Level, message: &str) {
        self.serving.journal.get().0.write(level, message);
    }
}

impl Serving {
    /// An app's failure, with its traceback.
    pub(crate) fn report_failure(&self, request: &str, traceback: &str) {
        let message = format!("Error handling request {request}\n{traceback}");
        self.journal.get().0.write(Level::Error, &message);
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

/// A `contextvars` context that is current while it lives.
struct FreshContext<'py>(Bound<'py, PyAny>);

impl<'py> FreshContext<'py> {
    fn enter(py: Python<'py>) -> Option<Self> {
        // SAFETY: the interpreter is attached; both calls take and return what they document.
        unsafe {
            let context = Bound::from_owned_ptr_or_opt(py, pyo3::ffi::PyContext_New())?;
            if pyo3::ffi::PyContext_Enter(context.as_ptr()) == 0 {
                return Some(Self(context));
            }
        }
        // Without a context of its own the request still runs, in its greenlet's.
        drop(PyErr::take(py));
        None
    }
}

impl Drop for FreshContext<'_> {
    fn drop(&mut self) {
        // SAFETY: entered in `enter`, on this greenlet, whose context the switches keep.
        if unsafe { pyo3::ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            // An app that left a context of its own entered: its error, not ours.
            drop(PyErr::take(self.0.py()));
        }
    }
}

fn read_plan(plan: &str) -> PyResult<WorkerPlan> {
    serde_json::from_str(plan).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn trusted_peers(plan: &WorkerPlan) -> PyResult<TrustedPeers> {
    TrustedPeers::parse(&plan.forwarded_allow_ips).map_err(|entry| {
        let what = "is neither an address nor a network";
        PyValueError::new_err(format!("forwarded_allow_ips: `{entry}` {what}"))
    })
}

/// Looks at what only workers use, before there are any: better one error than a crash loop.
#[pyfunction]
pub(crate) fn check_plan(plan: &str) -> PyResult<()> {
    let plan = read_plan(plan)?;
    trusted_peers(&plan)?;
    open_access_log(&plan).map(drop)
}

/// The descriptors of the plan, which this process inherited and owns from now on.
fn take_listeners(plan: &WorkerPlan) -> Vec<Listener> {
    let take = |listener: &remuda_channel::ListenerPlan| {
        // SAFETY: the zygote was started with a listener at this descriptor, and nothing in this
        // process but the front uses it.
        let fd = unsafe { OwnedFd::from_raw_fd(listener.fd) };
        Listener::new(fd, listener.host.clone(), listener.port)
    };
    plan.listeners.iter().map(take).collect()
}

/// A descriptor of the front's own, so that Python may close the original.
fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    // SAFETY: the caller holds it open for the length of this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(fd.try_clone_to_owned()?)
}

fn limits(plan: &WorkerPlan) -> Limits {
    Limits {
        connections: plan.worker_connections.max(1),
        keepalive: Duration::from_secs_f64(plan.keepalive_s),
        head: Duration::from_secs_f64(plan.head_timeout_s),
        body_pause: Duration::from_secs_f64(plan.body_timeout_s),
        write_pause: Duration::from_secs_f64(plan.write_timeout_s),
        request_line: plan.limit_request_line,
        header_fields: plan.limit_request_fields,
        header_field_bytes: plan.limit_request_field_size,
        body_spool_bytes: plan.body_spool_bytes,
        has_siblings: plan.workers > 1,
    }
}

fn open_access_log(plan: &WorkerPlan) -> PyResult<(Option<AccessLog>, Option<AccessFormat>)> {
    let Some(target) = &plan.accesslog else { return Ok((None, None)) };
    let format = AccessFormat::parse(&plan.access_log_format)
        .map_err(|error| PyValueError::new_err(format!("access_log_format: {error}")))?;
    let log = AccessLog::open(target).map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok((Some(log), Some(format)))
}
