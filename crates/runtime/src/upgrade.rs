//! A new master beside the old one: how it is started, and how the two speak.
//!
//! gunicorn's way and names: the new master is executed as the old one was, gets the listeners as
//! `GUNICORN_FD` and its parent's number as `GUNICORN_PID`. Beyond that the two share a channel: the
//! new one says `ready` when it serves, the old one answers `yours` and leaves; and both use one
//! relay, so that idle connections go from old workers to new ones. Without the channel (the old
//! master is gunicorn's own) the new one takes over when its parent is gone.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use nix::unistd::{Pid as UnixPid, getppid};
use remuda_supervisor::Pid;

use crate::listen::Listeners;
use crate::sys;
use crate::wire::Wire;
use crate::zygote::Relay;

const PARENT: &str = "GUNICORN_PID";
const LISTENERS: &str = "GUNICORN_FD";
/// `channel,give,take[,listener…]`: the descriptors of the channel and of the relay's ends, then the
/// listeners that were not the old master's own.
const CHANNEL: &str = "REMUDA_UPGRADE";
const FIRST_FD: i32 = 3;

/// What the service manager or another master says to this process alone, in its environment.
pub const PRIVATE_VARIABLES: [&str; 8] = [
    PARENT,
    LISTENERS,
    CHANNEL,
    "LISTEN_PID",
    "LISTEN_FDS",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

pub(crate) const READY: &[u8] = b"ready";
pub(crate) const YOURS: &[u8] = b"yours";

/// How this process was started, to be started once more.
pub struct Launch {
    program: OsString,
    args: Vec<OsString>,
    folder: PathBuf,
}

impl Launch {
    /// To be called before anything changes the working directory. A program that was found by
    /// `PATH` is looked for there again: that is where a new version is.
    #[must_use]
    pub fn of_this_process() -> Self {
        let mut args = env::args_os();
        let program = args.next().unwrap_or_else(|| "remuda".into());
        let folder = env::current_dir().unwrap_or_else(|_| "/".into());
        Self { program, args: args.collect(), folder }
    }

    /// Executes the new master; its number, and the channel to it.
    pub(crate) fn again(&self, listeners: &Listeners, relay: &Relay) -> io::Result<(Pid, Wire)> {
        let (wire, theirs) = Wire::pair()?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder);
        let mut fds = Vec::new();
        let mut foreign = Vec::new();
        let mut mappings = Vec::new();
        for (child_fd, (fd, is_ours)) in (FIRST_FD..).zip(listeners.all()) {
            mappings.push(FdMapping { parent_fd: fd.try_clone_to_owned()?, child_fd });
            fds.push(child_fd);
            if !is_ours {
                foreign.push(child_fd);
            }
        }
        let mut ours = Vec::new();
        let shared = [theirs, relay.0.try_clone()?, relay.1.try_clone()?];
        for (child_fd, parent_fd) in (FIRST_FD + fds.len() as i32..).zip(shared) {
            mappings.push(FdMapping { parent_fd, child_fd });
            ours.push(child_fd);
        }
        ours.append(&mut foreign);
        command.env(PARENT, UnixPid::this().to_string());
        command.env(LISTENERS, joined(&fds)).env(CHANNEL, joined(&ours));
        for name in ["LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        let child = command.spawn()?;
        let pid = Pid(i32::try_from(child.id()).map_err(io::Error::other)?);
        Ok((pid, wire))
    }
}

fn joined(fds: &[i32]) -> String {
    fds.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn numbers(text: &str) -> Vec<i32> {
    text.split(',').filter_map(|fd| fd.trim().parse().ok()).filter(|fd| *fd > 2).collect()
}

/// What a new master has from the one before it.
#[derive(Debug)]
pub struct Heirloom {
    /// The listeners, in their order.
    pub listeners: Vec<i32>,
    /// Those of them that belong to somebody else, before and after.
    foreign: Vec<i32>,
    parent: UnixPid,
    channel: Option<OwnedFd>,
    /// The relay, if it comes with one.
    pub(crate) relay: Option<Relay>,
}

impl Heirloom {
    /// What the environment says, if it was the parent who has said it. To be called before anything
    /// is started, and once.
    #[must_use]
    pub fn from_env(value: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let parent = UnixPid::from_raw(value(PARENT)?.trim().parse().ok()?);
        if parent != getppid() {
            return None;
        }
        let listeners = numbers(&value(LISTENERS)?);
        // What is not open is found when it shall be used.
        listeners.iter().for_each(|fd| drop(sys::keep_private(*fd)));
        let mut given = numbers(&value(CHANNEL).unwrap_or_default()).into_iter();
        let mut next = || sys::take_inherited(given.next()?).ok();
        let channel = next();
        let relay = next().zip(next());
        Some(Self { listeners, foreign: given.collect(), parent, channel, relay })
    }

    /// The listeners that will be this master's own.
    #[must_use]
    pub fn own(&self) -> Vec<i32> {
        self.listeners.iter().copied().filter(|fd| !self.foreign.contains(fd)).collect()
    }

    /// The channel to the old master. To be called inside the loop's runtime.
    pub(crate) fn take_wire(&mut self) -> Option<Wire> {
        self.channel.take().and_then(|fd| Wire::adopt(fd).ok())
    }

    pub(crate) fn parent_is_gone(&self) -> bool {
        getppid() != self.parent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, String)]) -> Option<Heirloom> {
        Heirloom::from_env(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn gunicorns_variables_are_enough() {
        let parent = (PARENT, getppid().to_string());
        let heirloom = from(&[parent, (LISTENERS, "3,4".into())]).expect("an heir");
        assert_eq!(heirloom.listeners, [3, 4]);
        assert!(heirloom.foreign.is_empty() && heirloom.channel.is_none());
        assert!(!heirloom.parent_is_gone());
    }

    #[test]
    fn variables_that_somebody_else_has_left_mean_nothing() {
        assert!(from(&[(PARENT, "1073741".into()), (LISTENERS, "3".into())]).is_none());
        assert!(from(&[(PARENT, "garbage".into()), (LISTENERS, "3".into())]).is_none());
        assert!(from(&[(LISTENERS, "3".into())]).is_none());
    }

    #[test]
    fn standard_streams_are_never_listeners() {
        assert_eq!(numbers("0,1,2,3,x,,7"), [3, 7]);
    }
}
