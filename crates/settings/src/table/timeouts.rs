//! How long something may last.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Zero};

pub(super) const ALL: &[Setting] = &[
    TIMEOUT,
    REQUEST_TIMEOUT,
    SLOW_REQUEST_LOG,
    GRACEFUL_TIMEOUT,
    BOOT_TIMEOUT,
    KEEPALIVE,
    HEAD_TIMEOUT,
    BODY_TIMEOUT,
    WRITE_TIMEOUT,
];

pub(crate) const TIMEOUT: Setting = Setting {
    name: "timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Never),
    default: "30",
    flags: &["timeout"],
    short_flag: Some('t'),
    short: "Time after which a hung worker is replaced; 0 = never",
    long: "\
`sync`: a request ran this long. Other classes: the whole loop stood still this long; a request that \
merely waits may last longer.",
    ..FULL
};

pub(crate) const REQUEST_TIMEOUT: Setting = Setting {
    name: "request_timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Never),
    default: "0",
    flags: &["request-timeout"],
    gunicorn: false,
    short: "Time that one request may take, in every worker class; 0 = no limit",
    long: "\
The client is answered 504, or cut off if its response has begun. `gevent` raises \
`remuda.RequestTimeout` in the request's greenlet, `asgi` cancels its task: other requests are not \
touched. `gthread` raises it in the request's thread and replaces the worker gracefully. `sync` is \
the same as a shorter `timeout`. A request that goes on all the same has its worker replaced. \
`environ[\"remuda.extend_timeout\"](seconds)`, in ASGI \
`scope[\"extensions\"][\"remuda.extend_timeout\"]`, gives the request more time. WebSocket connections \
have no such limit once they are accepted.",
    ..FULL
};

pub(crate) const SLOW_REQUEST_LOG: Setting = Setting {
    name: "slow_request_log",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Never),
    default: "0",
    flags: &["slow-request-log"],
    gunicorn: false,
    short: "Time after which a request's stack is written to the error log, once; 0 = never",
    long: "The request goes on. Also tells of a loop that stands still for so long.",
    ..FULL
};

pub(crate) const GRACEFUL_TIMEOUT: Setting = Setting {
    name: "graceful_timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::AtOnce),
    default: "30",
    flags: &["graceful-timeout"],
    short: "Time that a worker gets to finish its requests at stop, reload or replacement",
    long: "Choose less than the platform waits before it kills the whole service.",
    ..FULL
};

pub(crate) const BOOT_TIMEOUT: Setting = Setting {
    name: "boot_timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Refused),
    default: "300",
    flags: &["boot-timeout"],
    gunicorn: false,
    short: "Time for the app's import and for the start of a worker",
    ..FULL
};

pub(crate) const KEEPALIVE: Setting = Setting {
    name: "keepalive",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::AtOnce),
    default: "75",
    flags: &["keep-alive"],
    short: "Time that an idle connection is kept; 0 = close after each response",
    long: "\
gunicorn's default is 2, which is shorter than the routers of most platforms keep a connection, so \
that they now and then send a request into one that is just being closed. Ours outlives them.",
    ..FULL
};

pub(crate) const HEAD_TIMEOUT: Setting = Setting {
    name: "head_timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Refused),
    default: "30",
    flags: &["head-timeout"],
    gunicorn: false,
    short: "Time that a client may take for a request's head",
    long: "\
With the first request that includes what comes before it: a PROXY header, the handshake of TLS.",
    ..FULL
};

pub(crate) const BODY_TIMEOUT: Setting = Setting {
    name: "body_timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Refused),
    default: "60",
    flags: &["body-timeout"],
    gunicorn: false,
    short: "Time that a client may pause within a request's body",
    ..FULL
};

pub(crate) const WRITE_TIMEOUT: Setting = Setting {
    name: "write_timeout",
    group: Group::TimeLimits,
    kind: Kind::Seconds(Zero::Refused),
    default: "60",
    flags: &["write-timeout"],
    gunicorn: false,
    short: "Time that a client may pause while it reads a response",
    ..FULL
};
