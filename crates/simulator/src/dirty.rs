//! A dirty arbiter in the model: it waits until the master knows it, and listens to TERM and QUIT.

use std::time::Duration;

use remuda_supervisor::{Ending, Pid, WorkerId};

use crate::dice::{Subject, millis_between};
use crate::fault::{DirtyFault, Fault};
use crate::process::{DirtyLife, ForkRequest, Role, Serial};
use crate::world::{Deed, Master, World};

/// How long it takes at most to end its workers.
const LEAVING_MS: u64 = 500;

impl<M: Master> World<'_, M> {
    pub(crate) fn fork_arbiter(&mut self, request: ForkRequest) -> Option<Pid> {
        self.arbiters = self.arbiters.saturating_add(1);
        let mut faults = Vec::new();
        if !self.is_calm() {
            for fault in &self.script.faults {
                if let Fault::Dirty(nth, does) = *fault
                    && nth == self.arbiters
                {
                    self.census.count(fault.kind());
                    faults.push(does);
                }
            }
        }
        let kill_takes = faults.iter().find_map(|fault| match *fault {
            DirtyFault::KillTakes(length) => Some(length),
            _ => None,
        });
        let waits = self.shell.arbiters.contains(&request.worker);
        let life = DirtyLife { id: request.worker, faults, waits };
        let serial =
            self.kernel.spawn(Role::Dirty(life), kill_takes.unwrap_or_default(), self.now)?;
        self.census.arbiters += 1;
        if !waits {
            self.dismiss_arbiter(serial);
        }
        Some(self.kernel.find(serial)?.pid)
    }

    /// The master's word that it may begin.
    pub(crate) fn begin_arbiter(&mut self, id: WorkerId) {
        let Some(serial) = self.kernel.arbiter(id).map(|process| process.serial) else { return };
        let Some(Role::Dirty(life)) = self.kernel.find_mut(serial).map(|process| &mut process.role)
        else {
            return;
        };
        life.waits = false;
        let ends = life.faults.iter().find_map(|fault| match *fault {
            DirtyFault::Ends(after, ending) => Some((after, ending)),
            _ => None,
        });
        if let Some((after, ending)) = ends {
            self.act(serial, after, Deed::End(ending));
        }
    }

    /// The end of its channel, before it was known.
    pub(crate) fn drop_unknown_arbiters(&mut self) {
        let unknown: Vec<WorkerId> =
            self.shell.arbiters.iter().copied().filter(|id| !self.master.knows(*id)).collect();
        for id in unknown {
            self.shell.arbiters.remove(&id);
            if let Some(process) = self.kernel.arbiter(id)
                && matches!(&process.role, Role::Dirty(life) if life.waits)
            {
                self.dismiss_arbiter(process.serial);
            }
        }
    }

    fn dismiss_arbiter(&mut self, serial: Serial) {
        let now = self.now;
        if let Some(process) = self.kernel.find_mut(serial) {
            process.told.farewell.get_or_insert(now);
            self.act(serial, Duration::from_millis(1), Deed::End(Ending::Exited(0)));
        }
    }

    pub(crate) fn end_arbiter(&mut self, serial: Serial) {
        let Some(Role::Dirty(life)) = self.kernel.find(serial).map(|process| &process.role) else {
            return;
        };
        if !life.faults.contains(&DirtyFault::IgnoresTerm) {
            let mut rng = self.dice.of(Subject::Leave, serial.0);
            let takes = millis_between(&mut rng, 1, LEAVING_MS);
            self.act(serial, takes, Deed::End(Ending::Exited(0)));
        }
    }
}
