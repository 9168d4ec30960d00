//! HTTP, its versions, or uwsgi in its place; and what a proxy says before it.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[
    PROXY_PROTOCOL,
    PROXY_ALLOW_IPS,
    PROTOCOL,
    UWSGI_ALLOW_IPS,
    HTTP_PROTOCOLS,
    HTTP2_CLEARTEXT,
    HTTP2_MAX_CONCURRENT_STREAMS,
    HTTP2_INITIAL_WINDOW_SIZE,
    HTTP2_MAX_FRAME_SIZE,
    HTTP2_MAX_HEADER_LIST_SIZE,
];

pub(crate) const PROXY_PROTOCOL: Setting = Setting {
    name: "proxy_protocol",
    group: Group::Proxies,
    kind: Kind::OptionalChoice(&["off", "v1", "v2", "auto"]),
    default: "off",
    flags: &["proxy-protocol"],
    short: "PROXY header before a connection's first byte: `v1` is text, `v2` binary",
    long: "\
The client that it names is then the one of the connection, in the environ (`REMOTE_ADDR`, and \
`PROXY_PROTOCOL`, `PROXY_ADDR`, `PROXY_PORT`) and in the log. A connection without the header is \
served as it is. `--proxy-protocol` alone means `auto`; before the app, write \
`--proxy-protocol=auto`.",
    ..FULL
};

pub(crate) const PROXY_ALLOW_IPS: Setting = Setting {
    name: "proxy_allow_ips",
    group: Group::Proxies,
    kind: Kind::Networks,
    default: "127.0.0.1,::1",
    flags: &["proxy-allow-from"],
    short: "Who may send PROXY headers; `*` = all",
    long: "Others who send one are refused.",
    ..FULL
};

pub(crate) const PROTOCOL: Setting = Setting {
    name: "protocol",
    group: Group::Protocols,
    kind: Kind::Choice(&["http", "uwsgi"]),
    default: "http",
    flags: &["protocol"],
    short: "`http`, or `uwsgi`, which nginx's `uwsgi_pass` speaks",
    long: "\
It holds for all addresses of `bind`. The app gets what a request of HTTP has, and of other variables \
none; docs/guide/nginx.md has more. With `certfile`, nginx speaks it by `uwsgi_pass suwsgi://`.",
    ..FULL
};

pub(crate) const UWSGI_ALLOW_IPS: Setting = Setting {
    name: "uwsgi_allow_ips",
    group: Group::Protocols,
    kind: Kind::Networks,
    default: "127.0.0.1,::1",
    flags: &["uwsgi-allow-from"],
    short: "Who may speak uwsgi; `*` = all",
    long: "Others are answered 403. On a unix socket everybody may who can open it.",
    ..FULL
};

pub(crate) const HTTP_PROTOCOLS: Setting = Setting {
    name: "http_protocols",
    group: Group::Protocols,
    kind: Kind::CommaChoices(&["h1", "h2"]),
    default: "h1",
    flags: &["http-protocols"],
    short: "Versions of HTTP that TLS clients may choose from, most wanted first",
    long: "\
`h2,h1` speaks HTTP/2 with whoever can. Clients that do not choose are served HTTP/1.1. Without TLS \
see `http2_cleartext`.",
    ..FULL
};

pub(crate) const HTTP2_CLEARTEXT: Setting = Setting {
    name: "http2_cleartext",
    group: Group::Protocols,
    kind: Kind::Choice(&["off", "prior-knowledge", "upgrade", "both"]),
    default: "off",
    flags: &["http2-cleartext"],
    short: "HTTP/2 without TLS, for proxies of `forwarded_allow_ips` only",
    long: "\
`prior-knowledge`: they begin with HTTP/2 at once, and are refused otherwise. `both`: with HTTP/2 or \
HTTP/1. `upgrade` has no effect of its own: requests to upgrade are answered by HTTP/1.1, since HTTP/2 \
itself has given that way up. Needs `h2` in `http_protocols`; without effect under TLS.",
    ..FULL
};

pub(crate) const HTTP2_MAX_CONCURRENT_STREAMS: Setting = Setting {
    name: "http2_max_concurrent_streams",
    group: Group::Protocols,
    kind: Kind::Whole { min: 1, max: i32::MAX as u64 },
    default: "100",
    flags: &["http2-max-concurrent-streams"],
    short: "Requests at the same time on an HTTP/2 connection, at most",
    ..FULL
};

pub(crate) const HTTP2_INITIAL_WINDOW_SIZE: Setting = Setting {
    name: "http2_initial_window_size",
    group: Group::Protocols,
    kind: Kind::Whole { min: 1, max: i32::MAX as u64 },
    default: "65535",
    flags: &["http2-initial-window-size"],
    short: "Bytes of an HTTP/2 request body that may be under way",
    long: "More makes uploads over long distances quicker, and costs memory.",
    ..FULL
};

pub(crate) const HTTP2_MAX_FRAME_SIZE: Setting = Setting {
    name: "http2_max_frame_size",
    group: Group::Protocols,
    kind: Kind::Whole { min: 16384, max: 16_777_215 },
    default: "16384",
    flags: &["http2-max-frame-size"],
    short: "Bytes of an HTTP/2 frame that clients may send, at most",
    ..FULL
};

pub(crate) const HTTP2_MAX_HEADER_LIST_SIZE: Setting = Setting {
    name: "http2_max_header_list_size",
    group: Group::Protocols,
    kind: Kind::Whole { min: 0, max: u32::MAX as u64 },
    default: "65536",
    flags: &["http2-max-header-list-size"],
    short: "Bytes of all header fields of an HTTP/2 request, decoded; 0 = 16 MiB",
    long: "The limits of `limit_request_fields` and `limit_request_field_size` hold as well.",
    ..FULL
};
