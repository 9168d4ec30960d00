//! The master's loop: wait, turn what happened into events, perform what the supervisor asks.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remuda_channel::{
    Answer, Ask, FromWorker, FromZygote, Growths, Sources, ToHerald, ToWorker, WorkerPlan,
};
use remuda_journal::{Journal, log};
use remuda_scoreboard::{Board, now_ns};
use remuda_supervisor::{
    BootFailure, Event, Generation, Line, Phase, Pid, Plan, Refusal, Supervisor, Tick, Wish,
    WorkerId, WorkerView,
};
use socket2::Socket;
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

use crate::cgroup::OomWatch;
use crate::control::{self, Asked, CLIENTS_MAX, ControlSocket, Tickets};
use crate::dirty::Arbiters;
use crate::herald::Herald;
use crate::learned::Learned;
use crate::listen::Listeners;
use crate::memory::{self, TotalOf};
use crate::notify::Notifier;
use crate::perform::PreExec;
use crate::pidfile::Pidfile;
use crate::renewal::{Attached, Renewal, Renewing};
use crate::report::Report;
use crate::sample;
use crate::signals::{Meaning, Signals, Watch};
use crate::sources::{Change, Watched, Watching};
use crate::upgrade::{self, Heirloom, Launch};
use crate::wire::{Incoming, Wire};
use crate::zygote::{Shared, Start, Zygote};
use crate::{children, leftovers};

/// Everything the master runs with.
pub struct Config {
    /// What the supervisor decides by.
    pub plan: Plan,
    /// What zygotes and workers are told.
    pub worker_plan: WorkerPlan,
    /// The bound sockets.
    pub listeners: Listeners,
    /// The interpreter that runs zygotes.
    pub python: PathBuf,
    /// What is compared with the plan's `total_memory`.
    pub total_of: TotalOf,
    /// The error log, to be opened again on USR1.
    pub journal: Arc<Journal>,
    /// Whether the length of the accept queue is measured.
    pub measures_backlog: bool,
    /// Who is told how the service stands.
    pub notifier: Notifier,
    /// How a new master is started.
    pub launch: Launch,
    /// Where operators ask.
    pub control: Option<ControlSocket>,
    /// Where it listens, for people.
    pub addresses: String,
    /// What the master before this one has given to it.
    pub heirloom: Option<Heirloom>,
    /// How the app's files are watched; `None` = they are not.
    pub watching: Option<Watching>,
    /// Reads the settings again at a reload.
    pub renewal: Box<dyn Renewal>,
    /// Calls hooks, if there are any for it.
    pub herald: Option<Herald>,
    /// The file that names the master; removed before the last hook is called.
    pub pidfile: Option<Pidfile>,
}

/// Who sent a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Zygote(Generation),
    Worker(WorkerId),
    /// The new master of an upgrade.
    Heir(Pid),
    /// The master that we are the new one of.
    Predecessor,
    Herald,
}

/// A worker, seen from here.
pub(crate) struct Worker {
    pub(crate) wire: Wire,
    pub(crate) line: Line,
    pub(crate) slot: u16,
    pub(crate) pid: Option<Pid>,
}

pub(crate) struct Shell {
    pub(crate) supervisor: Supervisor,
    pub(crate) config: Config,
    pub(crate) start: Start,
    pub(crate) board: Board,
    pub(crate) shared: Shared,
    pub(crate) zygotes: BTreeMap<Generation, Zygote>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) arbiters: Arbiters,
    /// What zygotes said of their load: milliseconds, and whether the app is shared.
    pub(crate) loads: BTreeMap<u32, (u64, bool)>,
    pub(crate) learned: Learned,
    pub(crate) report: Report,
    pub(crate) watched: Watched,
    pub(crate) herald: Option<Attached>,
    pub(crate) renewing: Renewing,
    pub(crate) inbox: UnboundedSender<(From, Incoming)>,
    pub(crate) letters: UnboundedReceiver<(From, Incoming)>,
    pub(crate) oom: OomWatch,
    pub(crate) started: Tick,
    pub(crate) tickets: Tickets,
    ask: Sender<Asked>,
    asked: Receiver<Asked>,
    /// What the zygote that failed last has said.
    pub(crate) last_failure: String,
    /// Until when the hook `pre_exec` is waited for.
    pub(crate) pre_exec: Option<Instant>,
    /// To the new master of an upgrade.
    pub(crate) heir: Option<(Pid, Wire)>,
    /// To the master before this one, as long as it is there.
    pub(crate) predecessor: Option<Wire>,
    pub(crate) exit: Option<u8>,
    /// Workers that the gauge was told of.
    counted: usize,
}

/// Runs the master until it has stopped; its exit status.
///
/// # Errors
///
/// When the kernel refuses what the loop itself needs.
pub fn run(config: Config, signals: Signals) -> io::Result<u8> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let tasks = tokio::task::LocalSet::new();
    let (status, heir) =
        tasks.block_on(&runtime, async { Shell::new(config)?.serve(signals.watch()?).await })?;
    leftovers::end(heir);
    Ok(status)
}

pub(crate) fn now() -> Tick {
    Tick(now_ns())
}

impl Shell {
    fn new(mut config: Config) -> io::Result<Self> {
        let (inbox, letters) = unbounded_channel();
        let predecessor = config.heirloom.as_mut().and_then(Heirloom::take_wire);
        if let Some(wire) = &predecessor {
            wire.listen(From::Predecessor, inbox.clone());
        }
        let (ask, asked) = channel(CLIENTS_MAX);
        if let Some(control) = &config.control {
            let listener = UnixListener::from(control.socket.try_clone()?);
            control::listen(tokio::net::UnixListener::from_std(listener)?, ask.clone());
        }
        if config.heirloom.is_some() {
            config.notifier.mute();
        }
        let relay = config.heirloom.as_mut().and_then(|heirloom| heirloom.relay.take());
        let herald = config.herald.take();
        let herald = herald.map(|herald| Attached::new(herald, &inbox)).transpose()?;
        let mut watched = Watched::default();
        watched.set(config.watching.take(), &config.worker_plan.chdir);
        // Lines that are never written take no memory.
        let (board, board_fd) = Board::create(config.plan.lines())?;
        Ok(Self {
            supervisor: Supervisor::new(config.plan.clone()),
            start: Start { python: config.python.clone() },
            board,
            shared: Shared::new(board_fd, relay)?,
            zygotes: BTreeMap::new(),
            workers: BTreeMap::new(),
            arbiters: Arbiters::default(),
            loads: BTreeMap::new(),
            learned: Learned::default(),
            report: Report::new(now()),
            watched,
            herald,
            renewing: Renewing::default(),
            inbox,
            letters,
            oom: OomWatch::new(),
            started: now(),
            tickets: Tickets::default(),
            ask,
            asked,
            last_failure: String::new(),
            heir: None,
            pre_exec: None,
            predecessor,
            exit: None,
            counted: 0,
            config,
        })
    }

    async fn serve(mut self, signals: Watch) -> io::Result<(u8, Option<Pid>)> {
        let mut watched = self.config.plan.watched();
        let mut sampling = sampling(watched);
        let mut limited = self.config.plan.limits_memory();
        let mut measuring = measuring(limited);
        let mut parent = interval(PARENT_PACE);
        let mut backlog = interval(BACKLOG_PACE);
        backlog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.handle(Event::Start);
        loop {
            if let Some(status) = self.exit {
                let heir = self.supervisor.snapshot().upgrade.heir();
                self.take_leave().await;
                return Ok((status, heir));
            }
            // A reload may have brought other limits.
            if watched != self.config.plan.watched() {
                watched = self.config.plan.watched();
                sampling = self::sampling(watched);
            }
            if limited != self.config.plan.limits_memory() {
                limited = self.config.plan.limits_memory();
                measuring = self::measuring(limited);
            }
            let deadline = self.supervisor.next_deadline();
            let is_heir = self.config.heirloom.is_some();
            let pre_exec = self.pre_exec;
            let is_behind = self.config.notifier.is_behind();
            tokio::select! {
                biased;
                Some((from, incoming)) = self.letters.recv() => self.receive(from, &incoming),
                raised = signals.next() => self.obey(&raised),
                () = until(deadline), if deadline.is_some() => self.handle(Event::Tick),
                _ = sampling.tick(), if watched.is_some() => self.sample(),
                _ = measuring.tick() => self.measure(),
                _ = parent.tick(), if is_heir => self.look_for_the_parent(),
                _ = backlog.tick(), if self.config.measures_backlog => self.measure_backlog(),
                () = self.watched.woken(), if self.watched.is_on() => self.look_for_edits(),
                Some(asked) = self.asked.recv() => self.answer(asked),
                () = sleep_until(pre_exec.unwrap_or_else(Instant::now)), if pre_exec.is_some() => {
                    self.start_upgrade_late(PreExec::Late);
                }
                () = sleep(NOTIFY_PACE), if is_behind => self.config.notifier.flush(),
            }
        }
    }

    pub(crate) fn listen_for_operators(&self, socket: Socket) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(UnixListener::from(socket))?;
        control::listen(listener, self.ask.clone());
        Ok(())
    }

    /// Hands one event to the supervisor, and performs what it asks.
    pub(crate) fn handle(&mut self, event: Event) {
        let mut events = vec![event];
        let mut actions = Vec::new();
        while let Some(event) = events.pop() {
            tracing::trace!(?event);
            self.supervisor.handle(now(), event, &mut actions);
            for action in std::mem::take(&mut actions) {
                // What an action brings about at once is an event like any other.
                events.extend(self.perform(action));
            }
        }
        // The end of its channel tells a worker that was given up on the way to leave.
        self.workers.retain(|worker, _| self.supervisor.knows(*worker));
        self.arbiters.retain(|worker| self.supervisor.knows(worker));
        self.count_workers();
    }

    /// gunicorn's gauge: sent when it has changed.
    fn count_workers(&mut self) {
        let Some(statsd) = self.config.journal.statsd() else { return };
        let count = self.workers.values().filter(|worker| worker.pid.is_some()).count();
        if self.counted != count {
            self.counted = count;
            statsd.gauge("gunicorn.workers", count as u64);
        }
    }

    fn measure_backlog(&self) {
        let waiting = self.config.listeners.waiting();
        tracing::debug!("socket backlog: {waiting}");
        if let Some(statsd) = self.config.journal.statsd() {
            statsd.histogram("gunicorn.backlog", waiting);
        }
    }

    fn obey(&mut self, raised: &[(&'static str, Meaning)]) {
        for (signal, meaning) in raised {
            match meaning {
                Meaning::Asked(wish) => {
                    log!(SIGNAL, signal = signal);
                    self.handle(Event::Asked(*wish));
                }
                Meaning::ChildEnded => self.reap(),
                Meaning::Nothing => tracing::debug!("SIGWINCH ignored. Not daemonized"),
            }
        }
    }

    fn reap(&mut self) {
        log!(SIGNAL_CHILD);
        // One at a time: a number whose exit has not been told must not be free for others yet.
        while let Some((pid, ending)) = children::next_ended() {
            if self.herald.as_ref().is_some_and(|herald| herald.pid == pid) {
                self.lose_herald();
                continue;
            }
            self.hear_last_words(pid);
            self.handle(Event::Exited { pid, ending });
            self.zygotes.retain(|_, zygote| zygote.pid != pid);
        }
    }

    /// What a zygote said before it ended counts: a fork that it had answered, or why it failed.
    fn hear_last_words(&mut self, pid: Pid) {
        while let Ok((from, incoming)) = self.letters.try_recv() {
            self.receive(from, &incoming);
        }
        let ended = self.zygotes.iter().find(|(_, zygote)| zygote.pid == pid);
        let wire = ended.and_then(|(generation, zygote)| Some((*generation, zygote.wire.clone()?)));
        let Some((generation, wire)) = wire else { return };
        while let Some(packet) = wire.take() {
            self.receive(From::Zygote(generation), &Incoming::Packet(packet));
        }
        self.lose_zygote(generation);
    }

    /// An operator asks on the control socket.
    fn answer(&mut self, (ask, client): Asked) {
        let now = match ask {
            Ask::Status => Answer::status(self.status()),
            // The notices that follow answer it.
            Ask::Reload | Ask::Upgrade if !self.is_running() => Answer::failed("the service stops"),
            Ask::Reload => {
                self.tickets.wait_for_reload(client);
                return self.handle(Event::Asked(Wish::Reload));
            }
            Ask::Upgrade => {
                self.tickets.wait_for_upgrade(client);
                return self.handle(Event::Asked(Wish::Upgrade));
            }
            Ask::Stop | Ask::Quit => Answer::done("it stops"),
            Ask::MemoryProfile { slot, seconds } => self.profile(slot, seconds),
        };
        // One that is gone does not want to know.
        let _ = client.send(now);
        match ask {
            Ask::Stop => self.handle(Event::Asked(Wish::Stop)),
            Ask::Quit => self.handle(Event::Asked(Wish::Quit)),
            Ask::Status | Ask::Reload | Ask::Upgrade | Ask::MemoryProfile { .. } => {}
        }
    }

    /// Has the worker that serves in a slot say what its memory grows by.
    fn profile(&self, slot: u16, seconds: u16) -> Answer {
        let snapshot = self.supervisor.snapshot();
        let meant = |view: &&WorkerView| view.slot.0 == slot && view.is_serving();
        // The newest, if another is on its way out.
        let meant = snapshot.workers.iter().rfind(meant);
        let Some((view, worker)) = meant.and_then(|v| Some((v, self.workers.get(&v.worker)?)))
        else {
            return Answer::failed(format!("no worker serves in slot {slot}"));
        };
        let pid = view.pid.map_or(0, |pid| pid.0);
        match worker.wire.send(&remuda_channel::profile_packet(seconds), None) {
            Ok(()) => Answer::done(format!(
                "worker {pid} (slot {slot}) is traced for {seconds} s; then the log has what grew"
            )),
            Err(error) => {
                Answer::failed(format!("worker {pid} (slot {slot}) does not hear: {error}"))
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.supervisor.snapshot().phase == Phase::Running
    }

    fn look_for_the_parent(&mut self) {
        if self.config.heirloom.as_ref().is_some_and(Heirloom::parent_is_gone) {
            self.take_over();
        }
    }

    /// The master before this one has left everything to us.
    fn take_over(&mut self) {
        self.config.heirloom = None;
        self.config.listeners.take_over();
        if let Some(Err(error)) = self.config.pidfile.as_mut().map(Pidfile::promote) {
            log!(PIDFILE_NOT_RENAMED, error = error);
        }
        if let Some(Err(error)) = self.config.control.as_mut().map(ControlSocket::promote) {
            log!(CONTROL_NOT_RENAMED, error = error);
        }
        self.config.notifier.speak(now());
        self.handle(Event::Promoted);
    }

    fn look_for_edits(&mut self) {
        let change = self.watched.look();
        self.tell_of_edit(change);
    }

    fn hear_of_sources(&mut self, sources: Sources) {
        let change = self.watched.add(sources);
        self.tell_of_edit(change);
    }

    fn tell_of_edit(&mut self, change: Option<Change>) {
        if let Some(Change { file, more }) = change {
            let more = if more == 0 { String::new() } else { format!(", and {more} more") };
            log!(EDITED, file = file.display(), more = more);
            self.handle(Event::Edited);
        }
    }

    fn sample(&mut self) {
        self.oom.look(now());
        let workers: Vec<_> =
            self.workers.iter().filter_map(|(id, w)| Some((*id, w.line, w.pid?))).collect();
        let class = self.config.worker_plan.worker_class;
        for (worker, line, pid) in workers {
            let sample = sample::of(&self.board, line, pid, class);
            self.handle(Event::Sampled { worker, sample });
        }
    }

    fn receive(&mut self, from: From, incoming: &Incoming) {
        match (from, incoming) {
            (From::Worker(worker), Incoming::Packet(packet)) => {
                match FromWorker::try_from(&packet[..]) {
                    Ok(FromWorker::Ready) => self.handle(Event::WorkerReady { worker }),
                    Ok(FromWorker::Spent) => self.handle(Event::WorkerSpent { worker }),
                    Ok(FromWorker::Draining) => self.handle(Event::WorkerDrains { worker }),
                    Err(_) => self.hear_list(worker, packet),
                }
            }
            // Its exit follows, and says more.
            (From::Worker(_), Incoming::End) => {}
            (From::Zygote(generation), Incoming::Packet(packet)) => {
                match serde_json::from_slice(packet) {
                    Ok(message) => self.hear_zygote(generation, message),
                    Err(_) => log!(UNKNOWN_MESSAGE, who = format!("zygote {}", generation.0)),
                }
            }
            (From::Zygote(generation), Incoming::End) => self.lose_zygote(generation),
            (From::Herald, Incoming::Packet(packet)) => match serde_json::from_slice(packet) {
                Ok(message) => self.hear_herald(message),
                Err(_) => log!(UNKNOWN_MESSAGE, who = "the herald"),
            },
            // Its exit follows.
            (From::Herald, Incoming::End) => {}
            (From::Heir(pid), Incoming::Packet(word)) if word == upgrade::READY => {
                self.handle(Event::UpgradeReady { pid });
            }
            (From::Predecessor, Incoming::Packet(word)) if word == upgrade::YOURS => {
                self.take_over();
            }
            (From::Heir(_) | From::Predecessor, Incoming::Packet(_)) => {
                log!(UNKNOWN_MESSAGE, who = "another master");
            }
            // The exit of the one, and the change of parent by the other, say it.
            (From::Heir(_) | From::Predecessor, Incoming::End) => {}
        }
    }

    /// What is no word is one of a worker's lists.
    fn hear_list(&mut self, worker: WorkerId, packet: &[u8]) {
        if let Some(sources) = Sources::from_worker(packet) {
            self.hear_of_sources(sources);
        } else if let Some(names) = remuda_channel::imported_names(packet) {
            if let Some(modules) = self.learned.add(&names) {
                log!(LEARNED, names = names.join(", "));
                self.handle(Event::Learned { modules });
            }
        } else if let Some(growths) = Growths::from_packet(packet) {
            self.report.grow(&growths);
        } else {
            log!(UNKNOWN_MESSAGE, who = format!("worker {}", worker.0));
        }
    }

    fn hear_zygote(&mut self, generation: Generation, message: FromZygote) {
        let Some(zygote) = self.zygotes.get_mut(&generation) else { return };
        match message {
            FromZygote::Hello { version, python } if version == env!("CARGO_PKG_VERSION") => {
                zygote.greeted = true;
                log!(ZYGOTE_HELLO, generation = generation.0, python = python, pid = zygote.pid.0);
                if self.supervisor.is_loading(generation) {
                    self.renew(generation);
                } else {
                    self.boot(generation);
                }
            }
            FromZygote::Hello { version, .. } => {
                let message = format!(
                    "The Python package remuda is version {version}, this executable is {}.\n  \
                     why: {} belongs to another installation\n  \
                     hint: install remuda again in that environment",
                    env!("CARGO_PKG_VERSION"),
                    self.start.python.display(),
                );
                self.give_up(generation, &message);
            }
            FromZygote::Sources(sources) => self.hear_of_sources(sources),
            FromZygote::Ready { preloaded, took_ms } => {
                self.loads.insert(generation.0, (took_ms, preloaded));
                self.handle(Event::ZygoteReady { generation });
            }
            FromZygote::Failed { failure, message } => {
                zygote.failed = true;
                log!(ZYGOTE_FAILED, message = message);
                self.last_failure = message;
                let failure = match failure {
                    remuda_channel::BootFailure::Import => BootFailure::Import,
                    remuda_channel::BootFailure::App | remuda_channel::BootFailure::Interface => {
                        BootFailure::App
                    }
                    remuda_channel::BootFailure::Class => BootFailure::Class,
                    remuda_channel::BootFailure::Unsafe => BootFailure::Unsafe,
                    remuda_channel::BootFailure::Setup => BootFailure::Setup,
                };
                self.handle(Event::ZygoteFailed { generation, failure });
            }
            FromZygote::Forked { worker, pid } => {
                let (worker, pid) = (WorkerId(worker), Pid(pid));
                if let Some(known) = self.workers.get_mut(&worker) {
                    known.pid = Some(pid);
                    let slot = known.slot;
                    self.tell_herald(&ToHerald::Forked { worker: worker.0, slot, pid: pid.0 });
                }
                self.handle(Event::Forked { worker, pid });
                // Once the log has told its number. Lost on a worker that is dead already.
                if let Some(known) = self.workers.get(&worker) {
                    let _ = known.wire.send(ToWorker::Begin.as_bytes(), None);
                }
                self.arbiters.begin(worker);
            }
            FromZygote::ForkFailed { worker, error, short } => {
                tracing::error!("The zygote could not fork: {error}");
                let worker = WorkerId(worker);
                self.workers.remove(&worker);
                let refusal = if short { Refusal::Shortage } else { Refusal::Other };
                self.handle(Event::ForkFailed { worker, refusal });
            }
        }
    }

    /// A zygote that ends before it has greeted has no package, or is no Python.
    fn lose_zygote(&mut self, generation: Generation) {
        let greeted = |zygote: &Zygote| zygote.greeted || zygote.failed || zygote.wire.is_none();
        if self.zygotes.get(&generation).is_none_or(greeted) {
            return;
        }
        let python = self.start.python.display();
        let message = format!(
            "The Python interpreter {python} cannot run the package remuda.\n  \
             why: it ended before it said hello; what it printed stands above\n  \
             hint: {python} -m pip install remuda, or name another interpreter with `--python`"
        );
        self.give_up(generation, &message);
    }

    pub(crate) fn give_up(&mut self, generation: Generation, message: &str) {
        log!(ZYGOTE_UNUSABLE, message = message);
        message.clone_into(&mut self.last_failure);
        if let Some(zygote) = self.zygotes.get_mut(&generation) {
            zygote.failed = true;
        }
        self.handle(Event::ZygoteFailed { generation, failure: BootFailure::Setup });
    }
}

/// How often a new master looks whether the old one is gone.
const PARENT_PACE: Duration = Duration::from_millis(200);
/// How often the accept queue is measured; about as often as gunicorn's master turns.
const BACKLOG_PACE: Duration = Duration::from_secs(1);
/// How soon a service manager that did not read is tried again.
const NOTIFY_PACE: Duration = Duration::from_millis(50);

/// Looks at the scoreboard as often as the shortest limit asks for.
fn sampling(watched: Option<(Duration, Duration)>) -> Interval {
    let mut sampling = interval(watched.map_or(IDLE_PACE, |(shortest, _)| sample::pace(shortest)));
    sampling.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sampling
}

/// Memory is measured often where it has a limit, and now and then for the report.
fn measuring(limited: bool) -> Interval {
    let mut measuring = interval(if limited { memory::PACE } else { memory::PACE_UNLIMITED });
    measuring.set_missed_tick_behavior(MissedTickBehavior::Delay);
    measuring
}

/// Without a limit nothing is sampled; the interval needs some length all the same.
const IDLE_PACE: Duration = Duration::from_secs(3600);

async fn until(deadline: Option<Tick>) {
    let Some(deadline) = deadline else { return };
    sleep_until(Instant::now() + deadline.since(now())).await;
}
