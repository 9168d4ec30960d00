//! Where clients connect, and who is believed about them.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[
    BIND,
    BACKLOG,
    REUSE_PORT,
    UMASK,
    FORWARDED_ALLOW_IPS,
    FORWARDER_HEADERS,
    HEADER_MAP,
    SECURE_SCHEME_HEADERS,
];

pub(crate) const BIND: Setting = Setting {
    name: "bind",
    group: Group::Listening,
    kind: Kind::Addresses,
    default: "127.0.0.1:8000",
    flags: &["bind"],
    short_flag: Some('b'),
    platform_variable: Some("PORT"),
    short: "Address to listen on; may be given many times",
    long: "\
When nobody gives an address but the platform sets `PORT`, remuda listens on that port on every \
interface: on `[::]`, which takes IPv4 too, or on `0.0.0.0` where there is no IPv6. `:PORT` means \
the same. `HOST` alone means port 8000. In a variable, addresses are separated by commas.",
    ..FULL
};

pub(crate) const BACKLOG: Setting = Setting {
    name: "backlog",
    group: Group::Listening,
    kind: Kind::Whole { min: 0, max: i32::MAX as u64 },
    default: "2048",
    flags: &["backlog"],
    short: "Connections that may wait to be accepted",
    long: "The kernel may lower it; on Linux see `net.core.somaxconn`.",
    ..FULL
};

pub(crate) const REUSE_PORT: Setting = Setting {
    name: "reuse_port",
    group: Group::Listening,
    kind: Kind::Switch,
    default: "false",
    flags: &["reuse-port"],
    short: "Let other processes listen on the same addresses (`SO_REUSEPORT`)",
    long: "\
The kernel then spreads connections over all processes that listen there, for example two services \
of remuda. Within a service the workers share one socket in any case: a socket of its own would \
take the connections that wait in it along when a worker goes.",
    ..FULL
};

pub(crate) const UMASK: Setting = Setting {
    name: "umask",
    group: Group::Listening,
    kind: Kind::Mode,
    default: "0",
    flags: &["umask"],
    short_flag: Some('m'),
    short: "Permission bits that unix sockets lack",
    long: "Only for the sockets, as in gunicorn: the app's own files follow the umask of the start.",
    ..FULL
};

pub(crate) const FORWARDED_ALLOW_IPS: Setting = Setting {
    name: "forwarded_allow_ips",
    group: Group::Proxies,
    kind: Kind::Networks,
    default: "127.0.0.1,::1",
    flags: &["forwarded-allow-ips"],
    platform_variable: Some("FORWARDED_ALLOW_IPS"),
    short: "Proxies whose `X-Forwarded-Proto` and the like are believed; `*` = all",
    long: "Use `*` only where nobody but the platform's router can reach remuda.",
    ..FULL
};

pub(crate) const FORWARDER_HEADERS: Setting = Setting {
    name: "forwarder_headers",
    group: Group::Proxies,
    kind: Kind::CommaList("names"),
    default: "SCRIPT_NAME,PATH_INFO",
    flags: &["forwarder-headers"],
    short: "Headers with underscores that believed proxies may send; `*` = all",
    long: "\
The app sees `REMOTE_USER` as `HTTP_REMOTE_USER`. `SCRIPT_NAME` is the path under which a proxy has \
mounted the app. Headers with underscores from anybody else follow `header_map`.",
    ..FULL
};

pub(crate) const HEADER_MAP: Setting = Setting {
    name: "header_map",
    group: Group::Proxies,
    kind: Kind::Choice(&["drop", "refuse", "dangerous"]),
    default: "drop",
    flags: &["header-map"],
    short: "What becomes of other headers with underscores",
    long: "\
To an app `X_Forwarded_For` looks like `X-Forwarded-For`, which a proxy may have checked. `drop` \
leaves it out, `refuse` answers 400, `dangerous` lets it through.",
    ..FULL
};

pub(crate) const SECURE_SCHEME_HEADERS: Setting = Setting {
    name: "secure_scheme_headers",
    group: Group::Proxies,
    kind: Kind::Pairs,
    default: "X-FORWARDED-PROTOCOL=ssl,X-FORWARDED-PROTO=https,X-FORWARDED-SSL=on",
    short: "Headers by which a believed proxy says that its client came by https",
    long: "\
A header that is there says `https` when it has exactly this value, and `http` when it has another; \
headers that contradict each other are refused. In a file it may be a table.",
    ..FULL
};
