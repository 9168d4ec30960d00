//! Conveniences while one writes the app.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[RELOAD, RELOAD_ENGINE, RELOAD_EXTRA_FILES];

pub(crate) const RELOAD: Setting = Setting {
    name: "reload",
    group: Group::Development,
    kind: Kind::Switch,
    default: "false",
    flags: &["reload"],
    short: "Load the app again when its code changes; for development only",
    long: "\
Watched are the files of all modules that were imported, in whatever process and however late, and \
new Python files beside them; not Python's own and those of installed packages. A change does what \
HUP does, with `preload_app` as well: the new code is loaded beside the old, which serves on if it \
does not run; the traceback stands in the log, and the next change tries again.",
    ..FULL
};

pub(crate) const RELOAD_ENGINE: Setting = Setting {
    name: "reload_engine",
    group: Group::Development,
    kind: Kind::Choice(&["auto", "poll", "inotify"]),
    default: "auto",
    flags: &["reload-engine"],
    short: "How `reload` notices changes",
    long: "\
`auto` and `inotify` are told by the kernel, and fall back to `poll`, a look once a second, when the \
kernel has no room for that. Choose `poll` for files that somebody else writes: shares, and folders \
of the host in some containers.",
    ..FULL
};

pub(crate) const RELOAD_EXTRA_FILES: Setting = Setting {
    name: "reload_extra_files",
    group: Group::Development,
    kind: Kind::Files,
    flags: &["reload-extra-file"],
    short: "More files for `reload` to watch: templates, settings",
    long: "\
A path, or a pattern with `*`, `?`, `[…]` and `**` for any number of folders, from the start directory \
on. `*` does not match names that begin with a dot. What comes to match later counts as well.",
    ..FULL
};
