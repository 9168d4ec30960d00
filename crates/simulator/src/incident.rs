//! What goes wrong at a time.

use remuda_supervisor::{
    BootFailure, Event, Generation, Pid, Plan, Refusal, Sample, Tick, WorkerId,
};

use crate::fault::{Fault, Target};
use crate::process::{Role, Serial};
use crate::shell::Letter;
use crate::world::{BEGINNING, Deed, Master, World, name};

impl<M: Master> World<'_, M> {
    pub(crate) fn incident(&mut self, index: usize) {
        let fault = self.script.faults[index];
        if self.is_calm() {
            // A suspended machine has put it off for too long.
            return;
        }
        self.census.count(fault.kind());
        self.chronicle.note(self.now, || format!("fault: {fault}"));
        match fault {
            Fault::Asks(_, wish, times) => {
                for _ in 0..times {
                    self.raise(wish);
                }
            }
            Fault::Deploy(_, code) => {
                self.code = code;
                // In every other run somebody works on it.
                if self.script.seed.is_multiple_of(2) {
                    self.post(Letter::Edited);
                }
            }
            Fault::Settings(_, on_disk) => self.on_disk = on_disk,
            Fault::Suspend(_, length) => self.suspend(length),
            Fault::MasterStops(_, length) => self.shell.stop_master(self.now + length),
            Fault::Stops(_, target, pick, length) => {
                let (from, until) = (self.now, self.now + length);
                if let Some(process) = self.pick(target, pick).and_then(|s| self.kernel.find_mut(s))
                {
                    process.stopped_until = process.stopped_until.max(until);
                    if let Some(life) = process.worker_mut() {
                        life.thaw = Some((from, until));
                    }
                }
            }
            Fault::Kills(_, target, pick, signal) => {
                if let Some(serial) = self.pick(target, pick) {
                    let ending = remuda_supervisor::Ending::Signaled(signal);
                    self.act(serial, std::time::Duration::ZERO, Deed::End(ending));
                }
            }
            Fault::Shortage(_, length) => {
                // The calm comes for everybody.
                let until = (self.now + length).min(BEGINNING + self.script.calm);
                self.kernel.short_until = self.kernel.short_until.max(until);
            }
            Fault::LateReports(_, length) => self.shell.hold_reports(self.now + length),
            Fault::Strangers(_, count) => self.adopt_strangers(count, None),
            Fault::Garbage(_, pick, seconds) => self.write_garbage(pick, seconds),
            Fault::Nonsense(_, pick) => self.talk_nonsense(pick),
            Fault::Worker(..)
            | Fault::Zygote(..)
            | Fault::Dirty(..)
            | Fault::Heir(..)
            | Fault::Message(..) => {}
        }
    }

    /// Words about who never lived; the supervisor has to shrug.
    fn talk_nonsense(&mut self, pick: u8) {
        let worker = WorkerId(1_000_000 + u64::from(pick));
        let generation = Generation(1_000_000 + u32::from(pick));
        let words = [
            Event::WorkerReady { worker },
            Event::WorkerSpent { worker },
            Event::WorkerDrains { worker },
            Event::ForkFailed { worker, refusal: Refusal::Other },
            Event::Sampled {
                worker,
                sample: Sample { standing_since: Some(Tick(0)), ..Sample::default() },
            },
            Event::ZygoteReady { generation },
            Event::ZygoteFailed { generation, failure: BootFailure::App },
            Event::ZygoteSpawnFailed { generation, refusal: Refusal::Shortage },
            Event::Start,
            Event::UpgradeReady { pid: Pid(-1) },
            Event::UpgradeSpawned { pid: Pid(-1) },
            Event::UpgradeSpawnFailed,
            Event::Promoted,
            Event::Replanned { generation, plan: Box::new(Plan::default()) },
        ];
        self.post(Letter::Nonsense(words[usize::from(pick) % words.len()].clone()));
    }

    fn pick(&self, target: Target, pick: u8) -> Option<Serial> {
        let meant = |process: &&crate::process::Process| match target {
            Target::Worker => process.worker().is_some(),
            Target::Zygote => process.zygote().is_some(),
            Target::Dirty => matches!(process.role, Role::Dirty(_)),
        };
        let all: Vec<_> = self.kernel.living().filter(meant).collect();
        let process = all.get(usize::from(pick).checked_rem(all.len())?)?;
        debug_assert!(!name(process).is_empty());
        Some(process.serial)
    }

    fn write_garbage(&mut self, pick: u8, seconds: u32) {
        let known: Vec<_> = self.shell.links.keys().copied().collect();
        if let Some(at) = usize::from(pick).checked_rem(known.len()) {
            let second = 1_000_000_000;
            let since = match seconds {
                // Also times that are still to come, and the ends of the range.
                0..1000 => Tick(u64::from(seconds)),
                1000..2000 => Tick(u64::MAX - u64::from(seconds)),
                2000..5000 => Tick(self.now.0 + u64::from(seconds) * second),
                _ => Tick(self.now.0.saturating_sub(u64::from(seconds % 600) * second)),
            };
            self.shell.garbage.insert(known[at], since);
        }
    }
}
