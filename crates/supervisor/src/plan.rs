//! What the supervisor needs to know: resolved, immutable, all units fixed.

use std::time::Duration;

use crate::Limit;

/// The resolved wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Workers wanted at start.
    pub workers: u16,
    /// Workers that TTIN can reach.
    pub workers_max: u16,
    /// Extra workers that replacements may add to the pool at one time; at least 1.
    pub max_surge: u16,
    /// Requests after which a worker is recycled; 0 = never.
    pub max_requests: u64,
    /// Up to this many are added to `max_requests`, drawn for each worker.
    pub max_requests_jitter: u64,
    /// Time after which a worker is recycled; `None` = never.
    pub max_age: Option<Duration>,
    /// Up to so much is added to `max_age`, drawn for each worker.
    pub max_age_jitter: Duration,
    /// Private memory of one worker.
    pub worker_memory: Option<Limit>,
    /// Memory of all processes.
    pub total_memory: Option<Limit>,
    /// A request (sync) or a loop (other classes) that stands longer is hung; `None` = no limit.
    pub timeout: Option<Duration>,
    /// The oldest request may run this long before the worker is replaced, and all of them before
    /// it counts as hung; `None` = no limit. What a worker needs to break a request off by itself is
    /// included, so that this is for requests that do not let themselves be broken off.
    pub request_timeout: Option<Duration>,
    /// What would be hung at `timeout` shows its stacks after this time; `None` = it does not.
    pub slow_request_log: Option<Duration>,
    /// Time a draining worker gets to finish.
    pub graceful_timeout: Duration,
    /// Time a dirty arbiter gets to leave; `None` = there is none.
    pub dirty_grace: Option<Duration>,
    /// From fork to ready, and from a zygote's start to ready.
    pub boot_timeout: Duration,
    /// From the fork message to the zygote's answer.
    pub fork_timeout: Duration,
    /// Between the stack dump of a hung worker and its SIGABRT.
    pub dump_grace: Duration,
    /// Between SIGABRT or SIGQUIT and SIGKILL.
    pub abort_grace: Duration,
    /// A worker that was ready for this long before it died is replaced at once.
    pub stable_life: Duration,
    /// Wait after the first death before a stable life; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest such wait.
    pub backoff_max: Duration,
    /// So many early deaths within the window are a crash loop; 0 = there is no limit. Never less
    /// than two a worker.
    pub crash_loop_limit: u32,
    /// See there.
    pub crash_loop_window: Duration,
    /// A crash loop ends the service.
    pub crash_loop_exit: bool,
    /// After the first word of modules that are imported late, the app is loaded again with them,
    /// once; `None` = they wait for a reload that is asked for.
    pub refresh_after: Option<Duration>,
    /// After an edit of the code so much time passes without another before it is loaded again.
    pub edit_pause: Duration,
    /// It is loaded again no later than so long after the first of several edits.
    pub edit_patience: Duration,
    /// How often the service manager's watchdog is fed; `None` = there is none.
    pub watchdog: Option<Duration>,
    /// The process whose end is the end of the container; it cannot hand over to another.
    pub is_pid_1: bool,
    /// Another master serves beside this one, and will leave for it.
    pub is_heir: bool,
    /// Seed of the jitter.
    pub seed: u64,
}

/// What samples of a worker are held against; see [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`Plan::timeout`].
    pub timeout: Option<Duration>,
    /// See [`Plan::request_timeout`].
    pub request_timeout: Option<Duration>,
    /// See [`Plan::slow_request_log`].
    pub slow_request_log: Option<Duration>,
}

impl Limits {
    /// The longer of each two; `None` is longer than any.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        let longer = |one: Option<Duration>, other: Option<Duration>| Some(one?.max(other?));
        Self {
            timeout: longer(self.timeout, other.timeout),
            request_timeout: longer(self.request_timeout, other.request_timeout),
            slow_request_log: longer(self.slow_request_log, other.slow_request_log),
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 1,
            workers_max: 512,
            max_surge: 1,
            max_requests: 0,
            max_requests_jitter: 0,
            max_age: None,
            max_age_jitter: Duration::ZERO,
            worker_memory: None,
            total_memory: None,
            timeout: Some(Duration::from_secs(30)),
            request_timeout: None,
            slow_request_log: None,
            graceful_timeout: Duration::from_secs(30),
            dirty_grace: None,
            boot_timeout: Duration::from_secs(300),
            fork_timeout: Duration::from_secs(10),
            dump_grace: Duration::from_millis(300),
            abort_grace: Duration::from_secs(2),
            stable_life: Duration::from_secs(10),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            crash_loop_limit: 20,
            crash_loop_window: Duration::from_secs(60),
            crash_loop_exit: false,
            refresh_after: None,
            edit_pause: Duration::from_millis(100),
            edit_patience: Duration::from_secs(1),
            watchdog: None,
            is_pid_1: false,
            is_heir: false,
            seed: 1,
        }
    }
}

impl Plan {
    /// Whether memory has to be measured.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.worker_memory.or(self.total_memory).is_some()
    }

    /// Lines of the scoreboard, which is made by the first plan. A slot can hold a worker, its
    /// successor, and predecessors that still drain.
    #[must_use]
    pub fn lines(&self) -> u16 {
        self.workers_max.saturating_mul(2).saturating_add(self.max_surge)
    }

    /// What samples are held against.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Self { timeout, request_timeout, slow_request_log, .. } = *self;
        Limits { timeout, request_timeout, slow_request_log }
    }

    /// The shortest and the longest of the limits for what samples show; `None` = there is none, and
    /// nobody has to be sampled.
    #[must_use]
    pub fn watched(&self) -> Option<(Duration, Duration)> {
        let limits = [self.timeout, self.request_timeout, self.slow_request_log];
        let limits = || limits.into_iter().flatten();
        limits().min().zip(limits().max())
    }
}
