//! gunicorn's processes for long jobs. The package gunicorn runs them; `docs/guide/dirty-workers.md`.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Zero};

pub(super) const ALL: &[Setting] =
    &[DIRTY_APPS, DIRTY_WORKERS, DIRTY_TIMEOUT, DIRTY_THREADS, DIRTY_GRACEFUL_TIMEOUT];

pub(crate) const DIRTY_APPS: Setting = Setting {
    name: "dirty_apps",
    group: Group::Dirty,
    kind: Kind::List,
    flags: &["dirty-app"],
    short: "App for long jobs, `module:Class` or `module:Class:N`; may be given many times",
    long: "\
A subclass of `gunicorn.dirty.DirtyApp`: the package gunicorn, 25 or newer, must be installed and runs \
them. With `:N`, only so many of the `dirty_workers` load it.",
    ..FULL
};

pub(crate) const DIRTY_WORKERS: Setting = Setting {
    name: "dirty_workers",
    group: Group::Dirty,
    kind: Kind::Whole { min: 0, max: 10_000 },
    default: "0",
    flags: &["dirty-workers"],
    short: "Processes for long jobs; 0 = none",
    long: "\
With `dirty_apps`, they and gunicorn's dirty arbiter run beside the workers. Without, there are none. A \
reload starts new ones beside the old.",
    ..FULL
};

pub(crate) const DIRTY_TIMEOUT: Setting = Setting {
    name: "dirty_timeout",
    group: Group::Dirty,
    kind: Kind::Seconds(Zero::Never),
    default: "300",
    flags: &["dirty-timeout"],
    short: "Time that a long job may take; 0 = no limit",
    long: "A dirty worker that shows no sign of life for so long is replaced.",
    ..FULL
};

pub(crate) const DIRTY_THREADS: Setting = Setting {
    name: "dirty_threads",
    group: Group::Dirty,
    kind: Kind::Whole { min: 1, max: 10_000 },
    default: "1",
    flags: &["dirty-threads"],
    short: "Threads of a dirty worker",
    long: "\
gunicorn's arbiter gives a dirty worker one job after another; one that was too late may go on in its \
thread while the next one has another.",
    ..FULL
};

pub(crate) const DIRTY_GRACEFUL_TIMEOUT: Setting = Setting {
    name: "dirty_graceful_timeout",
    group: Group::Dirty,
    kind: Kind::Seconds(Zero::AtOnce),
    default: "30",
    flags: &["dirty-graceful-timeout"],
    short: "Time that dirty workers get to leave",
    long: "\
They are told to once the workers that may be waiting for them are gone; at a stop all that is within \
`graceful_timeout`.",
    ..FULL
};
