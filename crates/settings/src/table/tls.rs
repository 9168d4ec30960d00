//! Encryption on the listeners.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[CERTFILE, KEYFILE, CA_CERTS, CERT_REQS, CIPHERS];

pub(crate) const CERTFILE: Setting = Setting {
    name: "certfile",
    group: Group::Tls,
    kind: Kind::Path,
    default: "",
    flags: &["certfile"],
    short: "Certificate in PEM form; makes every listener speak TLS",
    long: "\
The server's own certificate comes first, then those that lead to its authority. When the file \
changes, workers take the new one within seconds, for new connections; one that cannot be used is \
named in the log, and the old one stays.",
    ..FULL
};

pub(crate) const KEYFILE: Setting = Setting {
    name: "keyfile",
    group: Group::Tls,
    kind: Kind::Path,
    default: "",
    flags: &["keyfile"],
    short: "Private key in PEM form, not encrypted; without it, it is looked for in `certfile`",
    long: "The hook `ssl_context` can load an encrypted one with its password.",
    ..FULL
};

pub(crate) const CA_CERTS: Setting = Setting {
    name: "ca_certs",
    group: Group::Tls,
    kind: Kind::Path,
    default: "",
    flags: &["ca-certs"],
    short: "Certificates in PEM form of those who may sign clients' certificates",
    ..FULL
};

pub(crate) const CERT_REQS: Setting = Setting {
    name: "cert_reqs",
    group: Group::Tls,
    kind: Kind::Whole { min: 0, max: 2 },
    default: "0",
    flags: &["cert-reqs"],
    short: "Whether clients need a certificate: 0 = no, 1 = if they have one, 2 = yes",
    long: "\
The numbers are those of Python's ssl.CERT_NONE, CERT_OPTIONAL and CERT_REQUIRED. What a client has \
shown stands in the environ as `SSL_CLIENT_VERIFY`, `SSL_CLIENT_S_DN` and `SSL_CLIENT_CERT`, and in \
the `tls` extension of an ASGI scope.",
    ..FULL
};

pub(crate) const CIPHERS: Setting = Setting {
    name: "ciphers",
    group: Group::Tls,
    kind: Kind::Ciphers,
    default: "",
    flags: &["ciphers"],
    short: "Cipher suites, as a list in OpenSSL's form; without it, all that there are",
    long: "\
There are only ones that are safe today: `TLS_AES_256_GCM_SHA384`, `TLS_AES_128_GCM_SHA256` and \
`TLS_CHACHA20_POLY1305_SHA256` for TLS 1.3; for TLS 1.2 `ECDHE-ECDSA-` and `ECDHE-RSA-` with \
`AES256-GCM-SHA384`, `AES128-GCM-SHA256` or `CHACHA20-POLY1305`. Words such as `HIGH`, `ECDHE+AESGCM` \
and `!aNULL` are understood. As with OpenSSL, suites of TLS 1.3 stay unless some are named.",
    ..FULL
};
