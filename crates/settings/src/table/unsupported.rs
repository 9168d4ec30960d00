//! gunicorn's settings that this version does not act on, those with a flag. Each says why, or what
//! happens instead.

use super::FULL;
use crate::declare::{Group as G, Kind, Kind::*, Setting, Support};

const NO_VERSION: &str = "HTTP/1.0 and HTTP/1.1 are what is spoken here";

/// One setting without effect.
const fn no(
    name: &'static str,
    flag: &'static [&'static str],
    group: G,
    kind: Kind,
    default: &'static str,
    short: &'static str,
    why: &'static str,
) -> Setting {
    let support = Support::Ignored { why };
    Setting { name, flags: flag, group, kind, default, short, support, ..FULL }
}

#[rustfmt::skip] // One line each, so that the list can be read as a table.
pub(super) const ALL: &[Setting] = &[
    no("spew", &["spew"], G::Development, Switch, "false", "Print each line of Python that runs", "it would make the app unusably slow"),
    no("worker_tmp_dir", &["worker-tmp-dir"], G::Process, Path, "", "Directory of heartbeat files", "heartbeats are in shared memory, not in files"),
    no("tmp_upload_dir", &[], G::RequestLimits, Path, "", "Directory for uploads", "gunicorn does not use it either"),
    no("ssl_version", &["ssl-version"], G::Tls, Text, "2", "Version of TLS", "TLS 1.2 and 1.3 are spoken, and nothing older"),
    no("suppress_ragged_eofs", &["suppress-ragged-eofs"], G::Tls, Switch, "true", "Tolerate a missing end of TLS", "it is always tolerated, since HTTP says by itself where a message ends"),
    no("do_handshake_on_connect", &["do-handshake-on-connect"], G::Tls, Switch, "false", "Shake hands at once", "hands are shaken as bytes come in, and no worker waits for them"),
    no("permit_unconventional_http_version", &["permit-unconventional-http-version"], G::RequestLimits, Switch, "false", "Accept unusual versions", NO_VERSION),
    no("http_parser", &["http-parser"], G::Protocols, Text, "auto", "Which parser reads requests", "there is one parser here, a native one"),
];
