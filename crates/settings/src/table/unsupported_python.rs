//! gunicorn's settings that only a Python file can hold, and that this version does not act on.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Support};

const fn value(
    name: &'static str,
    group: Group,
    short: &'static str,
    why: &'static str,
) -> Setting {
    Setting { name, group, kind: Kind::Python, short, support: Support::Ignored { why }, ..FULL }
}

pub(super) const ALL: &[Setting] =
    &[value("default_proc_name", Group::Process, "Process title", "titles stay as they are")];
