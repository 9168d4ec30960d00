//! What dirty arbiters need of the master: a private folder for their sockets, and a channel on which
//! one hears that it is known.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use remuda_channel::{DirtyPlace, IdentityPlan, ToWorker, ToZygote};
use remuda_supervisor::{Event, Generation, WorkerId};
use tempfile::TempDir;

use crate::shell::Shell;
use crate::wire::Wire;

/// The kernel takes 107 bytes; those of an arbiter's workers are a little longer.
const PATH_MAX: usize = 95;

/// All that the master keeps for them.
#[derive(Default)]
pub(crate) struct Arbiters {
    /// Removed at the end with all that is in it, also what a killed arbiter has left.
    folder: Option<TempDir>,
    wires: BTreeMap<WorkerId, Wire>,
}

impl Arbiters {
    /// Where the arbiter of an edition listens. Its own folder in ours is made by itself, since it
    /// may be another user.
    fn socket(&mut self, edition: Generation, owner: Option<&IdentityPlan>) -> io::Result<PathBuf> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => {
                // Nobody else may look into it.
                let own = fs::Permissions::from_mode(0o700);
                let mut make = tempfile::Builder::new();
                let made = make.prefix("remuda-dirty-").permissions(own).tempdir()?;
                self.folder.insert(made)
            }
        };
        if let Some(IdentityPlan { uid, gid, .. }) = owner {
            chown(folder.path(), Some(*uid), Some(*gid))?;
        }
        let socket = folder.path().join(edition.0.to_string()).join("arbiter.sock");
        if socket.as_os_str().len() > PATH_MAX {
            return Err(io::Error::other("the path of a socket is limited, and this is too long"));
        }
        Ok(socket)
    }

    /// The end of its channel tells one that was given up before it was known to leave.
    pub(crate) fn retain(&mut self, is_known: impl Fn(WorkerId) -> bool) {
        self.wires.retain(|worker, _| is_known(*worker));
    }

    /// The log has told its number: it may begin.
    pub(crate) fn begin(&self, worker: WorkerId) {
        if let Some(wire) = self.wires.get(&worker) {
            // Lost on one that is dead already.
            let _ = wire.send(ToWorker::Begin.as_bytes(), None);
        }
    }
}

impl Shell {
    /// Where clients of this generation find their arbiter; `None` = there is none.
    pub(crate) fn dirty_place(&mut self, generation: Generation) -> io::Result<Option<DirtyPlace>> {
        let Some(edition) = self.supervisor.dirty_edition(generation) else { return Ok(None) };
        let owner = self.worker_plan(generation).identity.clone();
        let path = self.arbiters.socket(edition, owner.as_ref())?;
        // The first came with the start; all others by reloads.
        let must_load = edition != Generation(1);
        Ok(Some(DirtyPlace { socket: path.display().to_string(), must_load }))
    }

    pub(crate) fn fork_dirty(&mut self, zygote: Generation, worker: WorkerId) -> Option<Event> {
        let message = ToZygote::ForkDirty { worker: worker.0 };
        match self.ask_for_fork("dirty arbiter", worker, zygote, &message) {
            Ok(wire) => {
                self.arbiters.wires.insert(worker, wire);
                None
            }
            Err(failed) => Some(failed),
        }
    }
}
