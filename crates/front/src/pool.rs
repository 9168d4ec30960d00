//! Threads that share one front: a leader and its followers.
//!
//! Whoever finds a request runs it. One thread at a time *watches*: it waits in epoll, without the
//! lock that the front is behind. The others are *parked* on a condition variable. While requests
//! are quick, the watcher serves them all by itself, and no request is ever handed from thread to
//! thread: that alone would cost more than a small request.
//!
//! When a request blocks, nobody watches any more. So one parked thread stands by: as long as
//! somebody runs requests it looks every [`TICK`], without that lock, whether the others still come
//! round. If not, it goes to work, and the next one stands by.
//!
//! The watcher learns of nothing but what the kernel tells it. So whoever takes events from the
//! kernel without serving them (a sweep), or parks while something is left in the queues, has to
//! [`ring`](crate::Front::ring) for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a request may hold up those behind it before another thread takes over.
const TICK: Duration = Duration::from_millis(1);

/// Who watches, who is parked, and who stands by.
#[derive(Debug, Default)]
pub struct Pool {
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
    pub fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the caller is the one that watches from now on; else it should park.
    #[must_use]
    pub fn start_watching(&self) -> bool {
        !std::mem::replace(&mut self.state().watching, true)
    }

    /// The watcher has something to do.
    pub fn stop_watching(&self) {
        let mut state = self.state();
        state.watching = false;
        if state.parked > 0 && !state.standing_by {
            self.wake.notify_one();
        }
    }

    /// Waits until this thread is needed. To be called without the lock that the front is behind.
    pub fn park(&self) {
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
    pub fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    const THREADS: usize = 4;

    /// Jobs in a queue, for threads that go round as a worker's do. A stand-in for epoll: whoever
    /// watches finds that there is nothing more to come.
    fn go_round(pool: &Pool, jobs: &AtomicUsize, run: impl Fn()) {
        let take = |left: usize| left.checked_sub(1);
        loop {
            pool.turn();
            if jobs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                run();
            } else if pool.start_watching() {
                pool.stop_watching();
                return pool.close();
            } else {
                pool.park();
            }
        }
    }

    #[test]
    fn one_thread_at_a_time_watches() {
        let pool = Pool::default();
        assert!(pool.start_watching());
        assert!(!pool.start_watching());
        pool.stop_watching();
        assert!(pool.start_watching());
    }

    #[test]
    fn when_every_request_blocks_every_thread_comes_to_work() {
        let (pool, jobs) = (Pool::default(), AtomicUsize::new(0));
        // Nobody gets past it before all of them run a job.
        let all_at_once = Barrier::new(THREADS);
        let meet = || _ = all_at_once.wait();
        assert!(pool.start_watching());
        thread::scope(|scope| {
            for _ in 1..THREADS {
                scope.spawn(|| {
                    pool.park();
                    go_round(&pool, &jobs, meet);
                });
            }
            while pool.state().parked < THREADS - 1 {
                thread::yield_now();
            }
            jobs.store(5 * THREADS, Ordering::SeqCst);
            pool.stop_watching();
            go_round(&pool, &jobs, meet);
        });
        assert_eq!(jobs.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_thread_that_comes_back_takes_the_watch_that_nobody_has() {
        let (pool, jobs) = (Pool::default(), AtomicUsize::new(1));
        let (blocked, watched) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                go_round(&pool, &jobs, || {
                    blocked.wait();
                    watched.wait();
                });
            });
            blocked.wait();
            // This one works beside the blocked one, and watches: that one has to park.
            assert!(pool.start_watching());
            watched.wait();
            while pool.state().parked == 0 {
                thread::yield_now();
            }
            pool.stop_watching();
            // Nobody comes round any more, so it has to come and watch; it ends the pool then.
            while !pool.state().closed {
                thread::yield_now();
            }
        });
    }

    #[test]
    fn all_threads_leave_a_closed_pool() {
        let pool = Pool::default();
        assert!(pool.start_watching());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| pool.park());
            }
            while pool.state().parked < THREADS {
                thread::yield_now();
            }
            pool.close();
        });
        assert_eq!(pool.state().parked, 0);
    }
}
