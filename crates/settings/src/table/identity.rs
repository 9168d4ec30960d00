//! Who the processes are: user, group, name, and whether they stay in the foreground.

use super::FULL;
use crate::declare::{Kind, Setting};

pub(super) const ALL: &[Setting] =
    &[USER, GROUP, INITGROUPS, DAEMON, ENABLE_STDIO_INHERITANCE, PROC_NAME];

pub(crate) const USER: Setting = Setting {
    name: "user",
    flags: &["user"],
    short_flag: Some('u'),
    short: "User that zygotes and workers run as: a name or a number",
    long: "\
The master stays who it is: it has to be root for this. Certificates, the configuration file and the \
log files are opened before, the app is imported after. Log files and unix sockets are given to the \
user.",
    ..FULL
};

pub(crate) const GROUP: Setting = Setting {
    name: "group",
    flags: &["group"],
    short_flag: Some('g'),
    short: "Group that zygotes and workers run as: a name or a number",
    long: "Other groups are left, unless `initgroups` asks for those of the user.",
    ..FULL
};

pub(crate) const INITGROUPS: Setting = Setting {
    name: "initgroups",
    kind: Kind::Switch,
    default: "false",
    flags: &["initgroups"],
    short: "Give them all groups of that user",
    ..FULL
};

pub(crate) const DAEMON: Setting = Setting {
    name: "daemon",
    kind: Kind::Switch,
    default: "false",
    flags: &["daemon"],
    short_flag: Some('D'),
    short: "Go to the background once the settings are read",
    long: "\
Standard streams go to `/dev/null`, and with them a log that goes to `-`. Service managers and \
containers want the opposite.",
    ..FULL
};

pub(crate) const ENABLE_STDIO_INHERITANCE: Setting = Setting {
    name: "enable_stdio_inheritance",
    kind: Kind::Switch,
    default: "false",
    flags: &["enable-stdio-inheritance"],
    short_flag: Some('R'),
    short: "Keep the standard streams in the background",
    ..FULL
};

pub(crate) const PROC_NAME: Setting = Setting {
    name: "proc_name",
    flags: &["name"],
    short_flag: Some('n'),
    short: "Name in the titles of zygotes and workers, instead of the app",
    long: "\
`ps` shows `remuda: worker 0 [shop.wsgi] serving`: the role with its slot or generation, this name, and \
the state: loading or ready, booting, serving or draining. `top` shows `remuda: w0` and the like.",
    ..FULL
};
