//! The whole: a clock, an agenda, processes, the supervisor, and whoever watches.
//!
//! Nothing here decides what the supervisor should do. `shell` is the master's runtime, `zygote`
//! and `worker` are what processes do by themselves, `incident` is what goes wrong at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use remuda_supervisor::{
    Action, Ending, Event, Generation, Phase, Plan, Snapshot, Supervisor, Tick, Wish,
};

use crate::census::Census;
use crate::chronicle::Chronicle;
use crate::dice::{Dice, Subject, millis_between};
use crate::fault::{Code, Fault, Mishap, Speaker};
use crate::invariants::{self, Invariant, Step, Violation};
use crate::kernel::Kernel;
use crate::process::{Process, Role, Serial};
use crate::script::{Class, Finale, Script};
use crate::settings::OnDisk;
use crate::shell::Shell;

/// When every run begins; above zero, so that times before it exist.
pub(crate) const BEGINNING: Tick = Tick(1_000_000_000_000);
/// Quiet after the faults, in which the service must come to rest.
const REST_STEPS: u32 = 400;

/// What may happen at one and the same time before we say that it never ends.
const ROUNDS_MAX: u32 = 10_000;

/// Far above what any life needs; a service that churns gets there.
const STEPS_MAX: u64 = 300_000;

/// Whatever decides: the supervisor, or one that a test has broken on purpose.
pub trait Master {
    /// See [`Supervisor::handle`].
    fn handle(&mut self, now: Tick, event: Event, out: &mut Vec<Action>);
    /// See [`Supervisor::next_deadline`].
    fn next_deadline(&self) -> Option<Tick>;
    /// See [`Supervisor::snapshot`].
    fn snapshot(&self) -> Snapshot;
    /// See [`Supervisor::knows`].
    fn knows(&self, worker: remuda_supervisor::WorkerId) -> bool;
}

impl Master for Supervisor {
    fn handle(&mut self, now: Tick, event: Event, out: &mut Vec<Action>) {
        self.handle(now, event, out);
    }
    fn next_deadline(&self) -> Option<Tick> {
        self.next_deadline()
    }
    fn snapshot(&self) -> Snapshot {
        self.snapshot()
    }
    fn knows(&self, worker: remuda_supervisor::WorkerId) -> bool {
        self.knows(worker)
    }
}

/// What will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A fault of the script, by its place.
    Incident(usize),
    /// A process goes on with what it does.
    Act(Serial, Deed),
    /// The herald is done with the settings for a candidate.
    Read(Generation),
    /// A client sends a request.
    Arrival(u64),
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A zygote says hello.
    Greet,
    /// The boot is over.
    Boot,
    /// A worker says that it is ready, unless it has heard that it may serve.
    AskToServe,
    /// It ends, by itself or by a signal of somebody else's.
    End(Ending),
    /// It says what it was held up with.
    Say(crate::shell::Letter),
    /// A zygote's fork is done.
    Fork,
    /// A zygote's fork has failed.
    FailFork(remuda_supervisor::Refusal),
    /// A request is done.
    FinishRequest(u64),
    /// It looks at its channel.
    Listen,
    /// It goes when nothing is left to do.
    Leave,
}

pub(crate) struct World<'s, M> {
    pub(crate) script: &'s Script,
    pub(crate) dice: Dice,
    pub(crate) now: Tick,
    pub(crate) master: M,
    pub(crate) view: Snapshot,
    agenda: BTreeMap<(Tick, u64), Happening>,
    entries: u64,
    pub(crate) kernel: Kernel,
    pub(crate) shell: Shell,
    pub(crate) code: Code,
    pub(crate) on_disk: OnDisk,
    /// What was in force since when.
    pub(crate) plans: Vec<(Tick, Plan)>,
    /// What was read for a generation.
    pub(crate) read: BTreeMap<Generation, Plan>,
    /// Settings are being read for it.
    pub(crate) renewing: Option<Generation>,
    /// Requests that wait to be accepted.
    pub(crate) queue: VecDeque<u64>,
    pub(crate) gate_closed: bool,
    /// A new master serves what comes.
    pub(crate) handed_over: bool,
    pub(crate) heirs: u8,
    /// Dirty arbiters that were forked.
    pub(crate) arbiters: u8,
    pub(crate) asked_to_quit: bool,
    pub(crate) stopping_since: Option<Tick>,
    /// The request that came next, when a new master had taken over.
    pub(crate) held_back: Option<u64>,
    spoken: BTreeMap<Speaker, u64>,
    pub(crate) census: Census,
    pub(crate) chronicle: Chronicle,
    invariants: Vec<Box<dyn Invariant>>,
    pub(crate) violation: Option<Violation>,
    pub(crate) exit: Option<u8>,
}

/// How a run went.
pub(crate) struct Outcome {
    pub(crate) census: Census,
    pub(crate) violation: Option<Violation>,
    pub(crate) story: String,
}

impl<'s, M: Master> World<'s, M> {
    pub(crate) fn new(script: &'s Script, master: M, chronicle: Chronicle) -> Self {
        let mut world = Self {
            dice: Dice::new(script.seed),
            now: BEGINNING,
            view: master.snapshot(),
            master,
            agenda: BTreeMap::new(),
            entries: 0,
            kernel: Kernel::new(script.pids),
            shell: Shell::new(script),
            code: script.code,
            on_disk: OnDisk::First,
            plans: vec![(Tick(0), script.plan.clone())],
            read: BTreeMap::new(),
            renewing: None,
            queue: VecDeque::new(),
            gate_closed: false,
            handed_over: false,
            heirs: 0,
            arbiters: 0,
            asked_to_quit: false,
            stopping_since: None,
            held_back: None,
            spoken: BTreeMap::new(),
            census: Census { seeds: 1, ..Census::default() },
            chronicle,
            invariants: invariants::all(),
            violation: None,
            exit: None,
            script,
        };
        for (index, fault) in script.faults.iter().enumerate() {
            if let Some(at) = fault.at() {
                world.put(BEGINNING + at, Happening::Incident(index));
            }
        }
        world.put(BEGINNING, Happening::Arrival(0));
        world
    }

    /// Runs the script to its end.
    pub(crate) fn run(mut self) -> Outcome {
        self.hand(Event::Start);
        self.advance(BEGINNING + self.script.calm);
        if self.goes_on() {
            self.come_to_rest();
        }
        if self.goes_on() {
            self.finish();
        }
        self.census.seconds = self.now.since(BEGINNING).as_secs();
        if self.violation.is_none() {
            self.count_what_is_left();
        }
        Outcome {
            census: self.census,
            violation: self.violation,
            story: self.chronicle.into_text(),
        }
    }

    pub(crate) fn goes_on(&self) -> bool {
        self.exit.is_none() && self.violation.is_none()
    }

    /// No fault takes effect any more.
    pub(crate) fn is_calm(&self) -> bool {
        self.now >= BEGINNING + self.script.calm
    }

    pub(crate) fn put(&mut self, at: Tick, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((at.max(self.now), self.entries), happening);
    }

    pub(crate) fn act(&mut self, serial: Serial, after: Duration, deed: Deed) {
        self.put(self.now + after, Happening::Act(serial, deed));
    }

    /// Lets everything happen until then.
    pub(crate) fn advance(&mut self, end: Tick) {
        let mut rounds = (self.now, 0);
        while self.goes_on() {
            rounds = if rounds.0 == self.now { (self.now, rounds.1 + 1) } else { (self.now, 0) };
            if rounds.1 > ROUNDS_MAX || self.census.steps > STEPS_MAX {
                let (steps, next) = (self.census.steps, self.agenda.first_key_value());
                let what = format!("it churns: {steps} steps, next is {next:?}");
                self.violation = Some(Violation { invariant: "time", what, at: self.now });
                return;
            }
            let next = self.agenda.first_key_value().map(|(&(at, _), _)| at);
            let wakes = self.shell.wakes(self.now, self.master.next_deadline(), self.script.lag);
            let Some(at) = next.into_iter().chain(wakes).min().filter(|&at| at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            // What happens at one time happens first; then the master sees all of it.
            if next.is_some_and(|next| next <= self.now) {
                if let Some((_, happening)) = self.agenda.pop_first() {
                    self.happen(happening);
                }
            } else {
                self.wake_master();
            }
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Incident(index) => self.incident(index),
            Happening::Arrival(nth) => self.arrive(nth),
            Happening::Read(generation) => self.settings_are_read(generation),
            Happening::Act(serial, deed) => {
                let Some(process) = self.kernel.find(serial) else { return };
                if !process.is_alive() {
                    return;
                }
                if process.stopped_until > self.now && !matches!(deed, Deed::End(_)) {
                    let until = process.stopped_until;
                    self.put(until, Happening::Act(serial, deed));
                    return;
                }
                match (&process.role, deed) {
                    (_, Deed::End(ending)) => self.end(serial, ending),
                    (_, Deed::Say(letter)) => self.post(letter),
                    (Role::Zygote(_), deed) => self.zygote_acts(serial, &deed),
                    (Role::Worker(_), deed) => self.worker_acts(serial, &deed),
                    (Role::Heir { .. }, _) => self.heir_is_ready(serial),
                    (Role::Dirty(_) | Role::Stranger { .. }, _) => {}
                }
            }
        }
    }

    /// Ends a process by something that is not the master's signal.
    pub(crate) fn end(&mut self, serial: Serial, ending: Ending) {
        let Some(process) = self.kernel.find(serial).filter(|process| process.is_alive()) else {
            return;
        };
        let pid = process.pid;
        let held = process.worker().map_or(0, |life| life.requests.len()) as u64;
        let by_us = process.told.kill.is_some();
        let orphans: Vec<Serial> = self.children_of(serial);
        self.chronicle.note(self.now, || format!("{} ends: {ending:?}", name(process)));
        if held > 0 && by_us {
            self.census.lost_by_force += held;
        } else if held > 0 && process.told.quit.is_some() {
            self.census.lost_by_quit += held;
        } else {
            self.census.lost_by_crash += held;
        }
        self.kernel.end(serial, ending);
        self.shell.child_ended(self.now, pid);
        for orphan in orphans {
            if by_us {
                // The whole group was killed.
                self.end(orphan, Ending::Signaled(9));
            } else {
                let mut rng = self.dice.of(Subject::Leave, orphan.0);
                let lives = millis_between(&mut rng, 0, 20_000);
                self.act(orphan, lives, Deed::End(Ending::Exited(0)));
            }
        }
    }

    fn children_of(&self, serial: Serial) -> Vec<Serial> {
        let is_child = |process: &&Process| match process.role {
            Role::Stranger { leader } => leader == Some(serial),
            Role::Zygote(_) | Role::Worker(_) | Role::Dirty(_) | Role::Heir { .. } => false,
        };
        self.kernel.living().filter(is_child).map(|process| process.serial).collect()
    }

    /// What happens to the message that is being sent now, if anything.
    pub(crate) fn mishap(&mut self, speaker: Speaker) -> Option<Mishap> {
        let nth = self.spoken.entry(speaker).or_default();
        let this = *nth;
        *nth += 1;
        if self.is_calm() {
            return None;
        }
        let fault = self.script.faults.iter().find_map(|fault| match *fault {
            Fault::Message(who, nth, mishap) if who == speaker && nth == this => {
                Some((fault.kind(), mishap))
            }
            _ => None,
        });
        let (kind, mishap) = fault?;
        self.census.count(kind);
        self.chronicle.note(self.now, || format!("fault: {kind} ({speaker:?}'s)"));
        Some(mishap)
    }

    /// Hands one event to the supervisor, lets the invariants look, then does what was asked.
    pub(crate) fn hand(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop()
            && self.violation.is_none()
        {
            let mut actions = Vec::new();
            self.master.handle(self.now, event.clone(), &mut actions);
            let after = self.master.snapshot();
            self.census.steps += 1;
            self.chronicle.step(self.now, &event, &actions, &self.view, &after);
            let step = Step {
                now: self.now,
                event: &event,
                actions: &actions,
                before: &self.view,
                after: &after,
                next_deadline: self.master.next_deadline(),
                script: self.script,
                plans: &self.plans,
                read: &self.read,
                kernel: &self.kernel,
                is_over: self.exit.is_some(),
            };
            self.violation =
                self.invariants.iter_mut().find_map(|invariant| invariant.check(&step).err());
            self.census.count_ends(&actions);
            if after.phase == Phase::Stopping {
                self.stopping_since.get_or_insert(self.now);
            }
            self.view = after;
            for action in actions {
                events.extend(self.perform(&action));
            }
        }
        self.drop_unknown_workers();
        self.drop_unknown_arbiters();
    }

    /// A kernel without faults and good code: after a while all that is wanted must be there.
    fn come_to_rest(&mut self) {
        self.chronicle.note(self.now, || "calm: no more faults; the code on disk is good".into());
        self.code = Code::Good;
        if self.on_disk == OnDisk::Unusable {
            self.on_disk = OnDisk::First;
        }
        self.kernel.short_until = Tick(0);
        self.shell.go_on();
        let now = self.now;
        self.kernel.all_mut().for_each(|process| process.stopped_until = now);
        // What was deployed broken, or hangs without a time limit, goes by a reload only.
        self.raise(Wish::Reload);
        let longest = self.longest(|plan| plan.boot_timeout)
            + self.longest(|plan| plan.graceful_timeout)
            + self.script.plan.backoff_max;
        for round in 0..REST_STEPS {
            if round == REST_STEPS / 2 {
                // Somebody whose reload was given up for want of room tries again.
                self.raise(Wish::Reload);
            }
            self.advance(self.now + (longest / 8).max(Duration::from_secs(1)));
            if !self.goes_on() || self.is_at_rest() {
                break;
            }
        }
        if self.goes_on() {
            self.conclude(invariants::at_rest);
        }
    }

    fn is_at_rest(&self) -> bool {
        self.view.phase == Phase::Running && invariants::at_rest(&self.ending()).is_ok()
    }

    /// The end that the script asks for.
    fn finish(&mut self) {
        let grace = self.plan().graceful_timeout;
        let bound = grace + self.plan().abort_grace;
        match self.script.finale {
            Finale::Stop => self.raise(Wish::Stop),
            Finale::Quit => self.raise(Wish::Quit),
            Finale::StopThenQuit => {
                self.raise(Wish::Stop);
                self.advance(self.now + grace / 3);
                self.raise(Wish::Quit);
            }
        }
        self.advance(self.now + bound + Duration::from_secs(60));
        if self.violation.is_none() {
            self.conclude(invariants::at_end);
        }
    }

    fn ending(&self) -> invariants::State<'_> {
        invariants::State {
            now: self.now,
            view: &self.view,
            kernel: &self.kernel,
            exit: self.exit,
            waiting: self.queue.len(),
            has_dirty: self.plan().dirty_grace.is_some(),
        }
    }

    fn conclude(&mut self, judge: fn(&invariants::State<'_>) -> Result<(), Violation>) {
        self.violation = judge(&self.ending()).err();
    }

    /// Requests that nobody will answer. Those in a worker that outlives the master were promised
    /// an answer, unless somebody said QUIT or the time was over.
    fn count_what_is_left(&mut self) {
        let workers = self.kernel.living().filter_map(Process::worker);
        let held: u64 = workers.map(|life| life.requests.len() as u64).sum();
        let grace = self.plan().graceful_timeout;
        let time_is_over = self.stopping_since.is_some_and(|since| self.now >= since + grace);
        if self.asked_to_quit || time_is_over {
            self.census.lost_by_quit += held;
        }
        self.census.unaccepted += self.queue.len() as u64;
        let counted = self.census.answered
            + self.census.lost_by_crash
            + self.census.lost_by_force
            + self.census.lost_by_quit;
        self.census.lost = self.census.requests - counted;
    }

    pub(crate) fn is_sync(&self) -> bool {
        self.script.class == Class::Sync
    }

    /// The machine stands still: everything that was to happen happens so much later.
    pub(crate) fn suspend(&mut self, length: Duration) {
        let from = self.now;
        self.now = self.now + length;
        let agenda = std::mem::take(&mut self.agenda);
        self.agenda =
            agenda.into_iter().map(|((at, entry), what)| ((at + length, entry), what)).collect();
        self.kernel.freeze(self.now, length);
        self.shell.held_up(self.now);
        let (now, dice) = (self.now, self.dice);
        for process in self.kernel.all_mut() {
            let mut rng = dice.of(Subject::Thaw, process.serial.0 ^ now.0);
            let until = now + millis_between(&mut rng, 0, 200);
            if process.stopped_until > from {
                process.stopped_until = process.stopped_until + length;
            }
            if let Some(life) = process.worker_mut() {
                life.thaw = Some((from, until));
            }
        }
    }
}

/// A process as the story names it.
pub(crate) fn name(process: &Process) -> String {
    let pid = process.pid.0;
    match &process.role {
        Role::Zygote(life) => format!("zygote {} (pid {pid})", life.generation.0),
        Role::Worker(life) => format!("worker {} (pid {pid})", life.id.0),
        Role::Dirty(life) => format!("dirty arbiter {} (pid {pid})", life.id.0),
        Role::Heir { .. } => format!("new master (pid {pid})"),
        Role::Stranger { .. } => format!("stranger (pid {pid})"),
    }
}
