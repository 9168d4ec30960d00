//! gunicorn's settings that only a Python file can hold, and that this version does not act on.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Support};

const fn dirty(name: &'static str, short: &'static str) -> Setting {
    value(name, Group::Hooks, short, "there are no dirty workers here")
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
    value("default_proc_name", Group::Process, "Process title", "titles stay as they are"),
    dirty("on_dirty_starting", "Before dirty workers start"),
    dirty("dirty_post_fork", "After a dirty worker was forked"),
    dirty("dirty_worker_init", "When a dirty worker has loaded its apps"),
    dirty("dirty_worker_exit", "When a dirty worker exits"),
];
