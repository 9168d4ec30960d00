//! Executing a zygote, and what it says.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use remuda_channel::{CHANNEL_FD, FIRST_LISTENER_FD, SCOREBOARD_FD};
use remuda_supervisor::Pid;

use crate::listen::Listeners;
use crate::wire::Wire;

/// How a zygote is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) python: PathBuf,
    /// Added to the environment; the rest is passed on untouched.
    pub(crate) env: BTreeMap<String, String>,
}

/// A zygote's process, seen from here.
pub(crate) struct Zygote {
    pub(crate) pid: Pid,
    /// `None` once retired: it exits when it finds its end closed.
    pub(crate) wire: Option<Wire>,
    /// It has said hello, so the interpreter and the package are fine.
    pub(crate) greeted: bool,
    /// It has said why it fails; its end of file is no news any more.
    pub(crate) failed: bool,
}

/// Executes a zygote with its channel, the scoreboard and the listeners at fixed descriptors.
pub(crate) fn start(start: &Start, board: &OwnedFd, listeners: &Listeners) -> io::Result<Zygote> {
    let (wire, theirs) = Wire::pair()?;
    let mut mappings = vec![
        FdMapping { parent_fd: theirs, child_fd: CHANNEL_FD },
        FdMapping { parent_fd: board.as_fd().try_clone_to_owned()?, child_fd: SCOREBOARD_FD },
    ];
    for (child_fd, fd) in (FIRST_LISTENER_FD..).zip(listeners.fds()) {
        mappings.push(FdMapping { parent_fd: fd.try_clone_to_owned()?, child_fd });
    }
    let mut command = Command::new(&start.python);
    command.args(["-m", "remuda.zygote"]).envs(&start.env).process_group(0);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // Reaped by pid together with all other children, so the handle is of no use.
    let child = command.spawn()?;
    let pid = Pid(i32::try_from(child.id()).map_err(io::Error::other)?);
    Ok(Zygote { pid, wire: Some(wire), greeted: false, failed: false })
}
