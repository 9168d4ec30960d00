//! What is written where.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[
    ACCESSLOG,
    ACCESS_LOG_FORMAT,
    ERRORLOG,
    LOGLEVEL,
    CAPTURE_OUTPUT,
    LOGCONFIG,
    LOGCONFIG_DICT,
    LOGCONFIG_JSON,
    LOGGER_CLASS,
    SYSLOG,
    SYSLOG_ADDR,
    SYSLOG_PREFIX,
    SYSLOG_FACILITY,
    DISABLE_REDIRECT_ACCESS_TO_SYSLOG,
    STATSD_HOST,
    STATSD_PREFIX,
    DOGSTATSD_TAGS,
    ENABLE_BACKLOG_METRIC,
];

pub(crate) const ACCESSLOG: Setting = Setting {
    name: "accesslog",
    group: Group::Logging,
    kind: Kind::LogTarget { or_none: true },
    flags: &["access-logfile"],
    short: "File with a line for each request; `-` = standard output; `none` = off",
    ..FULL
};

pub(crate) const ACCESS_LOG_FORMAT: Setting = Setting {
    name: "access_log_format",
    group: Group::Logging,
    default: r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#,
    flags: &["access-logformat"],
    short: "Form of such a line, with gunicorn's atoms",
    ..FULL
};

pub(crate) const ERRORLOG: Setting = Setting {
    name: "errorlog",
    group: Group::Logging,
    kind: Kind::LogTarget { or_none: false },
    default: "-",
    flags: &["error-logfile", "log-file"],
    short: "File for remuda's own log; `-` = standard error",
    ..FULL
};

pub(crate) const LOGLEVEL: Setting = Setting {
    name: "loglevel",
    group: Group::Logging,
    kind: Kind::Level,
    default: "info",
    flags: &["log-level"],
    short: "Least level that is logged: debug, info, warning, error or critical",
    long: "\
An unknown level counts as info, as in gunicorn, with a warning. The variable `LOG_LEVEL` belongs \
to the app: remuda does not read it.",
    ..FULL
};

pub(crate) const CAPTURE_OUTPUT: Setting = Setting {
    name: "capture_output",
    group: Group::Logging,
    kind: Kind::Switch,
    default: "false",
    flags: &["capture-output"],
    short: "Send what the app prints to the file of `errorlog`",
    long: "Without a file, standard output and error stay where they are.",
    ..FULL
};

pub(crate) const STATSD_HOST: Setting = Setting {
    name: "statsd_host",
    group: Group::Logging,
    flags: &["statsd-host"],
    short: "Where StatsD gets metrics: `HOST[:PORT]`, or `unix://PATH`",
    long: "\
By gunicorn's names: `gunicorn.requests`, `gunicorn.request.status.200`, `gunicorn.request.duration`, \
`gunicorn.workers`, `gunicorn.log.error` and so on. In every worker class, with or without an access \
log. What nobody receives is lost without a word.",
    ..FULL
};

pub(crate) const STATSD_PREFIX: Setting = Setting {
    name: "statsd_prefix",
    group: Group::Logging,
    flags: &["statsd-prefix"],
    short: "Beginning of the name of each metric; a dot follows",
    ..FULL
};

pub(crate) const DOGSTATSD_TAGS: Setting = Setting {
    name: "dogstatsd_tags",
    group: Group::Logging,
    flags: &["dogstatsd-tags"],
    short: "Tags for each metric, `name:value` separated by commas",
    ..FULL
};

pub(crate) const ENABLE_BACKLOG_METRIC: Setting = Setting {
    name: "enable_backlog_metric",
    group: Group::Logging,
    kind: Kind::Switch,
    default: "false",
    flags: &["enable-backlog-metric"],
    short: "Send StatsD how many connections wait to be accepted, once a second",
    long: "As the histogram `gunicorn.backlog`, of all TCP addresses together. Without `statsd_host`, a line \
at the level debug.",
    ..FULL
};

pub(crate) const LOGCONFIG: Setting = Setting {
    name: "logconfig",
    group: Group::Logging,
    kind: Kind::Path,
    flags: &["log-config"],
    short: "INI file for Python's logging, `gunicorn.error` and `gunicorn.access` included",
    long: "\
For what Python logs: the app, hooks, failed requests, access lines. The lines of the master go to \
`errorlog` in any case. Access lines go to the logger `gunicorn.access`, and to `accesslog` if there is one.",
    ..FULL
};

pub(crate) const LOGCONFIG_DICT: Setting = Setting {
    name: "logconfig_dict",
    group: Group::Logging,
    kind: Kind::Python,
    short: "The same as a table of `logging.config.dictConfig`; laid over gunicorn's defaults",
    long: "Each key of the table replaces gunicorn's as a whole. Wins over the two files.",
    ..FULL
};

pub(crate) const LOGCONFIG_JSON: Setting = Setting {
    name: "logconfig_json",
    group: Group::Logging,
    kind: Kind::Path,
    flags: &["log-config-json"],
    short: "The same as a file in JSON form; a missing file does nothing, as in gunicorn",
    ..FULL
};

pub(crate) const LOGGER_CLASS: Setting = Setting {
    name: "logger_class",
    group: Group::Logging,
    default: "gunicorn.glogging.Logger",
    flags: &["logger-class"],
    short: "Python class that writes what Python logs, access lines included",
    long: "\
Most are subclasses of `gunicorn.glogging.Logger`, which is there without gunicorn, too. Zygote, workers \
and the hooks of the master use it; the lines of the master itself go to `errorlog` in any case. Access \
lines take the way through Python then.",
    ..FULL
};

/// The classes of gunicorn itself: what they do, remuda does without Python.
pub(crate) const LOGGER_CLASSES: &[&str] = &[
    "",
    "simple",
    "gunicorn.glogging.Logger",
    "gunicorn.instrument.statsd.Statsd",
    "remuda.glogging.Logger",
];

pub(crate) const SYSLOG: Setting = Setting {
    name: "syslog",
    group: Group::Logging,
    kind: Kind::Switch,
    default: "false",
    flags: &["log-syslog"],
    short: "Send all lines to syslog as well, access lines included",
    ..FULL
};

pub(crate) const SYSLOG_ADDR: Setting = Setting {
    name: "syslog_addr",
    group: Group::Logging,
    default: "udp://localhost:514",
    flags: &["log-syslog-to"],
    short: "Where syslog is: `udp://HOST[:PORT]` or `unix://PATH`",
    long: "By datagrams, which are never waited for; `tcp://` and `#stream` are refused.",
    ..FULL
};

pub(crate) const SYSLOG_PREFIX: Setting = Setting {
    name: "syslog_prefix",
    group: Group::Logging,
    flags: &["log-syslog-prefix"],
    short: "Program in such lines, `gunicorn.PREFIX.error`; without it the app or `proc_name`",
    ..FULL
};

pub(crate) const SYSLOG_FACILITY: Setting = Setting {
    name: "syslog_facility",
    group: Group::Logging,
    default: "user",
    flags: &["log-syslog-facility"],
    short: "Facility of such lines: `user`, `daemon`, `local0` and so on",
    ..FULL
};

pub(crate) const DISABLE_REDIRECT_ACCESS_TO_SYSLOG: Setting = Setting {
    name: "disable_redirect_access_to_syslog",
    group: Group::Logging,
    kind: Kind::Switch,
    default: "false",
    flags: &["disable-redirect-access-to-syslog"],
    short: "Keep access lines out of syslog",
    ..FULL
};
