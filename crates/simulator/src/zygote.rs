//! What a zygote does by itself: import, answer forks one after another, leave when retired.

use std::time::Duration;

use remuda_supervisor::{BootFailure, Ending, Generation, Pid, Plan, Refusal, Tick};

use crate::dice::{Subject, between, millis_between};
use crate::fault::{Code, Fault, WorkerFault, ZygoteFault};
use crate::process::{Accepts, ForkRequest, Role, Serial, WorkerLife, ZygoteLife};
use crate::shell::{Letter, ZygoteWord};
use crate::world::{Deed, Master, World};

/// How long a zygote waits for a hook in the middle process.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

impl<M: Master> World<'_, M> {
    pub(crate) fn spawn_zygote(&mut self, generation: Generation) -> Option<(Serial, Pid)> {
        let mut faults = Vec::new();
        if !self.is_calm() {
            for fault in &self.script.faults {
                if let Fault::Zygote(nth, does) = *fault
                    && nth == generation
                {
                    self.census.count(fault.kind());
                    faults.push(does);
                }
            }
        }
        if faults.contains(&ZygoteFault::SpawnFails) {
            return None;
        }
        let kill_takes = faults.iter().find_map(|fault| match fault {
            ZygoteFault::KillTakes(length) => Some(*length),
            _ => None,
        });
        let life = ZygoteLife {
            generation,
            plan: None,
            code: self.code,
            faults,
            ready: false,
            requests: std::collections::VecDeque::new(),
            forking: None,
            forks: 0,
            retired: false,
        };
        let serial =
            self.kernel.spawn(Role::Zygote(life), kill_takes.unwrap_or_default(), self.now)?;
        let pid = self.kernel.find(serial)?.pid;
        let mut rng = self.dice.of(Subject::Reading, !u64::from(generation.0));
        let takes = millis_between(&mut rng, 0, 30);
        self.act(serial, takes, Deed::Greet);
        Some((serial, pid))
    }

    fn zygote_says_hello(&mut self, serial: Serial) {
        let Some(life) = self.zygote_life(serial) else { return };
        let letter = Letter::Zygote(life.generation, ZygoteWord::Hello);
        self.say(serial, letter);
    }

    /// It hears what to load.
    pub(crate) fn zygote_loads(&mut self, serial: Serial, plan: Plan) {
        let code = self.code;
        let Some(life) = self.zygote_life(serial) else { return };
        (life.plan, life.code) = (Some(Box::new(plan)), code);
        let slow = life.faults.iter().find_map(|fault| match fault {
            ZygoteFault::BootSlow(length) => Some(*length),
            _ => None,
        });
        let generation = life.generation;
        let mut rng = self.dice.of(Subject::Zygote, u64::from(generation.0));
        let import = between(&mut rng, self.script.import / 2, self.script.import * 2);
        self.act(serial, import + slow.unwrap_or_default(), Deed::Boot);
    }

    pub(crate) fn zygote_acts(&mut self, serial: Serial, deed: &Deed) {
        match deed {
            Deed::Greet => self.zygote_says_hello(serial),
            Deed::Boot => self.zygote_has_imported(serial),
            Deed::Fork => self.zygote_forks(serial),
            Deed::FailFork(refusal) => self.zygote_fails_to_fork(serial, *refusal),
            Deed::Leave => self.end(serial, Ending::Exited(0)),
            _ => {}
        }
    }

    fn zygote_has_imported(&mut self, serial: Serial) {
        let Some(life) = self.kernel.find(serial).and_then(|process| process.zygote()) else {
            return;
        };
        let (generation, code) = (life.generation, life.code);
        let say = |word| Letter::Zygote(generation, word);
        match code {
            Code::ImportHangs => {}
            Code::ImportRaises => {
                self.say(serial, say(ZygoteWord::Failed(BootFailure::Import)));
                self.act(serial, Duration::from_millis(20), Deed::End(Ending::Exited(3)));
            }
            Code::AppMissing => {
                self.say(serial, say(ZygoteWord::Failed(BootFailure::App)));
                self.act(serial, Duration::from_millis(20), Deed::End(Ending::Exited(4)));
            }
            Code::ImportDies(ending) => {
                if self.dice.of(Subject::Zygote, !u64::from(generation.0)).bool() {
                    self.say(serial, say(ZygoteWord::EndedUngreeted));
                }
                self.end(serial, ending);
            }
            Code::Good
            | Code::BootDies(_)
            | Code::BootHangs
            | Code::ServingDies(..)
            | Code::RequestsHang => {
                if let Some(life) = self.zygote_life(serial) {
                    life.ready = true;
                    let ends = life.faults.iter().find_map(|fault| match *fault {
                        ZygoteFault::Ends(after, ending) => Some((after, ending)),
                        _ => None,
                    });
                    if let Some((after, ending)) = ends {
                        self.act(serial, after, Deed::End(ending));
                    }
                }
                self.say(serial, say(ZygoteWord::Ready));
            }
        }
    }

    fn zygote_life(&mut self, serial: Serial) -> Option<&mut ZygoteLife> {
        self.kernel.find_mut(serial)?.zygote_mut()
    }

    pub(crate) fn request_fork(&mut self, serial: Serial, request: ForkRequest) {
        if let Some(life) = self.zygote_life(serial) {
            life.requests.push_back(request);
            self.zygote_takes_next(serial);
        }
    }

    pub(crate) fn retire(&mut self, serial: Serial) {
        let now = self.now;
        if let Some(process) = self.kernel.find_mut(serial) {
            process.told.farewell.get_or_insert(now);
        }
        if let Some(life) = self.zygote_life(serial) {
            life.retired = true;
            self.zygote_takes_next(serial);
        }
    }

    fn zygote_takes_next(&mut self, serial: Serial) {
        let short = self.now < self.kernel.short_until;
        let script = self.script;
        let Some(life) = self.zygote_life(serial) else { return };
        if life.forking.is_some() || !life.ready {
            return;
        }
        let Some(request) = life.requests.pop_front() else {
            if life.retired && !life.faults.contains(&ZygoteFault::IgnoresRetirement) {
                self.act(serial, Duration::from_millis(10), Deed::Leave);
            }
            return;
        };
        life.forking = Some(request);
        life.forks += 1;
        let nth = life.forks;
        if life.faults.contains(&ZygoteFault::Hangs(nth)) {
            return;
        }
        let hook_hangs = life.faults.contains(&ZygoteFault::HookHangs(nth));
        let fails = short || life.faults.contains(&ZygoteFault::ForkFails(nth));
        let mut rng = self.dice.of(Subject::Fork, request.worker.0);
        let takes = between(&mut rng, Duration::from_micros(500), script.boot / 4);
        if hook_hangs {
            self.act(serial, HOOK_TIMEOUT, Deed::FailFork(Refusal::Other));
        } else if fails {
            self.act(serial, takes, Deed::FailFork(Refusal::Shortage));
        } else {
            self.act(serial, takes, Deed::Fork);
        }
    }

    fn zygote_fails_to_fork(&mut self, serial: Serial, refusal: Refusal) {
        let Some(life) = self.zygote_life(serial) else { return };
        let (generation, request) = (life.generation, life.forking.take());
        if let Some(request) = request {
            let word = ZygoteWord::ForkFailed(request.worker, refusal);
            self.say(serial, Letter::Zygote(generation, word));
        }
        self.zygote_takes_next(serial);
    }

    /// The double fork: the middle process takes a number, too.
    fn zygote_forks(&mut self, serial: Serial) {
        let Some(life) = self.zygote_life(serial) else { return };
        let (generation, code, plan) = (life.generation, life.code, life.plan.clone());
        let (Some(request), Some(plan)) = (life.forking, plan) else { return };
        self.kernel.burn_a_pid();
        let forked = match request.is_dirty {
            true => self.fork_arbiter(request),
            false => self.fork_worker(request, code, plan),
        };
        match forked {
            Some(pid) => {
                if let Some(life) = self.zygote_life(serial) {
                    life.forking = None;
                }
                let word = ZygoteWord::Forked(request.worker, pid);
                self.say(serial, Letter::Zygote(generation, word));
                self.zygote_takes_next(serial);
            }
            None => self.zygote_fails_to_fork(serial, Refusal::Shortage),
        }
    }

    fn fork_worker(&mut self, request: ForkRequest, code: Code, plan: Box<Plan>) -> Option<Pid> {
        let mut faults = Vec::new();
        if !self.is_calm() {
            for fault in &self.script.faults {
                if let Fault::Worker(nth, does) = *fault
                    && nth == request.worker
                {
                    self.census.count(fault.kind());
                    faults.push(does);
                }
            }
        }
        let find = |meant: fn(&WorkerFault) -> Option<Duration>| faults.iter().find_map(meant);
        let kill_takes = find(|fault| match *fault {
            WorkerFault::KillTakes(length) => Some(length),
            _ => None,
        });
        let slow = find(|fault| match *fault {
            WorkerFault::BootSlow(length) => Some(length),
            _ => None,
        });
        let life = WorkerLife {
            id: request.worker,
            plan,
            code,
            faults,
            waits: false,
            ready_at: None,
            accepts: Accepts::NotYet,
            told_so: false,
            leaving: false,
            requests: std::collections::BTreeMap::new(),
            begun: 0,
            served: 0,
            max_requests: request.max_requests,
            loop_hung_since: None,
            stalled: Vec::new(),
            thaw: None,
        };
        let role = Role::Worker(Box::new(life));
        let serial = self.kernel.spawn(role, kill_takes.unwrap_or_default(), self.now)?;
        self.census.workers += 1;
        let mut rng = self.dice.of(Subject::Worker, request.worker.0);
        let boot = between(&mut rng, self.script.boot / 2, self.script.boot * 2);
        self.act(serial, boot + slow.unwrap_or_default(), Deed::Boot);
        let orphaned = !self.shell.links.contains_key(&request.worker);
        let now = self.now;
        let process = self.kernel.find_mut(serial)?;
        if orphaned {
            process.told.farewell = Some(now);
        }
        Some(process.pid)
    }

    /// Orphans of somebody's, which become ours because we are the subreaper.
    pub(crate) fn adopt_strangers(&mut self, count: u8, leader: Option<Serial>) {
        for _ in 0..count {
            let role = Role::Stranger { leader };
            let Some(serial) = self.kernel.spawn(role, Duration::ZERO, Tick(self.now.0)) else {
                return;
            };
            if leader.is_none() {
                let mut rng = self.dice.of(Subject::Leave, serial.0);
                let lives = millis_between(&mut rng, 0, 3_000);
                self.act(serial, lives, Deed::End(Ending::Exited(1)));
            }
        }
    }
}
