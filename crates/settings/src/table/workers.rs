//! How many workers, of which class, and when they are replaced.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Zero};

/// What a scoreboard has room for.
pub(crate) const WORKERS_MAX: u64 = 512;

pub(super) const ALL: &[Setting] = &[
    WORKERS,
    WORKER_CLASS,
    THREADS,
    WORKER_CONNECTIONS,
    MAX_REQUESTS,
    MAX_REQUESTS_JITTER,
    MAX_WORKER_AGE,
    MAX_WORKER_AGE_JITTER,
    MAX_SURGE,
    CRASH_LOOP_LIMIT,
    CRASH_LOOP_WINDOW,
    CRASH_LOOP_EXIT,
    PRELOAD_APP,
    FORK_CHECK,
];

pub(crate) const WORKERS: Setting = Setting {
    name: "workers",
    group: Group::Workers,
    kind: Kind::Workers { max: WORKERS_MAX },
    default: "1",
    flags: &["workers"],
    short_flag: Some('w'),
    platform_variable: Some("WEB_CONCURRENCY"),
    short: "Number of worker processes",
    long: "\
Workers share the memory of the imported app, so that one more costs little. `auto` counts the CPUs that \
the control group and the affinity allow: twice as many and one for `sync`, as many (at least two) for \
the other classes, and not more than memory has room for. The log says how it came to the number; a \
reload counts again.",
    ..FULL
};

pub(crate) const WORKER_CLASS: Setting = Setting {
    name: "worker_class",
    group: Group::Workers,
    kind: Kind::WorkerClass,
    default: "sync",
    flags: &["worker-class"],
    short_flag: Some('k'),
    short: "How a worker runs the app: `sync`, `gthread`, `gevent` or `asgi`",
    long: "\
`sync` runs one request at a time, `gthread` as many as it has threads, `gevent` many that wait for \
something. `asgi` is for ASGI apps. `gevent_wsgi`, `gevent_pywsgi`, gunicorn's class paths for these \
and uvicorn's worker classes are known too. Other classes of gunicorn get an error that names what \
to use.",
    ..FULL
};

pub(crate) const THREADS: Setting = Setting {
    name: "threads",
    group: Group::Workers,
    kind: Kind::Whole { min: 1, max: 4096 },
    default: "1",
    flags: &["threads"],
    short: "Threads per worker that run requests",
    long: "More than 1 turns `sync` into `gthread`, as in gunicorn; other classes have one.",
    ..FULL
};

pub(crate) const WORKER_CONNECTIONS: Setting = Setting {
    name: "worker_connections",
    group: Group::Workers,
    kind: Kind::Whole { min: 1, max: 1_000_000 },
    default: "1000",
    flags: &["worker-connections"],
    short: "Open connections per worker, at most",
    long: "Near the limit, idle connections are closed first.",
    ..FULL
};

pub(crate) const MAX_REQUESTS: Setting = Setting {
    name: "max_requests",
    group: Group::Workers,
    kind: Kind::Whole { min: 0, max: u64::MAX >> 1 },
    default: "0",
    flags: &["max-requests"],
    short: "Requests after which a worker is replaced; 0 = never",
    long: "The replacement is ready before the old worker goes.",
    ..FULL
};

pub(crate) const MAX_REQUESTS_JITTER: Setting = Setting {
    name: "max_requests_jitter",
    group: Group::Workers,
    kind: Kind::Whole { min: 0, max: u64::MAX >> 1 },
    default: "0",
    flags: &["max-requests-jitter"],
    short: "Up to this many are added to `max_requests`, drawn anew for each worker",
    ..FULL
};

pub(crate) const MAX_WORKER_AGE: Setting = Setting {
    name: "max_worker_age",
    group: Group::Workers,
    kind: Kind::Seconds(Zero::Never),
    default: "0",
    flags: &["max-worker-age"],
    gunicorn: false,
    short: "Time after which a worker is replaced; 0 = never",
    long: "Counted from when it took requests. The replacement is ready before it goes.",
    ..FULL
};

pub(crate) const MAX_WORKER_AGE_JITTER: Setting = Setting {
    name: "max_worker_age_jitter",
    group: Group::Workers,
    kind: Kind::Seconds(Zero::AtOnce),
    default: "0",
    flags: &["max-worker-age-jitter"],
    gunicorn: false,
    short: "Up to so much is added to `max_worker_age`, drawn anew for each worker",
    ..FULL
};

pub(crate) const MAX_SURGE: Setting = Setting {
    name: "max_surge",
    group: Group::Workers,
    kind: Kind::Whole { min: 1, max: WORKERS_MAX },
    default: "1",
    flags: &["max-surge"],
    gunicorn: false,
    short: "Workers that replacements may add for a while, at most",
    long: "Higher is faster at a reload, and takes more memory meanwhile.",
    ..FULL
};

pub(crate) const CRASH_LOOP_LIMIT: Setting = Setting {
    name: "crash_loop_limit",
    group: Group::Workers,
    kind: Kind::Whole { min: 0, max: 10_000 },
    default: "20",
    flags: &["crash-loop-limit"],
    gunicorn: false,
    short: "Early deaths of workers that make a crash loop; 0 = never",
    long: "\
An early death is one in the boot, or within ten seconds after it, that nobody asked for. After \
each, the next worker in its place waits longer, from 0.1 s to 30 s. So many of them within \
`crash_loop_window`, and at least two for each worker, are a crash loop: from then on one worker is \
started at a time, spread over the window, and the log gets a summary once a window. It ends when a \
worker has lived for ten seconds, or with a reload.",
    ..FULL
};

pub(crate) const CRASH_LOOP_WINDOW: Setting = Setting {
    name: "crash_loop_window",
    group: Group::Workers,
    kind: Kind::Seconds(Zero::Refused),
    default: "60",
    flags: &["crash-loop-window"],
    gunicorn: false,
    short: "Time within which the deaths of `crash_loop_limit` count",
    ..FULL
};

pub(crate) const CRASH_LOOP_EXIT: Setting = Setting {
    name: "crash_loop_exit",
    group: Group::Workers,
    kind: Kind::Switch,
    default: "false",
    flags: &["crash-loop-exit"],
    gunicorn: false,
    short: "Leave when there is a crash loop, with exit status 69",
    long: "\
For platforms that start the service again somewhere else, or roll back. Without it, remuda keeps \
trying; workers that still serve go on.",
    ..FULL
};

pub(crate) const PRELOAD_APP: Setting = Setting {
    name: "preload_app",
    group: Group::Workers,
    kind: Kind::Switch,
    flags: &["preload"],
    short: "Import the app once, before workers are forked",
    long: "\
Unset: import once, unless the app left something behind that a fork would break (a thread, a \
connection); then each worker imports it. `true`: once in any case. `false`: in each worker.",
    ..FULL
};

pub(crate) const FORK_CHECK: Setting = Setting {
    name: "fork_check",
    group: Group::Workers,
    kind: Kind::Choice(&["auto", "warn", "refuse", "off"]),
    default: "auto",
    flags: &["fork-check"],
    gunicorn: false,
    short: "What to do when the imported app has something that a fork would break",
    long: "\
Before workers are forked, remuda looks for threads, connections, event loops, gRPC and gevent's hub. \
`auto`: each worker imports the app by itself, unless `preload_app` is true. `warn`: fork nevertheless. \
`refuse`: the start fails with exit status 65, a reload is given up. `off`: do not look. What is found \
stands in the log, with what breaks and how to fix it.",
    ..FULL
};
