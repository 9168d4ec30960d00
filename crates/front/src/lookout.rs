//! Sees to it that nobody waits for a worker that is busy while another one is idle.
//!
//! A thread of its own, without Python: it waits until the front's epoll instance has news, and
//! looks a moment later whether the front has come to collect them. If not, the worker is stuck in
//! a long request; then every connection with a new request that nobody has begun to read goes to
//! the siblings by the [`Relay`], and is served there. On a worker that comes round in time the
//! thread does nothing but wake up every [`MOMENT`].
//!
//! When the front does not come round for as long as `Limits::stuck`, the app hangs where not even an
//! exception reaches it. Then the thread answers 504 on plain connections, before the process is
//! killed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::claim::Claim;
use crate::handover::HOPS_MAX;
use crate::poller::Poller;
use crate::relay::Relay;

/// How long a request may hold up others before they are passed on.
const MOMENT: Duration = Duration::from_millis(2);
/// How long the lookout of a stuck worker waits for new requests before it looks at the worker again.
const WATCH: Duration = Duration::from_millis(20);
/// How often the front is looked at when nothing else happens.
const GLANCE: Duration = Duration::from_millis(500);
/// Also fit for HEAD.
const GATEWAY_TIMEOUT: &[u8] = b"HTTP/1.1 504 Gateway Timeout\r\nServer: remuda\r\n\
    Connection: close\r\nContent-Length: 0\r\n\r\n";
/// Before the lookout looks again whether a sibling is idle: as long again as it has waited so far,
/// within these bounds. Each look costs the busy worker more than itself, since it shares a core.
const NOBODY_IDLE: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(4)];
const STACK_BYTES: usize = 128 * 1024;

/// The front's side of its lookout.
#[derive(Debug)]
pub(crate) struct Lookout(Arc<Shared>);

/// Place and serial number of a connection.
pub(crate) type Key = (usize, u32);

#[derive(Debug)]
struct Shared {
    poller: Arc<Poller>,
    /// Where connections go; `None` = there are no siblings.
    relay: Option<Arc<Relay>>,
    claims: Mutex<BTreeMap<Key, Arc<Claim>>>,
    /// Connections that were passed on, for the front to forget.
    passed: Mutex<Vec<Key>>,
    any_passed: AtomicBool,
    /// The siblings do not count this worker at the moment.
    counted_out: AtomicBool,
    /// Moves whenever the front collects.
    rounds: AtomicU64,
    over: AtomicBool,
    /// Held while a connection is passed on.
    may_pass: Mutex<bool>,
    /// See [`crate::Limits::stuck`].
    stuck: Option<Duration>,
    /// What the app has asked for beyond that.
    patience_ns: AtomicU64,
}

impl Lookout {
    /// Starts the thread. To be called after the last fork.
    ///
    /// # Errors
    ///
    /// The kernel has no room for a thread.
    pub(crate) fn start(
        poller: Arc<Poller>,
        relay: Option<Arc<Relay>>,
        stuck: Option<Duration>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            poller,
            relay,
            claims: Mutex::default(),
            passed: Mutex::default(),
            any_passed: AtomicBool::new(false),
            counted_out: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            over: AtomicBool::new(false),
            may_pass: Mutex::new(true),
            stuck,
            patience_ns: AtomicU64::new(0),
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("remuda-lookout".into());
        // Signals are for Python's main thread, which they must wake; a thread inherits its mask.
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let started = thread.stack_size(STACK_BYTES).spawn(move || theirs.keep_watch());
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        started?;
        Ok(Self(shared))
    }

    /// Whether there are siblings that it passes connections on to.
    pub(crate) fn passes_on(&self) -> bool {
        self.0.relay.is_some()
    }

    /// The front comes round; connections that were passed on meanwhile.
    pub(crate) fn come_round(&self) -> Vec<Key> {
        self.0.rounds.fetch_add(1, Ordering::Release);
        self.0.patience_ns.store(0, Ordering::Release);
        if self.0.any_passed.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut *lock(&self.0.passed))
        } else {
            Vec::new()
        }
    }

    /// Whether the front has come round after it was counted out, and has to be counted again.
    pub(crate) fn was_counted_out(&self) -> bool {
        // Asked with each round of a busy front, and hardly ever so.
        self.0.counted_out.load(Ordering::Relaxed)
            && self.0.counted_out.swap(false, Ordering::AcqRel)
    }

    /// Passes nothing on any more; what it has passed on lies in the relay when this returns.
    pub(crate) fn pass_no_more(&self) {
        *lock(&self.0.may_pass) = false;
    }

    /// The app asks for patience until the front comes round again.
    pub(crate) fn put_off(&self, length: Duration) {
        let more = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX / 2);
        let add = |patience: u64| Some(patience.saturating_add(more));
        let _ = self.0.patience_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// A connection that may be free at times.
    pub(crate) fn add(&self, key: Key, claim: Arc<Claim>) {
        lock(&self.0.claims).insert(key, claim);
    }

    pub(crate) fn remove(&self, key: Key) {
        lock(&self.0.claims).remove(&key);
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

/// A thread that panics ends the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the front has not come round.
struct Standing {
    rounds: u64,
    length: Duration,
    looked: Instant,
}

impl Shared {
    fn keep_watch(&self) {
        let mut standing = Standing { rounds: 0, length: Duration::ZERO, looked: Instant::now() };
        while !self.over.load(Ordering::Acquire) {
            match &self.relay {
                Some(relay) if self.has_news(self.stuck.map(|_| GLANCE)) => {
                    self.help_those_who_wait(relay, &mut standing);
                }
                Some(_) => {}
                None => std::thread::sleep(GLANCE),
            }
            self.look_at_front(&mut standing);
        }
    }

    /// The front has not collected yet what is ready: as long as it does not, others do.
    fn help_those_who_wait(&self, relay: &Relay, standing: &mut Standing) {
        let seen = self.rounds.load(Ordering::Acquire);
        std::thread::sleep(MOMENT);
        let mut pause = NOBODY_IDLE[0];
        let is_stuck =
            || self.rounds.load(Ordering::Acquire) == seen && !self.over.load(Ordering::Acquire);
        if is_stuck() {
            // However few connections it has, it takes none: they would send theirs round and round,
            // and nothing of what waits here would find the relay empty.
            relay.siblings().leave();
            self.counted_out.store(true, Ordering::Release);
        }
        while is_stuck() && self.has_news(Some(Duration::ZERO)) {
            self.pass_on_what_is_ready(relay, &is_stuck, &mut pause);
            self.look_at_front(standing);
        }
    }

    /// Answers for an app that does not come back, where Python cannot: it hangs in C code, and its
    /// process is about to be killed.
    fn look_at_front(&self, standing: &mut Standing) {
        let Some(limit) = self.stuck else { return };
        let now = Instant::now();
        let step = now.duration_since(std::mem::replace(&mut standing.looked, now));
        let rounds = self.rounds.load(Ordering::Acquire);
        if std::mem::replace(&mut standing.rounds, rounds) != rounds {
            standing.length = Duration::ZERO;
            return;
        }
        // More than that is not the app's: the whole machine stood still.
        standing.length += step.min(2 * GLANCE);
        let patience = Duration::from_nanos(self.patience_ns.load(Ordering::Acquire));
        if standing.length >= limit.saturating_add(patience) {
            let claims: Vec<_> = lock(&self.claims).values().cloned().collect();
            for claim in claims.iter().filter(|claim| claim.answer_instead()) {
                // Few bytes: they fit, or nobody reads.
                let _ = (&claim.socket).write_all(GATEWAY_TIMEOUT);
                let _ = claim.socket.shutdown(Shutdown::Write);
            }
        }
    }

    /// Waits until epoll has something that the front has not collected.
    fn has_news(&self, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(self.poller.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).is_ok_and(|count| count > 0)
    }

    /// Waits a while for requests on free connections, and passes those on that have one.
    fn pass_on_what_is_ready(
        &self,
        relay: &Relay,
        is_stuck: &dyn Fn() -> bool,
        pause: &mut Duration,
    ) {
        let free: Vec<_> = {
            let claims = lock(&self.claims);
            let free = claims.iter().filter(|(_, claim)| claim.is_free());
            free.map(|(key, claim)| (*key, claim.clone())).collect()
        };
        let mut fds: Vec<_> =
            free.iter().map(|(_, c)| PollFd::new(c.socket.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(WATCH).unwrap_or(PollTimeout::MAX);
        if !poll(&mut fds, timeout).is_ok_and(|count| count > 0) {
            return;
        }
        let is_ready = |fd: &PollFd<'_>| fd.any() == Some(true);
        let ready = free.iter().zip(&fds).filter(|(_, fd)| is_ready(fd)).map(|(free, _)| free);
        let mut ready: Vec<_> = ready.collect();
        // Guests last: each change of workers costs a connection its place in a line, and some would
        // go from one to the other for seconds while all are busy.
        ready.sort_by_key(|(_, claim)| claim.is_guest());
        for (key, claim) in ready {
            if !is_stuck() || !self.pass_on(relay, *key, claim, pause) {
                return;
            }
        }
    }

    /// False when no sibling is idle, or nobody is left to take anything out.
    fn pass_on(&self, relay: &Relay, key: Key, claim: &Claim, pause: &mut Duration) -> bool {
        if !relay.is_empty() {
            // What waits there already waits for all of them. Here it is no worse off, and may be
            // served by whoever is ready first.
            std::thread::sleep(*pause);
            *pause = (*pause * 2).min(NOBODY_IDLE[1]);
            return false;
        }
        let may_pass = lock(&self.may_pass);
        if !*may_pass {
            drop(may_pass);
            std::thread::sleep(WATCH);
            return false;
        }
        // The front was quicker.
        let Some(served) = claim.take() else { return true };
        // First, or events of it would go on coming here as long as a sibling has it open.
        let _ = self.poller.remove(&claim.socket);
        if relay.give(&claim.socket, claim.listener, served, HOPS_MAX).is_ok() {
            claim.give_away();
            lock(&self.claims).remove(&key);
            lock(&self.passed).push(key);
            self.any_passed.store(true, Ordering::Release);
            *pause = NOBODY_IDLE[0];
            return true;
        }
        let _ = self.poller.add_connection(&claim.socket, key.0, key.1);
        claim.release(served);
        false
    }
}
