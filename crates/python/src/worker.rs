//! One worker: the front, the app, and the loop that drives them.
//!
//! - `sync`: [`Worker::run_blocking`] waits, serves, and returns once drained.
//! - `gthread`: each thread of the pool calls [`Worker::run_thread`]; see the
//!   front's `pool.rs`.
//! - `gevent`: the hub watches [`Worker::fileno`] and calls [`Worker::collect`]; a leader greenlet
//!   calls [`Worker::lead`], which runs request after request on the leader's own stack. A request
//!   that blocks switches to the hub from inside `lead`; whatever is ready then belongs to the
//!   next leader, so all state that must outlive a switch lives in the front's queues.
//! - `asgi`: asyncio's loop watches the same descriptor and calls [`Worker::attend`], which starts
//!   a task for each request and wakes those whose client has moved.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use remuda_channel::{FromWorker, ToWorker, WorkerClass, profile_seconds};
use remuda_front::{Batch, Drain, Exchange, Front, Notice, Pool, Setup, Shortage, Waiter};
use remuda_journal::{AccessLog, Level};
use remuda_scoreboard::{Board, now_ns};

use crate::asgi::Asgi;
use crate::context::FreshContext;
use crate::idle::Idle;
use crate::imports::Imports;
use crate::journal::PyJournal;
use crate::memory_profile::MemoryProfile;
use crate::memory_samples::MemorySamples;
use crate::overdue::Flights;
use crate::process::{await_word, trim_heap};
use crate::serving::Serving;
use crate::setup::AccessWriter;
use crate::wsgi::{self, Closing, EnvironBuilder, Files, Phrases};
use crate::{access, setup, title};

/// Serves requests; made once in each worker process, after the fork.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct Worker {
    serving: Rc<Serving>,
    executor: Executor,
    pool: Pool,
    access: Option<AccessLog>,
    /// The user's logging, which gets each line as well.
    access_logger: Option<Py<PyAny>>,
    /// The user's logger class, which makes its own lines.
    access_recorder: Option<Py<PyAny>>,
    imports: Option<Imports>,
    profile: MemoryProfile,
    idle: Idle,
    /// Counts calls of `collect`: when it moves during a request, the request has blocked.
    turns: Cell<u64>,
    /// When time limits were last applied.
    swept: Cell<u64>,
    left: Cell<bool>,
    /// The master has said that it may take requests.
    may_serve: Cell<bool>,
    /// The master's end of the channel is closed.
    orphaned: Cell<bool>,
}

/// How requests reach the app.
enum Executor {
    Wsgi {
        environ: EnvironBuilder,
        files: Files,
        /// Several requests share one thread's context, so each gets its own.
        fresh_context: bool,
        /// What runs requests, to break them off.
        runners: Option<Py<PyAny>>,
    },
    Asgi(Asgi),
}

// SAFETY: Python reaches a worker only through the methods below, with the interpreter's lock, and
// none of them gives that lock up while it has a borrow of the front or of a cell: what runs
// without it (`Waiter::wait`, `Pool::park`, poll) touches neither. So at any time one thread at
// most is in here, and the lock orders what one thread wrote before what the next one reads. The
// module does not declare itself free of that lock, so a free-threaded interpreter enables it.
unsafe impl Send for Worker {}
// SAFETY: as above.
unsafe impl Sync for Worker {}

/// How long a loop of ours sleeps at most: the pace of the time limits.
const PACE: Duration = Duration::from_secs(1);
const PACE_SOON: Duration = Duration::from_millis(50);
/// After so many looks and requests asyncio's loop looks after everything else before more are taken.
const ATTENDED_MAX: usize = 64;

#[pymethods]
impl Worker {
    /// A worker that serves `app`.
    ///
    /// `plan` is the master's JSON, `groundwork` what the zygote has made of it; `line` its line of
    /// the scoreboard at `board`; `channel` the descriptor of its channel to the master; `profiles`
    /// whether it is the one that `memory_profile` means; `modules` how
    /// many were imported before the fork, if the master wants to hear of others; `tell_sources()` is
    /// called when there are some. `wait_socket(fd, readable, seconds) -> bool` and
    /// `schedule()` are given by cooperative loops only, `tasks` by asyncio's; `runners` by loops that
    /// come round while requests of WSGI apps run.
    #[new]
    #[pyo3(signature = (plan, groundwork, app, journal, errors, *, board, line, channel, max_requests, profiles=false, modules=None, tell_sources=None, request_hooks=None, access_logger=None, access_recorder=None, wait_socket=None, schedule=None, tasks=None, runners=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords on the Python side")]
    fn new(
        py: Python<'_>,
        plan: &str,
        groundwork: &setup::Groundwork,
        app: Py<PyAny>,
        journal: Py<PyJournal>,
        errors: &Bound<'_, PyAny>,
        board: RawFd,
        line: u16,
        channel: RawFd,
        max_requests: u64,
        profiles: bool,
        modules: Option<usize>,
        tell_sources: Option<Py<PyAny>>,
        request_hooks: Option<Py<PyAny>>,
        access_logger: Option<Py<PyAny>>,
        access_recorder: Option<Py<PyAny>>,
        wait_socket: Option<Py<PyAny>>,
        schedule: Option<Py<PyAny>>,
        tasks: Option<&Bound<'_, PyAny>>,
        runners: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let plan = setup::read_plan(plan)?;
        let listeners = setup::take_listeners(&plan);
        let executor = match tasks {
            Some(tasks) => Executor::Asgi(Asgi::new(py, &listeners, &plan, tasks)?),
            None => Executor::Wsgi {
                environ: EnvironBuilder::new(py, &listeners, &plan, errors)?,
                files: Files::new(py, plan.sendfile)?,
                fresh_context: plan.worker_class != WorkerClass::Sync,
                runners,
            },
        };
        let writer = match (&access_recorder, &access_logger) {
            (Some(_), _) => AccessWriter::Recorder,
            (None, Some(_)) => AccessWriter::Logger,
            (None, None) => AccessWriter::Front,
        };
        let (access, format) = setup::open_access_log(&plan, writer)?;
        let no_line = || PyValueError::new_err(format!("the scoreboard has no line {line}"));
        let board = Board::attach(board)?;
        let crowd = board.crowd(line, plan.worker_class == WorkerClass::Sync);
        let line = board.writer(line).ok_or_else(no_line)?;
        let front = Front::new(
            Setup {
                listeners,
                limits: setup::limits(&plan),
                proxies: setup::proxies(&plan)?,
                protocols: setup::protocols(&plan, groundwork)?,
                access: format,
                relay: setup::take_relay(&plan, crowd),
            },
            setup::duplicate(channel)?,
        )?;
        Ok(Self {
            serving: Rc::new(Serving {
                front,
                app,
                journal,
                line,
                flights: Flights::new(&plan),
                channel,
                request_hooks,
                wait_socket,
                write_pause: Duration::from_secs_f64(plan.write_timeout_s),
                schedule,
                scheduled: Cell::new(false),
                attending: Cell::new(false),
                in_app: Cell::new(0),
                served: Cell::new(0),
                max_requests,
                closing: Closing::default(),
                memory: MemorySamples::new(plan.memory.sample_rate),
                phrases: Phrases::default(),
            }),
            executor,
            pool: Pool::default(),
            access,
            access_logger,
            access_recorder,
            imports: Imports::new(py, modules, tell_sources)?,
            profile: MemoryProfile::new(if profiles { plan.memory.profile_every } else { 0 }),
            idle: Idle::default(),
            turns: Cell::new(0),
            swept: Cell::new(0),
            left: Cell::new(false),
            may_serve: Cell::new(false),
            orphaned: Cell::new(false),
        })
    }

    /// The descriptor that a loop watches for reading.
    fn fileno(&self) -> RawFd {
        self.front().fd()
    }

    /// Tells the master that requests can come, and waits for its word that they shall: a worker that
    /// is not wanted any more is killed, which would lose what it had taken meanwhile.
    fn ready(&self, py: Python<'_>) -> PyResult<()> {
        self.serving.line.claim(std::process::id(), now_ns());
        self.listen();
        while !self.may_serve.get() && !self.front().is_draining() {
            // Again and again: a word to a worker that was too busy to read may be lost.
            self.serving.say(FromWorker::Ready);
            py.detach(|| await_word(self.serving.channel, PACE));
            py.check_signals()?;
            self.serving.line.beat(now_ns());
            self.listen();
        }
        if self.may_serve.get() {
            title::show_state("serving");
        }
        Ok(())
    }

    /// Serves until drained. Signal handlers of Python run between requests.
    fn run_blocking(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = self.front().waiter();
        let mut batch = Batch::default();
        while !self.is_finished() {
            self.wait(py, &waiter, &mut batch, self.pace())?;
            py.check_signals()?;
            while !self.left.get()
                && let Some(exchange) = self.front().next_exchange()
            {
                self.serve(py, exchange);
                py.check_signals()?;
            }
            self.sweep_when_due(py);
            self.serving.close_results(py);
            self.write_access_lines();
        }
        self.tell_master(py);
        self.profile.finish(py, &self.serving);
        self.report();
        self.write_access_lines();
        Ok(())
    }

    /// Serves, in one of several threads, until drained. Somebody else has to call `beat`.
    fn run_thread(&self, py: Python<'_>) -> PyResult<()> {
        let waiter = self.front().waiter();
        let mut batch = Batch::default();
        while !self.is_finished() {
            self.pool.turn();
            if let Some(exchange) = self.front().next_exchange() {
                self.serve(py, exchange);
                continue;
            }
            self.serving.close_results(py);
            self.write_access_lines();
            if self.pool.start_watching() {
                // The main thread's beats sweep; while draining, they come too late to end at once.
                let pace = if self.front().is_draining() { PACE_SOON } else { Duration::MAX };
                let waited = self.wait(py, &waiter, &mut batch, pace);
                self.pool.stop_watching();
                waited?;
                self.sweep_when_due(py);
            } else {
                // The one that watches knows only what the kernel says.
                self.come_back(py)?;
                let pool = &self.pool;
                py.detach(|| pool.park());
            }
        }
        self.pool.close();
        Ok(())
    }

    /// Takes what the kernel has ready; true when a leader has something to do.
    fn collect(&self) -> PyResult<bool> {
        self.serving.scheduled.set(false);
        self.turns.set(self.turns.get() + 1);
        let work = self.front().collect()?;
        self.look_at_channel();
        Ok(work || self.has_work())
    }

    /// Serves what is ready; returns true when the caller never blocked, and so may serve again.
    fn lead(&self, py: Python<'_>) -> PyResult<bool> {
        let front = self.front();
        let turns = self.turns.get();
        while let Some(exchange) = front.next_exchange() {
            if front.has_work() {
                self.serving.call_schedule(py)?;
            }
            self.serve(py, exchange);
            if self.turns.get() != turns {
                break;
            }
        }
        self.serving.close_results(py);
        self.come_back(py)?;
        self.write_access_lines();
        Ok(self.turns.get() == turns)
    }

    /// Takes what the kernel has ready, starts tasks for requests, and wakes waiting ones.
    fn attend(&self, py: Python<'_>) -> PyResult<()> {
        let mut attended = 0;
        // What has come meanwhile is cheaper to see here than by another turn of the loop.
        while self.collect()? && attended < ATTENDED_MAX {
            attended += 1;
            self.serving.attending.set(true);
            while let Some(exchange) = self.front().next_exchange() {
                self.serve(py, exchange);
                attended += 1;
            }
            self.serving.attending.set(false);
            self.wake(py)?;
        }
        self.wake(py)?;
        self.come_back(py)?;
        self.write_access_lines();
        Ok(())
    }

    /// A sign of life of a loop, and its time limits; true once the worker is done.
    fn beat(&self, py: Python<'_>) -> PyResult<bool> {
        self.serving.flights.look(py, &self.serving);
        self.sweep(py);
        self.look_at_channel();
        self.wake(py)?;
        self.write_access_lines();
        let is_finished = self.is_finished();
        if is_finished {
            self.profile.finish(py, &self.serving);
        }
        self.come_back(py)?;
        Ok(is_finished)
    }

    /// Accepts no more, finishes what is held.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.begin_to_drain(Drain::Alone);
        // A loop that waits must look at this now.
        self.serving.call_schedule(py)
    }

    /// Ends the loop at once, whatever is in flight.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.left.set(true);
        self.drain(py)
    }

    /// Opens the log files again.
    fn reopen_logs(&self) {
        self.reopen();
    }

    /// Whether a drain was asked for.
    #[getter]
    fn draining(&self) -> bool {
        self.front().is_draining()
    }

    /// Whether a request is with the app.
    #[getter]
    fn busy(&self) -> bool {
        self.serving.in_app.get() > 0
    }

    /// Requests served so far.
    #[getter]
    fn served(&self) -> u64 {
        self.serving.served.get()
    }

    /// Open connections.
    #[getter]
    fn connections(&self) -> usize {
        self.front().connections()
    }
}

impl Worker {
    fn front(&self) -> &Front {
        &self.serving.front
    }

    /// Tells conversations of an ASGI app what the front knows.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        match &self.executor {
            Executor::Wsgi { .. } => Ok(()),
            Executor::Asgi(asgi) => asgi.wake(py),
        }
    }

    fn is_finished(&self) -> bool {
        if !self.left.get() && self.is_done() {
            // If the service stops meanwhile, nobody takes what this worker has handed over last:
            // the master tells those that leave already before all others.
            self.listen();
            if self.is_done() {
                self.left.set(true);
            }
        }
        self.left.get()
    }

    fn is_done(&self) -> bool {
        // An app may go on after its response has left.
        let is_idle = self.serving.in_app.get() == 0 && !self.serving.has_results_to_close();
        self.front().is_drained() && is_idle
    }

    fn has_work(&self) -> bool {
        self.front().has_work() || self.serving.has_results_to_close()
    }

    /// Has the loop look at what others had to have their turn before: epoll has said it already.
    fn come_back(&self, py: Python<'_>) -> PyResult<()> {
        if self.has_work() {
            self.serving.call_schedule(py)?;
        }
        Ok(())
    }

    fn look_at_channel(&self) {
        if self.front().take_watched() {
            self.listen();
        }
    }

    /// Waits for the kernel with the interpreter's lock given up, and takes what it has.
    fn wait(
        &self,
        py: Python<'_>,
        waiter: &Waiter,
        batch: &mut Batch,
        pace: Duration,
    ) -> PyResult<()> {
        let pace = if self.has_work() { Duration::ZERO } else { pace };
        py.detach(|| waiter.wait(batch, pace))?;
        self.front().take(batch);
        self.look_at_channel();
        Ok(())
    }

    fn pace(&self) -> Duration {
        if self.front().is_draining() { PACE_SOON } else { PACE }
    }

    fn serve(&self, py: Python<'_>, exchange: Exchange) {
        let ticket = self.serving.begin(&exchange);
        match &self.executor {
            Executor::Wsgi { environ, files, fresh_context, runners } => {
                let context = fresh_context.then(|| FreshContext::enter(py));
                let runners = runners.as_ref();
                wsgi::run(py, &self.serving, environ, files, runners, exchange, ticket);
                drop(context);
                self.serving.end(ticket);
            }
            // Ends when its task does.
            Executor::Asgi(asgi) => asgi.start(py, &self.serving, exchange, ticket),
        }
    }

    fn sweep_when_due(&self, py: Python<'_>) {
        if now_ns() - self.swept.get() >= self.pace().as_nanos() as u64 {
            self.sweep(py);
        }
    }

    fn sweep(&self, py: Python<'_>) {
        let now = now_ns();
        self.swept.set(now);
        // Siblings look at it, too, whatever the class: who does not come round counts for nothing.
        self.serving.line.beat(now);
        self.front().sweep();
        self.tell_master(py);
        self.profile.look(py, &self.serving);
        self.report();
        let is_busy = self.serving.in_app.get() > 0;
        if !is_busy && self.idle.is_time_to_trim(self.serving.served.get(), now) {
            py.detach(trim_heap);
        }
    }

    /// What the master gathers.
    fn tell_master(&self, py: Python<'_>) {
        if let Some(imports) = &self.imports {
            imports.tell(py, self.serving.channel);
        }
        self.serving.memory.tell(self.serving.channel);
    }

    /// What the front has noticed, for the operator.
    fn report(&self) {
        for notice in self.front().take_notices() {
            let (level, message) = words(notice);
            self.serving.log(level, &message);
        }
    }

    /// Reads what the master says.
    fn listen(&self) {
        let mut packet = [0; 64];
        while !self.orphaned.get() {
            match recv(self.serving.channel, &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return self.orphan(),
                Ok(length) => match ToWorker::try_from(&packet[..length]) {
                    // Waited for before this worker took its listeners.
                    Ok(ToWorker::Begin) => {}
                    Ok(ToWorker::Serve) => self.may_serve.set(true),
                    Ok(ToWorker::Drain) => self.obey(Drain::ToSiblings),
                    Ok(ToWorker::DrainQueue) => self.obey(Drain::Last),
                    Ok(ToWorker::HandOver) => self.obey(Drain::Succeeded),
                    Ok(ToWorker::Reopen) => self.reopen(),
                    Err(_) => self.hear_order(&packet[..length]),
                },
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(_) => return self.orphan(),
            }
        }
    }

    /// What is no word.
    fn hear_order(&self, packet: &[u8]) {
        match profile_seconds(packet) {
            Some(seconds) => self.profile.ask(seconds, &self.serving),
            None => self.serving.log(Level::Warning, "The master said an unknown word"),
        }
    }

    /// The master counts a reload as done when it knows that this worker takes nobody any more.
    fn obey(&self, how: Drain) {
        self.begin_to_drain(how);
        self.serving.say(FromWorker::Draining);
    }

    fn begin_to_drain(&self, how: Drain) {
        self.front().drain(how);
        title::show_state("draining");
    }

    /// The master is gone: nobody would replace, stop or reap this worker.
    fn orphan(&self) {
        // A closed channel stays readable for ever, and there is nothing left to hear. Heard again,
        // it would have this worker take from the accept queue again, and never leave under load.
        self.orphaned.set(true);
        self.front().unwatch();
        self.serving.log(Level::Info, "Parent changed, shutting down");
        self.begin_to_drain(Drain::Last);
    }

    fn reopen(&self) {
        // What cannot be opened again keeps its old file; the journal says so.
        let _ = self.serving.journal.get().reopen_all();
        if let Some(access) = &self.access {
            let _ = access.reopen();
        }
    }

    fn write_access_lines(&self) {
        if let Some(statsd) = self.serving.journal.get().journal.statsd() {
            for measure in self.front().take_measured() {
                statsd.request(measure.status, measure.took);
            }
        }
        if let Some(recorder) = &self.access_recorder {
            let wanted = self.front().environ_wanted();
            access::record(recorder, wanted, self.front().take_access_records());
        }
        if self.access.is_none() && self.access_logger.is_none() {
            return;
        }
        let lines = self.front().take_access_lines();
        if lines.is_empty() {
            return;
        }
        if let Some(access) = &self.access {
            access.write(&lines);
        }
        if let Some(logger) = &self.access_logger {
            Python::attach(|py| {
                for line in lines.lines() {
                    // A handler that fails says so by itself; requests go on.
                    let _ = logger.call1(py, (line,));
                }
            });
        }
    }
}

/// What the log says of a notice.
fn words(notice: Notice) -> (Level, String) {
    match notice {
        Notice::CannotAccept(Shortage::Lasts { error, failures }) => (
            Level::Error,
            format!(
                "Cannot accept connections: {error} ({failures} times). They wait in the queue."
            ),
        ),
        Notice::CannotAccept(Shortage::Over) => {
            (Level::Info, "Connections are accepted again".to_owned())
        }
        Notice::NoLookout(error) => (
            Level::Warning,
            format!("A long request will hold up others on this worker: no thread: {error}"),
        ),
        Notice::SpoolFailed(Shortage::Lasts { error, failures }) => (
            Level::Error,
            format!(
                "Cannot keep request bodies in temporary files: {error}. {failures} requests were \
                 answered 503."
            ),
        ),
        Notice::SpoolFailed(Shortage::Over) => {
            (Level::Info, "Request bodies are kept in temporary files again".to_owned())
        }
        Notice::CertificateRenewed(certificates) => {
            let path = certificates.path().display();
            let renewed = format!("Certificate renewed from `{path}`, for new connections");
            match certificates.warnings() {
                [] => (Level::Info, renewed),
                warnings => (Level::Warning, format!("{renewed}. {}", warnings.join(". "))),
            }
        }
        Notice::CertificateRefused(error) => {
            (Level::Error, format!("The certificate of before stays in use: {error}"))
        }
        Notice::InvalidRequest { peer, reason, more } => {
            let ip = peer.ip().map_or("unix".to_owned(), |ip| ip.to_string());
            let others = if more > 0 { format!(" ({more} more)") } else { String::new() };
            (Level::Warning, format!("Invalid request from ip={ip}: {reason}{others}"))
        }
    }
}
