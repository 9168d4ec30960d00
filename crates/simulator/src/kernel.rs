//! The process table: numbers, births, ends, zombies.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use remuda_supervisor::{Ending, Pid, Tick, WorkerId};

use crate::process::{Process, Role, Serial, Told};

/// The process table.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    processes: BTreeMap<Pid, Process>,
    by_serial: BTreeMap<Serial, Pid>,
    /// Ended, in this order, and not reaped.
    zombies: VecDeque<Pid>,
    last: i32,
    pids: i32,
    serials: u64,
    /// No fork works until then.
    pub(crate) short_until: Tick,
    /// When the whole machine went on after it had stood still, and for how long it had; only
    /// pieces too long for scheduling.
    freezes: Vec<(Tick, Duration)>,
}

/// A shorter standstill of the machine cannot be told from scheduling; nobody is blamed for it.
const STANDSTILL_MIN: Duration = Duration::from_millis(2_500);

impl Kernel {
    pub(crate) fn new(pids: i32) -> Self {
        Self {
            processes: BTreeMap::new(),
            by_serial: BTreeMap::new(),
            zombies: VecDeque::new(),
            last: 1,
            pids,
            serials: 0,
            short_until: Tick(0),
            freezes: Vec::new(),
        }
    }

    /// The next free number: as in Linux, all numbers are gone through before one is used again.
    /// A process that ended but was not reaped keeps its number.
    fn next_pid(&mut self) -> Option<Pid> {
        for _ in 0..self.pids {
            self.last = if self.last >= self.pids { 2 } else { self.last + 1 };
            if !self.processes.contains_key(&Pid(self.last)) {
                return Some(Pid(self.last));
            }
        }
        None
    }

    /// Makes a process; `None` = EAGAIN or ENOMEM.
    pub(crate) fn spawn(&mut self, role: Role, kill_takes: Duration, now: Tick) -> Option<Serial> {
        if now < self.short_until {
            return None;
        }
        let pid = self.next_pid()?;
        self.serials += 1;
        let serial = Serial(self.serials);
        let (told, ended, stopped_until) = (Told::default(), None, Tick(0));
        let process = Process { serial, pid, role, ended, stopped_until, kill_takes, told };
        self.processes.insert(pid, process);
        self.by_serial.insert(serial, pid);
        Some(serial)
    }

    /// A process that lives for a moment and is reaped by its own parent, as the middle one of a
    /// double fork.
    pub(crate) fn burn_a_pid(&mut self) {
        self.next_pid();
    }

    /// Ends a process. Nothing happens to one that has ended.
    pub(crate) fn end(&mut self, serial: Serial, ending: Ending) -> bool {
        let Some(process) = self.find_mut(serial) else { return false };
        if process.ended.is_some() {
            return false;
        }
        process.ended = Some(ending);
        let pid = process.pid;
        self.zombies.push_back(pid);
        true
    }

    /// Takes one exit status.
    pub(crate) fn reap(&mut self) -> Option<(Process, Ending)> {
        let pid = self.zombies.pop_front()?;
        let process = self.processes.remove(&pid)?;
        self.by_serial.remove(&process.serial);
        let ending = process.ended?;
        Some((process, ending))
    }

    pub(crate) fn freeze(&mut self, until: Tick, length: Duration) {
        if length >= STANDSTILL_MIN {
            self.freezes.push((until, length));
        }
    }

    /// How long the machine has stood still since then.
    pub(crate) fn frozen_since(&self, since: Tick) -> Duration {
        let part = |&(until, length): &(Tick, Duration)| until.since(since).min(length);
        self.freezes.iter().map(part).sum()
    }

    /// Who has this number now.
    #[must_use]
    pub(crate) fn with_pid(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// This very process.
    #[must_use]
    pub(crate) fn find(&self, serial: Serial) -> Option<&Process> {
        self.processes.get(self.by_serial.get(&serial)?)
    }

    pub(crate) fn find_mut(&mut self, serial: Serial) -> Option<&mut Process> {
        self.processes.get_mut(self.by_serial.get(&serial)?)
    }

    /// The process of a worker, dead or alive.
    #[must_use]
    pub(crate) fn worker(&self, id: WorkerId) -> Option<&Process> {
        self.all().find(|process| process.worker().is_some_and(|life| life.id == id))
    }

    /// The process of a dirty arbiter, dead or alive.
    pub(crate) fn arbiter(&self, id: WorkerId) -> Option<&Process> {
        self.all().find(|process| matches!(&process.role, Role::Dirty(life) if life.id == id))
    }

    pub(crate) fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Process> {
        self.processes.values_mut().find(|process| process.worker().is_some_and(|w| w.id == id))
    }

    /// All processes, by number.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.processes.values_mut()
    }

    /// All that have not ended.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Process> {
        self.all().filter(|process| process.is_alive())
    }
}
