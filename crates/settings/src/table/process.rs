//! Where wishes come from, what is served, and the process as the operating system sees it.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[
    CONFIG,
    CHECK_CONFIG,
    PRINT_CONFIG,
    WSGI_APP,
    PASTE,
    RAW_PASTE_GLOBAL_CONF,
    CHDIR,
    PYTHONPATH,
    PYTHON,
    RAW_ENV,
    PIDFILE,
    CONTROL_SOCKET,
    CONTROL_SOCKET_MODE,
    CONTROL_SOCKET_DISABLE,
];

pub(crate) const CONFIG: Setting = Setting {
    name: "config",
    group: Group::Configuration,
    kind: Kind::Path,
    flags: &["config"],
    short_flag: Some('c'),
    short: "File with settings, Python or TOML, or `none` to read no file",
    long: "\
A path, `file:PATH`, or `python:MODULE`. Without it, the first of `gunicorn.conf.py`, `remuda.toml` \
and `[tool.remuda]` in `pyproject.toml` that is in the start directory. What ends in `.toml` is \
TOML; everything else is run by Python, and its names that are settings count. Has no meaning inside \
the file.",
    ..FULL
};

pub(crate) const CHECK_CONFIG: Setting = Setting {
    name: "check_config",
    group: Group::Configuration,
    kind: Kind::Switch,
    default: "false",
    flags: &["check-config"],
    short: "Check settings and app, then leave with status 0 or 1",
    long: "The app is imported as a worker would do it; nothing is bound.",
    ..FULL
};

pub(crate) const PRINT_CONFIG: Setting = Setting {
    name: "print_config",
    group: Group::Configuration,
    kind: Kind::Switch,
    default: "false",
    flags: &["print-config"],
    short: "Print every setting with its value and origin, then leave",
    long: "With an app, this checks it as well, as `--check-config` does.",
    ..FULL
};

pub(crate) const WSGI_APP: Setting = Setting {
    name: "wsgi_app",
    group: Group::Application,
    short: "App to serve when the command line names none: `module` or `module:attribute`",
    long: "Without an attribute it is `application`. `module:factory(arguments)` is called.",
    ..FULL
};

pub(crate) const PASTE: Setting = Setting {
    name: "paste",
    group: Group::Application,
    flags: &["paste", "paster"],
    short: "PasteDeploy file that the app comes from, `FILE` or `FILE#SECTION`",
    long: "\
Needs the package PasteDeploy. Wins over an app that is named otherwise. Where the file has a section \
`[loggers]`, it sets logging up as well, unless `logconfig` or its like do. Its `[server:main]` is not \
read.",
    ..FULL
};

pub(crate) const RAW_PASTE_GLOBAL_CONF: Setting = Setting {
    name: "raw_paste_global_conf",
    group: Group::Application,
    kind: Kind::Pairs,
    flags: &["paste-global"],
    short: "Variable for the PasteDeploy file, `NAME=value`; `\\=` for a `=` in the name",
    ..FULL
};

pub(crate) const CHDIR: Setting = Setting {
    name: "chdir",
    group: Group::Application,
    kind: Kind::Path,
    flags: &["chdir"],
    short: "Directory to work in; must exist",
    long: "\
Also put at the front of Python's search path. Without it, the directory in which remuda was \
started. The file with settings is looked for in the start directory, not here.",
    ..FULL
};

pub(crate) const PYTHONPATH: Setting = Setting {
    name: "pythonpath",
    group: Group::Application,
    kind: Kind::CommaList("paths"),
    flags: &["pythonpath"],
    short: "Directories for the front of Python's search path, separated by commas",
    long: "Each is put at the front in turn, so that the last one is searched first.",
    ..FULL
};

pub(crate) const PYTHON: Setting = Setting {
    name: "python",
    group: Group::Application,
    kind: Kind::Path,
    flags: &["python"],
    gunicorn: false,
    short: "Python interpreter that runs the app",
    long: "Without it, the one beside the remuda executable.",
    ..FULL
};

pub(crate) const RAW_ENV: Setting = Setting {
    name: "raw_env",
    group: Group::Application,
    kind: Kind::Pairs,
    flags: &["env"],
    short_flag: Some('e'),
    short: "Environment variable for the app, `NAME=value`; may be given many times",
    long: "In a variable, pairs are separated by commas; values with a comma need another source.",
    ..FULL
};

pub(crate) const PIDFILE: Setting = Setting {
    name: "pidfile",
    group: Group::Process,
    kind: Kind::Path,
    flags: &["pid"],
    short_flag: Some('p'),
    short: "File to write the master's process id to",
    ..FULL
};

pub(crate) const CONTROL_SOCKET: Setting = Setting {
    name: "control_socket",
    group: Group::Process,
    kind: Kind::Path,
    flags: &["control-socket"],
    short: "Unix socket where `remuda status`, `reload`, `upgrade` and `stop` ask",
    long: "\
Without it, each master has one of its own: `<pid>.ctl` in `$XDG_RUNTIME_DIR/remuda`, or in \
`remuda-<uid>` in the folder of temporary files. Where that cannot be written the service runs \
without, and says so at level debug. Only the service's user and root are heard, whatever the \
file's mode. `none`: the same as `control_socket_disable`.",
    ..FULL
};

pub(crate) const CONTROL_SOCKET_MODE: Setting = Setting {
    name: "control_socket_mode",
    group: Group::Process,
    kind: Kind::Mode,
    default: "0o600",
    flags: &["control-socket-mode"],
    short: "Permission bits of the control socket",
    ..FULL
};

pub(crate) const CONTROL_SOCKET_DISABLE: Setting = Setting {
    name: "control_socket_disable",
    group: Group::Process,
    kind: Kind::Switch,
    default: "false",
    flags: &["no-control-socket"],
    short: "Do without the control socket",
    ..FULL
};
