//! Executing a zygote, and what it says.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use remuda_channel::{
    CHANNEL_FD, FIRST_LISTENER_FD, RELAY_GIVE_FD, RELAY_TAKE_FD, SCOREBOARD_FD, TITLE_ROOM_BYTES,
};
use remuda_supervisor::Pid;

use crate::listen::Listeners;
use crate::upgrade::PRIVATE_VARIABLES;
use crate::wire::Wire;

/// How a zygote is started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) python: PathBuf,
}

/// A zygote's process, seen from here.
pub(crate) struct Zygote {
    pub(crate) pid: Pid,
    /// `None` once retired: it exits when it finds its end closed.
    pub(crate) wire: Option<Wire>,
    /// It has said hello, so the interpreter and the package are fine.
    pub(crate) greeted: bool,
    /// It has said why it fails, or was sent a signal: its end is no news any more.
    pub(crate) failed: bool,
}

/// What all workers of all generations share, beside the listeners.
pub(crate) struct Shared {
    /// The scoreboard's memfd.
    pub(crate) board: OwnedFd,
    /// Both ends of the queue through which workers pass connections on to each other. The master
    /// only keeps it: what lies in it outlives the worker that has sent it.
    pub(crate) relay: Relay,
}

/// The end where connections are given, and the end where they are taken.
pub(crate) type Relay = (OwnedFd, OwnedFd);

impl Shared {
    /// `relay`: the one that the master before this one uses.
    pub(crate) fn new(board: OwnedFd, relay: Option<Relay>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fresh = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let relay = relay.map_or_else(fresh, Ok)?;
        Ok(Self { board, relay })
    }
}

/// Executes a zygote with its channel and all that workers share at fixed descriptors.
pub(crate) fn start(start: &Start, shared: &Shared, listeners: &Listeners) -> io::Result<Zygote> {
    let (wire, theirs) = Wire::pair()?;
    let mut mappings = vec![FdMapping { parent_fd: theirs, child_fd: CHANNEL_FD }];
    let (give, take) = &shared.relay;
    for (fd, child_fd) in
        [(&shared.board, SCOREBOARD_FD), (give, RELAY_GIVE_FD), (take, RELAY_TAKE_FD)]
    {
        mappings.push(FdMapping { parent_fd: fd.try_clone()?, child_fd });
    }
    for (child_fd, fd) in (FIRST_LISTENER_FD..).zip(listeners.fds()) {
        mappings.push(FdMapping { parent_fd: fd.try_clone_to_owned()?, child_fd });
    }
    let mut command = Command::new(&start.python);
    command.args(["-m", "remuda.zygote", &" ".repeat(TITLE_ROOM_BYTES)]).process_group(0);
    // The app is not the service: what it said there would be believed.
    for name in PRIVATE_VARIABLES {
        command.env_remove(name);
    }
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // Reaped by pid together with all other children, so the handle is of no use.
    let child = command.spawn()?;
    let pid = Pid(i32::try_from(child.id()).map_err(io::Error::other)?);
    Ok(Zygote { pid, wire: Some(wire), greeted: false, failed: false })
}
