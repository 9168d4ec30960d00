//! A new master in the model: it boots, says that it serves, and listens to TERM.

use std::time::Duration;

use remuda_supervisor::{Ending, Event};

use crate::dice::{Subject, between};
use crate::fault::{Fault, HeirFault};
use crate::process::{Role, Serial};
use crate::shell::Letter;
use crate::world::{Deed, Master, World};

impl<M: Master> World<'_, M> {
    pub(crate) fn start_upgrade(&mut self) -> Event {
        self.heirs = self.heirs.saturating_add(1);
        let fault = self.heir_fault();
        if fault == Some(HeirFault::SpawnFails) {
            return Event::UpgradeSpawnFailed;
        }
        let role = Role::Heir { fault, is_ready: false };
        let Some(serial) = self.kernel.spawn(role, Duration::ZERO, self.now) else {
            return Event::UpgradeSpawnFailed;
        };
        let mut rng = self.dice.of(Subject::Heir, serial.0);
        let usual = self.script.import + self.script.boot;
        let mut takes = between(&mut rng, usual / 2, usual * 2);
        match fault {
            Some(HeirFault::BootSlow(more)) => takes += more,
            Some(HeirFault::Ends(after, ending)) => self.act(serial, after, Deed::End(ending)),
            Some(HeirFault::Hangs | HeirFault::SpawnFails | HeirFault::Lost(..)) | None => {}
        }
        if fault != Some(HeirFault::Hangs) {
            self.act(serial, takes, Deed::Boot);
        }
        let pid = self.kernel.find(serial).map(|process| process.pid);
        pid.map_or(Event::UpgradeSpawnFailed, |pid| Event::UpgradeSpawned { pid })
    }

    fn heir_fault(&mut self) -> Option<HeirFault> {
        if self.is_calm() {
            return None;
        }
        let nth = self.heirs;
        let fault = self.script.faults.iter().find_map(|fault| match *fault {
            Fault::Heir(of, what) if of == nth => Some((fault.kind(), what)),
            _ => None,
        });
        let (kind, what) = fault?;
        self.census.count(kind);
        self.chronicle.note(self.now, || format!("fault: {kind}"));
        Some(what)
    }

    pub(crate) fn heir_is_ready(&mut self, serial: Serial) {
        let Some(process) = self.kernel.find_mut(serial) else { return };
        let pid = process.pid;
        if let Role::Heir { is_ready, fault } = &mut process.role {
            *is_ready = true;
            if let Some(HeirFault::Lost(after, ending)) = *fault {
                self.act(serial, after, Deed::End(ending));
            }
            self.say(serial, Letter::Heir(pid));
        }
    }

    pub(crate) fn end_heir(&mut self, serial: Serial) {
        let role = self.kernel.find(serial).map(|process| &process.role);
        if !matches!(role, Some(Role::Heir { fault: Some(HeirFault::Hangs), .. })) {
            self.act(serial, Duration::from_millis(5), Deed::End(Ending::Exited(0)));
        }
    }
}
