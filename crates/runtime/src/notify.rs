//! What a service manager hears: `sd_notify`, by a datagram that never blocks the master.
//!
//! Crates for it send with a blocking socket, so a service manager that is stuck would stop the
//! master. What does not fit into its queue waits here, and is sent in order later.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use remuda_journal::log;
use remuda_supervisor::{Stage, Standing, Tick};

/// Datagrams that wait at most; the oldest is dropped first.
const WAITING_MAX: usize = 64;

/// The service manager's socket, if there is one.
#[derive(Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// Not ours to speak yet: the master before this one is the service.
    muted: bool,
    standing: Option<Standing>,
    told: Option<Stage>,
    waiting: VecDeque<String>,
}

impl Notifier {
    /// `address` is `NOTIFY_SOCKET`: a path, or `@name` for an abstract one. A socket that cannot be
    /// used is said once; the service runs without.
    #[must_use]
    pub fn new(address: Option<&OsStr>) -> Self {
        let socket = address.filter(|address| !address.is_empty()).and_then(|address| {
            connect(address).inspect_err(|error| log!(NOTIFY_FAILED, error = error)).ok()
        });
        Self { socket, ..Self::default() }
    }

    /// Keeps everything back until [`Notifier::speak`].
    pub(crate) fn mute(&mut self) {
        self.muted = true;
    }

    /// Says how the service stands, and goes on saying it.
    pub(crate) fn speak(&mut self, now: Tick) {
        self.muted = false;
        if let Some(standing) = self.standing {
            self.publish(standing, now);
        }
    }

    pub(crate) fn publish(&mut self, standing: Standing, now: Tick) {
        self.standing = Some(standing);
        if !self.muted {
            let before = self.told.replace(standing.stage);
            self.send(text(before, standing, now));
        }
    }

    pub(crate) fn feed(&mut self) {
        if !self.muted {
            self.send("WATCHDOG=1".to_owned());
        }
    }

    /// Something waits until the service manager reads again.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn send(&mut self, text: String) {
        if self.socket.is_some() {
            if self.waiting.len() == WAITING_MAX {
                self.waiting.pop_front();
            }
            self.waiting.push_back(text);
            self.flush();
        }
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        let Some(socket) = &self.socket else { return };
        while let Some(text) = self.waiting.front() {
            match socket.send(text.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log!(NOTIFY_FAILED, error = error);
                    self.socket = None;
                    self.waiting.clear();
                    return;
                }
                Ok(_) => drop(self.waiting.pop_front()),
            }
        }
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What the change from `before` means to a service manager.
fn text(before: Option<Stage>, standing: Standing, now: Tick) -> String {
    let Standing { stage, ready, wanted } = standing;
    let workers = format!("{ready} of {wanted} workers ready");
    let (state, status) = match stage {
        Stage::Starting => (String::new(), format!("Starting: {workers}")),
        Stage::Serving => ("READY=1\n".to_owned(), workers),
        Stage::Reloading => (
            format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.0 / 1000),
            format!("Reloading: {workers}"),
        ),
        Stage::HandedOver { to } => (
            format!("MAINPID={}\n", to.0),
            format!("A new master serves (pid {}); finishing what is in flight", to.0),
        ),
        Stage::Stopping => {
            ("STOPPING=1\n".to_owned(), "Stopping: finishing what is in flight".to_owned())
        }
    };
    let state = match before {
        Some(known) if known == stage => String::new(),
        // The new master has crashed, and this process is the service again.
        Some(Stage::HandedOver { .. }) => format!("MAINPID={}\n{state}", std::process::id()),
        _ => state,
    };
    format!("{state}STATUS={status}")
}

#[cfg(test)]
mod tests {
    use remuda_supervisor::Pid;

    use super::*;

    fn standing(stage: Stage, ready: usize) -> Standing {
        Standing { stage, ready, wanted: 2 }
    }

    #[test]
    fn each_change_of_stage_has_its_word_and_is_told_once() {
        let now = Tick(7_000_000);
        let told = |before, stage, ready| text(before, standing(stage, ready), now);
        use Stage::{HandedOver, Reloading, Serving, Starting, Stopping};
        assert_eq!(told(None, Starting, 0), "STATUS=Starting: 0 of 2 workers ready");
        assert_eq!(told(Some(Starting), Serving, 1), "READY=1\nSTATUS=1 of 2 workers ready");
        assert_eq!(told(Some(Serving), Serving, 2), "STATUS=2 of 2 workers ready");
        let reloading = "RELOADING=1\nMONOTONIC_USEC=7000\nSTATUS=Reloading: 2 of 2 workers ready";
        assert_eq!(told(Some(Serving), Reloading, 2), reloading);
        assert_eq!(told(Some(Reloading), Serving, 2), "READY=1\nSTATUS=2 of 2 workers ready");
        assert!(
            told(Some(Serving), HandedOver { to: Pid(7) }, 2).starts_with("MAINPID=7\nSTATUS=")
        );
        assert!(told(Some(Serving), Stopping, 0).starts_with("STOPPING=1\nSTATUS=Stopping"));
    }

    #[test]
    fn a_service_manager_that_does_not_read_blocks_nobody_and_hears_everything_later() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bind");
        manager.set_nonblocking(true).expect("nonblocking");
        let mut notifier = Notifier::new(Some(path.as_os_str()));
        // More than the queue of any socket holds, and less than what may wait.
        let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").expect("proc");
        let queue: usize = queue.trim().parse().expect("a number");
        for ready in 0..queue + 20 {
            notifier.publish(standing(Stage::Serving, ready), Tick(0));
        }
        assert!(notifier.is_behind());
        let mut heard = Vec::new();
        let mut packet = [0; 256];
        loop {
            while let Ok(length) = manager.recv(&mut packet) {
                heard.push(String::from_utf8_lossy(&packet[..length]).into_owned());
            }
            if !notifier.is_behind() {
                break;
            }
            notifier.flush();
        }
        assert_eq!(heard.len(), queue + 20);
        assert_eq!(heard[0], "READY=1\nSTATUS=0 of 2 workers ready");
        assert!(heard[queue + 19].starts_with(&format!("STATUS={} of", queue + 19)));
    }

    #[test]
    fn a_muted_notifier_says_how_things_stand_once_it_may_speak() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bind");
        manager.set_nonblocking(true).expect("nonblocking");
        let mut notifier = Notifier::new(Some(path.as_os_str()));
        notifier.mute();
        notifier.publish(standing(Stage::Serving, 2), Tick(0));
        notifier.feed();
        assert!(manager.recv(&mut [0; 64]).is_err(), "nothing was said");
        notifier.speak(Tick(0));
        let mut packet = [0; 64];
        let length = manager.recv(&mut packet).expect("it speaks");
        assert_eq!(&packet[..length], b"READY=1\nSTATUS=2 of 2 workers ready");
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        let mut notifier = Notifier::new(None);
        notifier.publish(standing(Stage::Serving, 2), Tick(0));
        notifier.feed();
        assert!(!notifier.is_behind());
    }
}
