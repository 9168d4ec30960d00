//! The master's runtime, in the model: what the supervisor hears, in which order, and what its
//! actions do. A copy of what `crates/runtime/src/shell.rs` does, without its system calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use remuda_channel::{FromWorker, ToWorker};
use remuda_supervisor::{
    Action, BootFailure, Ending, Event, Generation, Order, Pid, Plan, Refusal, Sample, Signal,
    Tick, Wish, WorkerId,
};

use crate::dice::{Subject, millis_between};
use crate::fault::{Mishap, Speaker};
use crate::process::{ForkRequest, Role, Serial};
use crate::script::{Class, Script};
use crate::world::{Deed, Happening, Master, World};

/// Something that was said to the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    Worker(WorkerId, Vec<u8>),
    /// The herald has read the settings for a candidate.
    Settings(Generation),
    Zygote(Generation, ZygoteWord),
    /// A worker has imported late so many modules.
    Learned(u32),
    /// The code on disk was edited, and is watched.
    Edited,
    /// The new master serves.
    Heir(Pid),
    /// Something about who never lived.
    Nonsense(Event),
}

/// What a zygote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZygoteWord {
    Hello,
    Ready,
    Failed(BootFailure),
    Forked(WorkerId, Pid),
    ForkFailed(WorkerId, Refusal),
    /// Its channel has ended before it had greeted.
    EndedUngreeted,
}

/// A worker, seen from the master.
#[derive(Clone, Debug)]
pub(crate) struct WorkerLink {
    pub(crate) pid: Option<Pid>,
    /// What it was told and has not read.
    pub(crate) inbox: VecDeque<Vec<u8>>,
}

/// Private memory of a worker that is new, and what each request adds.
const WORKER_BYTES: u64 = 20 << 20;
const REQUEST_BYTES: u64 = 1 << 20;

/// Wishes in the order in which the runtime obeys signals that came together.
const ORDER: [Wish; 7] = [
    Wish::Quit,
    Wish::Stop,
    Wish::Reload,
    Wish::MoreWorkers,
    Wish::FewerWorkers,
    Wish::ReopenLogs,
    Wish::Upgrade,
];

pub(crate) struct Shell {
    letters: VecDeque<Letter>,
    raised: BTreeSet<usize>,
    child_raised: bool,
    /// Since when something waits for the master.
    pending: Option<Tick>,
    /// The master stands still until then.
    stopped_until: Tick,
    /// Exits are not reported before.
    reports_held_until: Tick,
    next_sample: Option<Tick>,
    pace: Duration,
    pub(crate) zygotes: BTreeMap<Generation, (Serial, Pid)>,
    pub(crate) links: BTreeMap<WorkerId, WorkerLink>,
    /// Channels of dirty arbiters.
    pub(crate) arbiters: BTreeSet<WorkerId>,
    /// What a line will say next time, whatever its worker writes.
    pub(crate) garbage: BTreeMap<WorkerId, Tick>,
}

impl Shell {
    pub(crate) fn new(script: &Script) -> Self {
        let mut shell = Self {
            letters: VecDeque::new(),
            raised: BTreeSet::new(),
            child_raised: false,
            pending: None,
            stopped_until: Tick(0),
            reports_held_until: Tick(0),
            next_sample: None,
            pace: Duration::ZERO,
            zygotes: BTreeMap::new(),
            links: BTreeMap::new(),
            arbiters: BTreeSet::new(),
            garbage: BTreeMap::new(),
        };
        shell.watch(crate::world::BEGINNING, &script.plan);
        shell
    }

    /// Looks at the scoreboard as often as these settings ask for.
    pub(crate) fn watch(&mut self, now: Tick, plan: &Plan) {
        let timeout = plan.watched().map(|(shortest, _)| shortest);
        self.next_sample = timeout.map(|_| now);
        self.pace = timeout.map_or(Duration::ZERO, |timeout| {
            (timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
        });
    }

    /// When the master looks around next.
    pub(crate) fn wakes(&self, now: Tick, deadline: Option<Tick>, lag: Duration) -> Option<Tick> {
        let reports = Some(self.reports_held_until).filter(|_| self.child_raised);
        let pending = self.pending.map(|at| at + lag);
        let first = pending.into_iter().chain(deadline).chain(self.next_sample).chain(reports);
        first.min().map(|at| at.max(self.stopped_until).max(now))
    }

    fn something_waits(&mut self, now: Tick) {
        self.pending.get_or_insert(now);
    }

    pub(crate) fn child_ended(&mut self, now: Tick, _pid: Pid) {
        self.child_raised = true;
        if now >= self.reports_held_until {
            self.something_waits(now);
        }
    }

    pub(crate) fn hold_reports(&mut self, until: Tick) {
        self.reports_held_until = self.reports_held_until.max(until);
    }

    pub(crate) fn stop_master(&mut self, until: Tick) {
        self.stopped_until = self.stopped_until.max(until);
    }

    /// Nothing holds the master up any more.
    pub(crate) fn go_on(&mut self) {
        self.stopped_until = Tick(0);
        self.reports_held_until = Tick(0);
    }

    pub(crate) fn held_up(&mut self, until: Tick) {
        self.stopped_until = self.stopped_until.max(until);
    }
}

impl<M: Master> World<'_, M> {
    pub(crate) fn raise(&mut self, wish: Wish) {
        self.chronicle.note(self.now, || format!("operator asks: {wish:?}"));
        self.asked_to_quit |= wish == Wish::Quit;
        if let Some(at) = ORDER.iter().position(|known| *known == wish) {
            self.shell.raised.insert(at);
        }
        self.shell.something_waits(self.now);
    }

    pub(crate) fn post(&mut self, letter: Letter) {
        self.shell.letters.push_back(letter);
        self.shell.something_waits(self.now);
    }

    /// A process says something. One that is held up says it later, and does nothing else before.
    pub(crate) fn say(&mut self, serial: Serial, letter: Letter) {
        let speaker = match letter {
            Letter::Worker(..) | Letter::Learned(_) => Speaker::Worker,
            Letter::Zygote(..)
            | Letter::Settings(_)
            | Letter::Heir(_)
            | Letter::Nonsense(_)
            | Letter::Edited => Speaker::Zygote,
        };
        match (self.mishap(speaker), letter) {
            (None, letter) => self.post(letter),
            (Some(Mishap::Lost), _)
            | (
                Some(Mishap::Truncated(_)),
                Letter::Zygote(..)
                | Letter::Settings(_)
                | Letter::Heir(_)
                | Letter::Nonsense(_)
                | Letter::Learned(_)
                | Letter::Edited,
            ) => {}
            (Some(Mishap::Truncated(bytes)), Letter::Worker(id, mut word)) => {
                word.truncate(usize::from(bytes).min(word.len()));
                self.post(Letter::Worker(id, word));
            }
            (Some(Mishap::Late(length)), letter) => {
                let until = self.now + length;
                if let Some(process) = self.kernel.find_mut(serial) {
                    process.stopped_until = process.stopped_until.max(until);
                    if let Some(life) = process.worker_mut() {
                        life.thaw = Some((self.now, until));
                    }
                }
                self.act(serial, length, Deed::Say(letter));
            }
        }
    }

    /// The master's loop, until nothing is left to do now: what was said, what was raised, what
    /// is due, what is to be sampled.
    pub(crate) fn wake_master(&mut self) {
        self.shell.pending = None;
        while self.goes_on() {
            let due = self.master.next_deadline().is_some_and(|at| at <= self.now);
            let sampling = self.shell.next_sample.is_some_and(|at| at <= self.now);
            let ended = self.shell.child_raised && self.now >= self.shell.reports_held_until;
            if let Some(letter) = self.shell.letters.pop_front() {
                self.receive(letter);
            } else if !self.shell.raised.is_empty() || ended {
                for at in std::mem::take(&mut self.shell.raised) {
                    self.hand(Event::Asked(ORDER[at]));
                }
                if ended {
                    self.reap();
                }
            } else if due {
                self.hand(Event::Tick);
            } else if sampling {
                self.sample();
                if self.shell.next_sample.is_some() {
                    self.shell.next_sample = Some(self.now + self.shell.pace);
                }
            } else {
                return;
            }
        }
    }

    fn reap(&mut self) {
        self.shell.child_raised = false;
        while self.goes_on()
            && let Some((process, ending)) = self.kernel.reap()
        {
            while let Some(letter) = self.shell.letters.pop_front() {
                self.receive(letter);
            }
            self.hand(Event::Exited { pid: process.pid, ending });
            self.shell.zygotes.retain(|_, (serial, _)| *serial != process.serial);
        }
    }

    fn receive(&mut self, letter: Letter) {
        match letter {
            Letter::Nonsense(event) => self.hand(event),
            Letter::Edited => self.hand(Event::Edited),
            Letter::Learned(modules) => self.hand(Event::Learned { modules }),
            Letter::Settings(generation) => self.settle_settings(generation),
            Letter::Heir(pid) => self.hand(Event::UpgradeReady { pid }),
            Letter::Worker(worker, word) => match FromWorker::try_from(&word[..]) {
                Ok(FromWorker::Ready) => self.hand(Event::WorkerReady { worker }),
                Ok(FromWorker::Spent) => self.hand(Event::WorkerSpent { worker }),
                Ok(FromWorker::Draining) => self.hand(Event::WorkerDrains { worker }),
                Err(_) => {}
            },
            Letter::Zygote(generation, word) => match word {
                ZygoteWord::Hello => self.zygote_greets(generation),
                ZygoteWord::Ready => self.hand(Event::ZygoteReady { generation }),
                ZygoteWord::Failed(failure) => {
                    self.hand(Event::ZygoteFailed { generation, failure });
                }
                ZygoteWord::EndedUngreeted => {
                    self.hand(Event::ZygoteFailed { generation, failure: BootFailure::Setup });
                }
                ZygoteWord::Forked(worker, pid) => {
                    if let Some(link) = self.shell.links.get_mut(&worker) {
                        link.pid = Some(pid);
                    }
                    self.hand(Event::Forked { worker, pid });
                    self.begin(worker);
                    if self.shell.arbiters.contains(&worker) {
                        self.begin_arbiter(worker);
                    }
                }
                ZygoteWord::ForkFailed(worker, refusal) => {
                    self.shell.links.remove(&worker);
                    self.hand(Event::ForkFailed { worker, refusal });
                }
            },
        }
    }

    fn sample(&mut self) {
        let known: Vec<(WorkerId, Pid)> =
            self.shell.links.iter().filter_map(|(id, link)| Some((*id, link.pid?))).collect();
        for (worker, pid) in known {
            if !self.goes_on() {
                return;
            }
            let sample = match self.shell.garbage.remove(&worker) {
                Some(since) => Sample {
                    standing_since: Some(since),
                    oldest_since: Some(since),
                    latest_since: Some(since),
                },
                None => self.line_of(pid).unwrap_or_default(),
            };
            self.hand(Event::Sampled { worker, sample });
        }
        if self.plan().limits_memory() {
            self.measure();
        }
    }

    /// Every request leaves something behind.
    fn measure(&mut self) {
        let weigh = |(id, link): (&WorkerId, &WorkerLink)| {
            let life = self.kernel.with_pid(link.pid?)?.worker()?;
            life.ready_at?;
            Some((*id, WORKER_BYTES + life.served * REQUEST_BYTES))
        };
        let workers: Vec<_> = self.shell.links.iter().filter_map(weigh).collect();
        let total = workers.iter().map(|(_, bytes)| bytes).sum();
        if self.goes_on() {
            self.hand(Event::Measured { workers, total });
        }
    }

    /// What the worker's line says; nothing before it has claimed it.
    fn line_of(&self, pid: Pid) -> Option<Sample> {
        let process = self.kernel.with_pid(pid)?;
        let life = process.worker()?;
        life.ready_at?;
        let began = || life.requests.values().map(|request| request.began);
        Some(Sample {
            standing_since: match self.script.class {
                Class::Sync => began().min(),
                Class::Loop => Some(life.beat(self.now)),
            },
            oldest_since: began().min(),
            latest_since: began().max(),
        })
    }

    /// Does what the supervisor asks; gives what is known of the outcome at once.
    pub(crate) fn perform(&mut self, action: &Action) -> Option<Event> {
        match *action {
            Action::StartZygote { generation } => Some(self.start_zygote(generation)),
            Action::RetireZygote { generation } => {
                if let Some(&(serial, _)) = self.shell.zygotes.get(&generation) {
                    self.retire(serial);
                }
                None
            }
            Action::Fork { generation, worker, max_requests, .. } => {
                let request = ForkRequest { worker, max_requests, is_dirty: false };
                self.ask_for_worker(generation, request)
            }
            Action::ForkDirty { generation, worker } => {
                let request = ForkRequest { worker, max_requests: 0, is_dirty: true };
                self.ask_for_worker(generation, request)
            }
            Action::Tell { worker, order } => {
                self.tell(worker, order);
                None
            }
            Action::DumpStacks { pid, .. } => {
                let now = self.now;
                if let Some(process) = self.with_pid_mut(pid) {
                    process.told.dump.get_or_insert(now);
                }
                None
            }
            Action::Send { pid, signal } => {
                self.send(pid, signal);
                None
            }
            Action::CloseGate => {
                self.gate_closed = true;
                None
            }
            Action::StartUpgrade => Some(self.start_upgrade()),
            Action::HandOver { .. } => {
                self.handed_over = true;
                self.queue.clear();
                None
            }
            Action::TakeBack => {
                self.handed_over = false;
                self.stopping_since = None;
                if let Some(nth) = self.held_back.take() {
                    self.put(self.now, Happening::Arrival(nth));
                }
                None
            }
            Action::Exit { status } => {
                self.exit = Some(status);
                None
            }
            Action::Adopt { generation } => {
                self.adopt(generation);
                None
            }
            Action::ReopenLogs | Action::Report(_) | Action::Publish(_) | Action::FeedWatchdog => {
                None
            }
        }
    }

    fn with_pid_mut(&mut self, pid: Pid) -> Option<&mut crate::process::Process> {
        let serial = self.kernel.with_pid(pid)?.serial;
        self.kernel.find_mut(serial)
    }

    fn start_zygote(&mut self, generation: Generation) -> Event {
        self.census.zygotes += 1;
        match self.spawn_zygote(generation) {
            Some((serial, pid)) => {
                self.shell.zygotes.insert(generation, (serial, pid));
                Event::ZygoteSpawned { generation, pid }
            }
            None => Event::ZygoteSpawnFailed { generation, refusal: Refusal::Shortage },
        }
    }

    fn ask_for_worker(&mut self, generation: Generation, request: ForkRequest) -> Option<Event> {
        let worker = request.worker;
        let zygote = self.shell.zygotes.get(&generation).copied();
        let alive = zygote.filter(|(serial, _)| {
            self.kernel.find(*serial).is_some_and(crate::process::Process::is_alive)
        });
        let Some((serial, _)) = alive else {
            return Some(Event::ForkFailed { worker, refusal: Refusal::Other });
        };
        if request.is_dirty {
            self.shell.arbiters.insert(worker);
        } else {
            let link = WorkerLink { pid: None, inbox: VecDeque::new() };
            self.shell.links.insert(worker, link);
        }
        self.request_fork(serial, request);
        None
    }

    fn tell(&mut self, worker: WorkerId, order: Order) {
        let word = match order {
            Order::Serve => ToWorker::Serve,
            Order::Drain => ToWorker::Drain,
            Order::DrainQueue => ToWorker::DrainQueue,
            Order::HandOver => ToWorker::HandOver,
            Order::Reopen => ToWorker::Reopen,
        };
        let mut word = word.as_bytes().to_vec();
        let now = self.now;
        if !matches!(order, Order::Serve | Order::Reopen)
            && let Some(process) = self.kernel.worker_mut(worker)
        {
            process.told.drain.get_or_insert(now);
        }
        let mut delay = Duration::ZERO;
        match self.mishap(Speaker::Master) {
            Some(Mishap::Lost) => return,
            Some(Mishap::Truncated(bytes)) => word.truncate(usize::from(bytes).min(word.len())),
            Some(Mishap::Late(length)) => delay = length,
            None => {}
        }
        if let Some(link) = self.shell.links.get_mut(&worker) {
            link.inbox.push_back(word);
        }
        if let Some(process) = self.kernel.worker(worker) {
            let serial = process.serial;
            self.act(serial, delay, Deed::Listen);
        }
    }

    fn send(&mut self, pid: Pid, signal: Signal) {
        let now = self.now;
        let Some(process) = self.with_pid_mut(pid) else { return };
        let (serial, takes) = (process.serial, process.kill_takes);
        let is_dirty = matches!(process.role, Role::Dirty(_));
        match signal {
            Signal::Terminate | Signal::Quit => process.told.quit.get_or_insert(now),
            Signal::Abort => process.told.abort.get_or_insert(now),
            Signal::Reopen => return,
            Signal::Kill => process.told.kill.get_or_insert(now),
        };
        if !process.is_alive() {
            return;
        }
        match signal {
            Signal::Kill if takes.is_zero() => self.end(serial, Ending::Signaled(9)),
            Signal::Kill => self.act(serial, takes, Deed::End(Ending::Signaled(9))),
            Signal::Terminate | Signal::Quit if is_dirty => self.end_arbiter(serial),
            Signal::Terminate => self.end_heir(serial),
            Signal::Quit => self.quit_worker(serial),
            Signal::Abort => self.abort_worker(serial),
            Signal::Reopen => {}
        }
    }

    /// The end of its channel tells a worker that was given up on the way to leave.
    pub(crate) fn drop_unknown_workers(&mut self) {
        let unknown: Vec<WorkerId> =
            self.shell.links.keys().copied().filter(|id| !self.master.knows(*id)).collect();
        for worker in unknown {
            self.shell.links.remove(&worker);
            let now = self.now;
            if let Some(process) = self.kernel.worker_mut(worker) {
                process.told.farewell.get_or_insert(now);
                let serial = process.serial;
                let mut rng = self.dice.of(Subject::Order, serial.0);
                self.act(serial, millis_between(&mut rng, 0, 20), Deed::Listen);
            }
            self.begin(worker);
        }
    }
}
