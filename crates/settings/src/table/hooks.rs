//! Functions of a Python file that are called at moments of the service's life. None has a flag.
//!
//! `python/remuda/hooks.py` calls them; `docs/design/040-hooks.md` says in which process, and why.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

const fn hook(name: &'static str, arity: &'static [u8], short: &'static str) -> Setting {
    Setting { name, group: Group::Hooks, kind: Kind::Hook(arity), short, ..FULL }
}

/// The hooks of gunicorn's master, which the herald calls; the others are called in zygotes and workers.
pub const HERALD_HOOKS: [&str; 7] = [
    "on_starting",
    "on_reload",
    "when_ready",
    "child_exit",
    "nworkers_changed",
    "pre_exec",
    "on_exit",
];

pub(super) const ALL: &[Setting] = &[
    hook("on_starting", &[1], "`(server)`, before the sockets are bound"),
    hook("on_reload", &[1], "`(server)`, when a reload has read the settings again"),
    hook("when_ready", &[1], "`(server)`, when the sockets are bound, before there are workers"),
    hook("pre_fork", &[2], "`(server, worker)`, in the zygote, before a worker is forked"),
    hook("post_fork", &[2], "`(server, worker)`, in the worker, before it does anything else"),
    hook("post_worker_init", &[1], "`(worker)`, in the worker, when it has the app"),
    hook("worker_int", &[1], "`(worker)`, in the worker, at INT or QUIT"),
    hook("worker_abort", &[1], "`(worker)`, in the worker, at ABRT: it hangs and is given up"),
    hook("pre_exec", &[1], "`(server)`, at USR2, before the new master is started"),
    hook("pre_request", &[2], "`(worker, request)`, in the worker, before each request"),
    hook(
        "post_request",
        &[2, 3, 4],
        "`(worker, request[, environ[, response]])`, in the worker, after each request",
    ),
    hook("child_exit", &[2], "`(server, worker)`, when a worker is gone"),
    hook("worker_exit", &[2], "`(server, worker)`, in the worker, when it leaves by itself"),
    hook("nworkers_changed", &[3], "`(server, new, old)`, when the number of workers is set"),
    hook("on_dirty_starting", &[1], "`(arbiter)`, in the dirty arbiter, before it begins"),
    hook("dirty_post_fork", &[2], "`(arbiter, worker)`, in the dirty arbiter, after each fork"),
    hook("dirty_worker_init", &[1], "`(worker)`, in the dirty worker, when it has its apps"),
    hook("dirty_worker_exit", &[2], "`(arbiter, worker)`, in the dirty arbiter, when one is gone"),
    hook("on_exit", &[1], "`(server)`, the last thing of all"),
    SSL_CONTEXT,
];

pub(crate) const SSL_CONTEXT: Setting = Setting {
    long: "\
It returns an `ssl.SSLContext`; `factory()` makes one as the settings of TLS say. The zygote calls it \
once, when there is `certfile` or `keyfile`, before the app is imported and before `user` counts. \
rustls makes the handshakes: it takes versions, suites, certificates with their keys and passwords, \
authorities, `verify_mode`, ALPN, the curve and whether there are tickets from the context. What it \
cannot do, such as `sni_callback`, is one error at the start.",
    ..hook("ssl_context", &[2], "`(config, factory)`, in the zygote, makes what TLS is done with")
};
