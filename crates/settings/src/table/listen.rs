//! Where clients connect, and who is believed about them.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[BIND, BACKLOG, FORWARDED_ALLOW_IPS];

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
