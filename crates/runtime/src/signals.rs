//! Signals become events; nothing else happens here.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use remuda_supervisor::Wish;
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::{flag, low_level::pipe};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Asked(Wish),
    ChildEnded,
    Nothing,
}

struct Watched {
    name: &'static str,
    meaning: Meaning,
    raised: Arc<AtomicBool>,
}

/// The signals of the master, and a pipe that wakes the loop at each of them.
pub struct Signals {
    watched: Vec<Watched>,
    wake: UnixStream,
    halt: Halt,
    /// Signals end this process as they end any other.
    by_default: Arc<AtomicBool>,
}

/// Whether somebody has asked for the end, for those who wait before there is a loop.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    pub(crate) fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The same, once there is a loop.
pub(crate) struct Watch {
    watched: Vec<Watched>,
    wake: tokio::net::UnixStream,
}

/// In the order in which they are handled when several came at once.
const MEANINGS: [(i32, &str, Meaning); 10] = [
    (SIGQUIT, "quit", Meaning::Asked(Wish::Quit)),
    (SIGINT, "int", Meaning::Asked(Wish::Quit)),
    (SIGTERM, "term", Meaning::Asked(Wish::Stop)),
    (SIGHUP, "hup", Meaning::Asked(Wish::Reload)),
    (SIGTTIN, "ttin", Meaning::Asked(Wish::MoreWorkers)),
    (SIGTTOU, "ttou", Meaning::Asked(Wish::FewerWorkers)),
    (SIGUSR1, "usr1", Meaning::Asked(Wish::ReopenLogs)),
    (SIGUSR2, "usr2", Meaning::Asked(Wish::Upgrade)),
    (SIGWINCH, "winch", Meaning::Nothing),
    (SIGCHLD, "chld", Meaning::ChildEnded),
];

impl Signals {
    /// Installs the handlers. To be called first of all: what is raised while the settings are
    /// read and the sockets bound is obeyed as soon as the loop runs. PID 1 has no default actions,
    /// so there it would be lost.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn install() -> io::Result<Self> {
        let (wake, raise) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        raise.set_nonblocking(true)?;
        let mut watched = Vec::with_capacity(MEANINGS.len());
        let (halt, by_default) = (Halt::default(), Arc::new(AtomicBool::new(false)));
        for (number, name, meaning) in MEANINGS {
            flag::register_conditional_default(number, by_default.clone())?;
            if matches!(meaning, Meaning::Asked(Wish::Stop | Wish::Quit)) {
                flag::register(number, halt.0.clone())?;
            }
            let raised = Arc::new(AtomicBool::new(false));
            // The flag first: the loop must find it once the pipe has woken it.
            flag::register(number, raised.clone())?;
            pipe::register(number, raise.try_clone()?)?;
            watched.push(Watched { name, meaning, raised });
        }
        Ok(Self { watched, wake, halt, by_default })
    }

    /// For whoever waits before the loop runs.
    #[must_use]
    pub fn halt(&self) -> Halt {
        self.halt.clone()
    }

    /// No service is to run, so nobody would obey.
    pub fn let_go(self) {
        self.by_default.store(true, Ordering::SeqCst);
    }

    /// To be called inside the loop's runtime.
    pub(crate) fn watch(self) -> io::Result<Watch> {
        let wake = tokio::net::UnixStream::from_std(self.wake)?;
        Ok(Watch { watched: self.watched, wake })
    }
}

impl Watch {
    /// Waits for at least one signal.
    pub(crate) async fn next(&self) -> Vec<(&'static str, Meaning)> {
        loop {
            // Errors could only be mistakes of ours; the flags tell the truth either way.
            let _ = self.wake.readable().await;
            while self.wake.try_read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
            let raised: Vec<_> = self
                .watched
                .iter()
                .filter(|watched| watched.raised.swap(false, Ordering::SeqCst))
                .map(|watched| (watched.name, watched.meaning))
                .collect();
            if !raised.is_empty() {
                return raised;
            }
        }
    }
}
