//! Notices when we ourselves stood still (a frozen container, a suspended machine, SIGSTOP).
//!
//! What froze us has often frozen the workers too, while the clock ran on: all of them then look
//! hung although none is. So after a gap between two events of more than half the timeout, and
//! more than [`GAP_MIN`], nobody is judged for a moment ([`BLIND_MAX`] at most), in which a
//! worker that is alive gets to write to the scoreboard. One that truly hangs is judged in the
//! next sampling round. The runtime samples every second or more often, so that a gap without
//! cause does not occur while there are workers.

use std::time::Duration;

use crate::Tick;

/// A gap below this is scheduling, not standing still.
const GAP_MIN: Duration = Duration::from_secs(2);
/// Longest time in which nobody is judged: about one sampling round.
const BLIND_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standstill {
    last_event: Option<Tick>,
    blind_until: Option<Tick>,
}

impl Standstill {
    /// Looks at the time of every event.
    pub(crate) fn observe(&mut self, now: Tick, timeout: Option<Duration>) {
        if let (Some(last_event), Some(timeout)) = (self.last_event, timeout)
            && now.since(last_event) > (timeout / 2).max(GAP_MIN)
        {
            self.blind_until = Some(now + (timeout / 2).min(BLIND_MAX));
        }
        self.last_event = Some(now);
    }

    /// Whether workers may be judged now.
    pub(crate) fn is_over(&self, now: Tick) -> bool {
        self.blind_until.is_none_or(|until| until <= now)
    }
}
