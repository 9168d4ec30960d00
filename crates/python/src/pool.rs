//! Threads that share one front: a leader and its followers.
//!
//! Whoever finds a request runs it. One thread at a time *watches*: it waits in epoll, without the
//! interpreter's lock. The others are *parked* on a condition variable. While requests are quick,
//! the watcher serves them all by itself, and no request is ever handed from thread to thread:
//! that alone would cost more than a small request.
//!
//! When a request blocks, nobody watches any more. So one parked thread stands by: as long as
//! somebody runs requests it looks every [`TICK`], without the interpreter's lock, whether the
//! others still come round. If not, it goes to work, and the next one stands by.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a request may hold up those behind it before another thread takes over.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    /// Moves whenever a thread looks for work.
    turns: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// A thread waits in epoll.
    watching: bool,
    /// A parked thread looks after those that run requests.
    standing_by: bool,
    parked: usize,
    closed: bool,
}

impl Pool {
    /// To be called whenever a thread looks for work.
    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the caller is the one that watches from now on; else it should park.
    pub(crate) fn start_watching(&self) -> bool {
        !std::mem::replace(&mut self.state().watching, true)
    }

    /// The watcher has something to do.
    pub(crate) fn stop_watching(&self) {
        let mut state = self.state();
        state.watching = false;
        if state.parked > 0 && !state.standing_by {
            self.wake.notify_one();
        }
    }

    /// Waits until this thread is needed. To be called without the interpreter's lock.
    pub(crate) fn park(&self) {
        let mut state = self.state();
        state.parked += 1;
        while !state.closed {
            if state.watching || state.standing_by {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let seen = self.turns.load(Ordering::Relaxed);
            state.standing_by = true;
            let (after, _) =
                self.wake.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.standing_by = false;
            if !state.watching && seen == self.turns.load(Ordering::Relaxed) {
                break;
            }
        }
        state.parked -= 1;
        // The next one stands by while this one works.
        if state.parked > 0 {
            self.wake.notify_one();
        }
    }

    /// Nobody is needed any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
