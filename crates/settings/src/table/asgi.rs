//! Apps of the ASGI kind.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Zero};

pub(super) const ALL: &[Setting] = &[
    ASGI_LOOP,
    ASGI_LIFESPAN,
    ASGI_DISCONNECT_GRACE_PERIOD,
    WEBSOCKET_MAX_MESSAGE_SIZE,
    WEBSOCKET_COMPRESSION,
    WEBSOCKET_PING_INTERVAL,
    ROOT_PATH,
];

pub(crate) const ASGI_LOOP: Setting = Setting {
    name: "asgi_loop",
    group: Group::Asgi,
    kind: Kind::Choice(&["auto", "asyncio", "uvloop"]),
    default: "auto",
    flags: &["asgi-loop"],
    short: "Event loop of an `asgi` worker",
    long: "`auto` takes uvloop where it is installed.",
    ..FULL
};

pub(crate) const ASGI_LIFESPAN: Setting = Setting {
    name: "asgi_lifespan",
    group: Group::Asgi,
    kind: Kind::Choice(&["auto", "on", "off"]),
    default: "auto",
    flags: &["asgi-lifespan"],
    short: "Whether the app is told of start and stop",
    long: "\
`auto`: it is, and an app that raises an exception instead of answering does not want to know. \
`on`: such an exception ends the worker. `off`: it is not told.",
    ..FULL
};

pub(crate) const ASGI_DISCONNECT_GRACE_PERIOD: Setting = Setting {
    name: "asgi_disconnect_grace_period",
    group: Group::Asgi,
    kind: Kind::Seconds(Zero::AtOnce),
    default: "3",
    flags: &["asgi-disconnect-grace-period"],
    short: "Time after which a task whose client has left is cancelled",
    ..FULL
};

pub(crate) const WEBSOCKET_MAX_MESSAGE_SIZE: Setting = Setting {
    name: "websocket_max_message_size",
    group: Group::Asgi,
    kind: Kind::Bytes { max: 1 << 30 },
    default: "16777216",
    flags: &["websocket-max-message-size"],
    short: "Bytes of a WebSocket message, at most",
    long: "Counted after decompression. A longer one closes the connection with code 1009.",
    ..FULL
};

pub(crate) const WEBSOCKET_COMPRESSION: Setting = Setting {
    name: "websocket_compression",
    group: Group::Asgi,
    kind: Kind::Switch,
    default: "true",
    flags: &["websocket-compression"],
    gunicorn: false,
    short: "Compress WebSocket messages when the client offers it",
    ..FULL
};

pub(crate) const WEBSOCKET_PING_INTERVAL: Setting = Setting {
    name: "websocket_ping_interval",
    group: Group::Asgi,
    kind: Kind::Seconds(Zero::Never),
    default: "20",
    flags: &["websocket-ping-interval"],
    gunicorn: false,
    short: "Time after which a silent WebSocket client is asked for a sign of life; 0 = never",
    long: "A client that gives none for as long again is taken for gone.",
    ..FULL
};

pub(crate) const ROOT_PATH: Setting = Setting {
    name: "root_path",
    group: Group::Asgi,
    kind: Kind::Text,
    default: "",
    flags: &["root-path"],
    short: "Path under which a proxy has mounted the ASGI app",
    ..FULL
};
