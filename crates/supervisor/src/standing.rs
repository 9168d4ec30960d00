//! How the service stands, for those who watch it from outside: a service manager, a probe.
//!
//! Told whenever it changes, and never twice. The watchdog's food is told by the same state machine
//! that decides everything else: if that stands still, nobody feeds it.

use crate::supervisor::{Life, Supervisor};
use crate::{Action, Pid, Tick};

/// What the service is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No worker has been ready so far.
    Starting,
    /// Requests are served.
    Serving,
    /// Requests are served, and new code is being brought in.
    Reloading,
    /// Another master serves in our stead; what is in flight is finished.
    HandedOver {
        /// The new master.
        to: Pid,
    },
    /// The service ends.
    Stopping,
}

/// How the service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is about.
    pub stage: Stage,
    /// Slots with a worker that takes requests.
    pub ready: usize,
    /// Workers that shall take requests.
    pub wanted: u16,
}

impl Supervisor {
    /// How the service stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let stage = match (self.life, self.upgrade.heir()) {
            (Life::Stopping(_) | Life::Over, Some(to)) => Stage::HandedOver { to },
            (Life::Stopping(_) | Life::Over, None) => Stage::Stopping,
            (Life::Waiting | Life::Running, _) if !self.worker_ever_ready => Stage::Starting,
            (Life::Waiting | Life::Running, _) if self.reload.is_idle() => Stage::Serving,
            (Life::Waiting | Life::Running, _) => Stage::Reloading,
        };
        // Seats, not workers: a predecessor that drains is not counted twice.
        let seats = self.pool.seats(self.wanted);
        let ready = seats.iter().filter(|seat| seat.serving.is_some()).count();
        Standing { stage, ready, wanted: self.wanted }
    }

    /// Tells what has changed, and feeds the watchdog when it is time.
    pub(crate) fn publish(&mut self, now: Tick, out: &mut Vec<Action>) {
        if matches!(self.life, Life::Over) {
            return;
        }
        let standing = self.standing();
        if self.told != Some(standing) {
            self.told = Some(standing);
            out.push(Action::Publish(standing));
        }
        if let Some(period) = self.plan.watchdog
            && self.next_feed <= now
        {
            self.next_feed = now + period;
            out.push(Action::FeedWatchdog);
        }
    }
}
