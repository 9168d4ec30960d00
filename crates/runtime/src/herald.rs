//! The herald: the Python process that runs the configuration file for the master, and calls the
//! hooks that gunicorn calls in its master. `docs/design/040-hooks.md` has the why.
//!
//! Before the master's loop runs it is asked and waited for; from then on it is one more sender of
//! letters, see `shell`. It may be missing at any time: nothing but hooks depends on it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use remuda_channel::{CHANNEL_FD, FromHerald, MESSAGE_BYTES_MAX, TITLE_ROOM_BYTES, ToHerald};
use remuda_supervisor::Pid;

use crate::signals::Halt;
use crate::upgrade::PRIVATE_VARIABLES;
use crate::wire;

/// A herald that is asked and waited for.
#[derive(Debug)]
pub struct Herald {
    pid: Pid,
    channel: OwnedFd,
    halt: Halt,
}

/// What keeps a herald from answering.
#[derive(Debug, thiserror::Error)]
pub enum HeraldError {
    /// There is no such process.
    #[error("the Python interpreter {python} cannot be run: {source}")]
    Spawn {
        /// The interpreter.
        python: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// It has ended.
    #[error(
        "the Python process that reads the configuration file ended without an answer; what it \
         printed stands above\n  hint: the interpreter needs the package remuda of this version"
    )]
    Gone,
    /// It took too long.
    #[error("the configuration file or its hook `{what}` took longer than {} s", .patience.as_secs())]
    Late {
        /// What was asked for.
        what: String,
        /// How long was waited.
        patience: Duration,
    },
    /// Somebody has told the master to stop.
    #[error("told to stop while Python code of the configuration ran; nothing was served yet")]
    Halted,
    /// The channel itself failed.
    #[error("the channel to the Python process failed: {0}")]
    Channel(#[from] io::Error),
}

/// How often somebody who waits for an answer looks whether the end was asked for.
const LOOK: Duration = Duration::from_millis(100);
/// Time that a herald gets to leave by itself.
const LEAVING: Duration = Duration::from_secs(2);

impl Herald {
    /// Starts one with the interpreter that the zygotes use.
    ///
    /// # Errors
    ///
    /// When there is no room for a process, or no such interpreter.
    pub fn start(python: &Path, halt: Halt) -> Result<Self, HeraldError> {
        spawn(python, halt)
            .map_err(|source| HeraldError::Spawn { python: python.display().to_string(), source })
    }

    /// Says something, and waits for the answer.
    ///
    /// # Errors
    ///
    /// When there is none within `patience`, or somebody asks for the end.
    pub fn ask(&self, message: &ToHerald, patience: Duration) -> Result<FromHerald, HeraldError> {
        self.say(message)?;
        let deadline = Instant::now() + patience;
        let mut packet = vec![0; MESSAGE_BYTES_MAX];
        loop {
            if self.halt.is_asked_for() {
                kill(self.pid);
                return Err(HeraldError::Halted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A signal between the look and the wait is found a little later.
            let slice = left.min(LOOK);
            let timeout = PollTimeout::try_from(slice).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) if slice < left => continue,
                Ok(0) => {
                    let what = match message {
                        ToHerald::Call { hook } => hook.clone(),
                        _ => "(import)".to_owned(),
                    };
                    return Err(HeraldError::Late { what, patience });
                }
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            }
            return match recv(self.channel.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) => Err(HeraldError::Gone),
                Ok(length) => serde_json::from_slice(&packet[..length])
                    .map_err(|error| io::Error::from(error).into()),
                Err(error) => Err(io::Error::from(error).into()),
            };
        }
    }

    /// Says something that needs no answer.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn say(&self, message: &ToHerald) -> Result<(), HeraldError> {
        let packet = serde_json::to_vec(message).map_err(io::Error::from)?;
        match send(self.channel.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(HeraldError::Gone),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Lets it go: nobody needs it any more.
    pub fn dismiss(self) {
        drop(self.channel);
        see_off(self.pid);
    }

    pub(crate) fn into_parts(self) -> (Pid, OwnedFd) {
        (self.pid, self.channel)
    }
}

fn spawn(python: &Path, halt: Halt) -> io::Result<Herald> {
    let (channel, theirs) = wire::pair()?;
    let mut command = Command::new(python);
    // A group of its own: the terminal's signals are the master's business.
    command.args(["-m", "remuda.herald", &" ".repeat(TITLE_ROOM_BYTES)]).process_group(0);
    for name in PRIVATE_VARIABLES {
        command.env_remove(name);
    }
    let mapping = FdMapping { parent_fd: theirs, child_fd: CHANNEL_FD };
    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    let child = command.spawn()?;
    let pid = Pid(i32::try_from(child.id()).map_err(io::Error::other)?);
    Ok(Herald { pid, channel, halt })
}

/// Ends a herald that hangs. It is our unreaped child, so the number is nobody else's.
pub(crate) fn kill(pid: Pid) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.0), Signal::SIGKILL);
}

/// Waits for a herald whose channel is closed, and ends it if it does not leave.
pub(crate) fn see_off(pid: Pid) {
    let unix = nix::unistd::Pid::from_raw(pid.0);
    let deadline = Instant::now() + LEAVING;
    loop {
        match waitpid(unix, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(WaitStatus::StillAlive) => {
                kill(pid);
                let _ = waitpid(unix, None);
                return;
            }
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}
