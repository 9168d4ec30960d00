//! The settings on disk, and the master's part in reading them: a zygote says hello, the settings are
//! read again if it is a candidate, then it is told what to load. A copy of what
//! `crates/runtime/src/renewal.rs` does.

use std::time::Duration;

use remuda_supervisor::{BootFailure, Event, Generation, Plan, Tick};

use crate::dice::{Subject, millis_between};
use crate::process::Serial;
use crate::shell::Letter;
use crate::world::{Deed, Happening, Master, World};

/// What is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// What the master was started with.
    First,
    /// One of the script's plans.
    Other(usize),
    /// The file raises, or says what cannot be.
    Unusable,
}

/// How long the herald takes at most.
const READING_MS: u64 = 200;

impl<M: Master> World<'_, M> {
    /// What counts now.
    pub(crate) fn plan(&self) -> &Plan {
        self.plans.last().map_or(&self.script.plan, |(_, plan)| plan)
    }

    /// What a generation is told.
    fn plan_of(&self, generation: Generation) -> Plan {
        self.read.get(&generation).unwrap_or_else(|| self.plan()).clone()
    }

    /// The longest time of this kind that anybody may be given in this run.
    pub(crate) fn longest(&self, of: fn(&Plan) -> Duration) -> Duration {
        let plans = self.script.plans.iter().chain([&self.script.plan]);
        plans.map(of).max().unwrap_or_default()
    }

    pub(crate) fn zygote_greets(&mut self, generation: Generation) {
        if self.view.reloading != Some(generation) {
            return self.boot_zygote(generation);
        }
        self.renewing = Some(generation);
        let mut rng = self.dice.of(Subject::Reading, u64::from(generation.0));
        let takes = millis_between(&mut rng, 0, READING_MS);
        self.put(self.now + takes, Happening::Read(generation));
    }

    pub(crate) fn settings_are_read(&mut self, generation: Generation) {
        self.post(Letter::Settings(generation));
    }

    pub(crate) fn settle_settings(&mut self, generation: Generation) {
        if self.renewing.take_if(|asked| *asked == generation).is_none() {
            return;
        }
        let plan = match self.on_disk {
            OnDisk::First => self.script.plan.clone(),
            OnDisk::Other(nth) => self.script.plans[nth].clone(),
            OnDisk::Unusable => {
                self.hand(Event::ZygoteFailed { generation, failure: BootFailure::Setup });
                if let Some(serial) = self.zygote_of(generation) {
                    self.dismiss(serial);
                }
                return;
            }
        };
        self.read.insert(generation, plan.clone());
        self.hand(Event::Replanned { generation, plan: Box::new(plan) });
        self.boot_zygote(generation);
    }

    /// Tells a zygote what to load.
    fn boot_zygote(&mut self, generation: Generation) {
        let plan = self.plan_of(generation);
        if let Some(serial) = self.zygote_of(generation) {
            self.zygote_loads(serial, plan);
        }
    }

    fn zygote_of(&self, generation: Generation) -> Option<Serial> {
        let (serial, _) = self.shell.zygotes.get(&generation)?;
        Some(*serial)
    }

    /// Nobody will tell it what to load.
    fn dismiss(&mut self, serial: Serial) {
        let now = self.now;
        if let Some(process) = self.kernel.find_mut(serial) {
            process.told.farewell.get_or_insert(now);
            self.act(serial, Duration::from_millis(10), Deed::Leave);
        }
    }

    /// A worker of the new generation serves, says the supervisor.
    pub(crate) fn adopt(&mut self, generation: Generation) {
        if let Some(plan) = self.read.get(&generation) {
            self.plans.push((self.now, plan.clone()));
        }
        self.shell.watch(self.now, &self.plan().clone());
    }
}

/// The plans that have been in force since then.
pub(crate) fn since(plans: &[(Tick, Plan)], at: Tick) -> impl Iterator<Item = &Plan> {
    let first = plans.iter().rposition(|(from, _)| *from < at).unwrap_or(0);
    plans[first..].iter().map(|(_, plan)| plan)
}
