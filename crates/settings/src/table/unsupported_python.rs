//! gunicorn's settings that only a Python file can hold: hooks and tables. None has a flag.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Support};

const WHY: &str =
    "it is a function of a Python configuration file, which this version does not read";

const fn hook(name: &'static str, short: &'static str) -> Setting {
    let support = Support::Ignored { why: WHY };
    Setting { name, group: Group::Hooks, kind: Kind::Python, short, support, ..FULL }
}

const fn value(
    name: &'static str,
    group: Group,
    short: &'static str,
    why: &'static str,
) -> Setting {
    Setting { name, group, kind: Kind::Python, short, support: Support::Ignored { why }, ..FULL }
}

pub(super) const ALL: &[Setting] = &[
    value(
        "logconfig_dict",
        Group::Logging,
        "Logging configuration",
        "remuda writes its own log; the app's logging is not touched",
    ),
    value("default_proc_name", Group::Process, "Process title", "titles stay as they are"),
    hook("on_starting", "Before the master starts"),
    hook("on_reload", "At a reload"),
    hook("when_ready", "When the master is ready"),
    hook("pre_fork", "Before a worker is forked"),
    hook("post_fork", "After a worker was forked"),
    hook("post_worker_init", "When a worker has loaded the app"),
    hook("worker_int", "When a worker gets INT or QUIT"),
    hook("worker_abort", "When a worker gets ABRT"),
    hook("pre_exec", "Before the master is replaced by a new one"),
    hook("pre_request", "Before each request"),
    hook("post_request", "After each request"),
    hook("child_exit", "When a worker has exited, in the master"),
    hook("worker_exit", "When a worker exits, in the worker"),
    hook("nworkers_changed", "When the number of workers has changed"),
    hook("on_exit", "Before the master exits"),
    value(
        "ssl_context",
        Group::Hooks,
        "Makes the TLS context",
        "TLS is rustls here, not Python's ssl; see `certfile`, `ca_certs`, `cert_reqs` and `ciphers`",
    ),
    hook("on_dirty_starting", "Before dirty workers start"),
    hook("dirty_post_fork", "After a dirty worker was forked"),
    hook("dirty_worker_init", "When a dirty worker has loaded its apps"),
    hook("dirty_worker_exit", "When a dirty worker exits"),
];
