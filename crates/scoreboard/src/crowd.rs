//! How many connections each worker holds, so that nobody takes more than a fair share of new ones.

use std::time::Duration;

use crate::line::{CONNECTIONS, LOOP_BEAT, NOT_IN_THE_CROWD, OLDEST_START, PID};
use crate::sync::{Ordering, store};
use crate::{Board, now_ns};

/// A worker that has not come round for so long is stuck or dead, and its count says nothing.
const BEAT_MAX: Duration = Duration::from_millis(2500);

/// One that serves one request at a time and is in it for so long takes no connection now: its own
/// have gone to the others, who must not send theirs round to each other for that.
const BUSY_MAX: Duration = Duration::from_millis(5);

/// One worker among its siblings.
#[derive(Clone, Debug)]
pub struct Crowd {
    board: Board,
    line: u16,
    serial: bool,
}

impl Crowd {
    /// `serial`: workers serve one request at a time.
    pub(crate) fn new(board: Board, line: u16, serial: bool) -> Self {
        Self { board, line, serial }
    }

    /// Says how many connections this worker holds.
    pub fn hold(&self, connections: usize) {
        self.say(connections as u64);
    }

    /// Says that this worker takes no more.
    pub fn leave(&self) {
        self.say(NOT_IN_THE_CROWD);
    }

    fn say(&self, connections: u64) {
        if let Some(words) = self.board.words(self.line) {
            store(&words[CONNECTIONS], connections, Ordering::Relaxed);
        }
    }

    /// The fewest connections that a living sibling holds; `None` without siblings.
    #[must_use]
    pub fn fewest(&self) -> Option<usize> {
        let now = now_ns();
        let siblings = (0..self.board.lines()).filter_map(|line| u16::try_from(line).ok());
        let counts = siblings.filter(|line| *line != self.line).filter_map(|line| {
            let words = self.board.words(line)?;
            // Most lines are nobody's.
            if words[PID].load(Ordering::Relaxed) == 0 {
                return None;
            }
            let beat = words[LOOP_BEAT].load(Ordering::Relaxed);
            let is_fresh = now.saturating_sub(beat) <= BEAT_MAX.as_nanos() as u64;
            let start = words[OLDEST_START].load(Ordering::Relaxed);
            let is_stuck = start > 0 && now.saturating_sub(start) > BUSY_MAX.as_nanos() as u64;
            if self.serial && is_stuck {
                return None;
            }
            let count = words[CONNECTIONS].load(Ordering::Relaxed);
            (is_fresh && count != NOT_IN_THE_CROWD).then_some(count)
        });
        counts.min().and_then(|count| usize::try_from(count).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_dead_stuck_or_leaving_does_not_count() {
        let (board, _fd) = Board::create(5).expect("board");
        let now = now_ns();
        let crowd = |line| board.crowd(line, true);
        let long_ago = now - Duration::from_secs(3).as_nanos() as u64;
        for (line, beat) in [(0, now), (1, now), (2, now), (3, long_ago)] {
            board.writer(line).expect("line").claim(u32::from(line) + 1, beat);
        }
        crowd(0).hold(1);
        crowd(1).hold(7);
        crowd(2).leave();
        crowd(3).hold(0);
        assert_eq!(crowd(0).fewest(), Some(7), "neither its own count nor those of the others");
        assert_eq!(crowd(1).fewest(), Some(1));
        let writer = board.writer(1).expect("line");
        let _long = writer.begin(long_ago, "GET", "/slow");
        assert_eq!(crowd(0).fewest(), None, "it is busy");
        assert_eq!(board.crowd(0, false).fewest(), Some(7), "it can do more than one thing");
        crowd(1).leave();
        assert_eq!(board.crowd(0, false).fewest(), None);
    }
}
