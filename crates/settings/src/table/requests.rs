//! How large a request may be.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] = &[
    LIMIT_REQUEST_LINE,
    LIMIT_REQUEST_FIELDS,
    LIMIT_REQUEST_FIELD_SIZE,
    LIMIT_REQUEST_BODY,
    BODY_SPOOL_BYTES,
    PERMIT_OBSOLETE_FOLDING,
    STRIP_HEADER_SPACES,
    PERMIT_UNCONVENTIONAL_HTTP_METHOD,
    CASEFOLD_HTTP_METHOD,
    SENDFILE,
    SOCKET_IN_ENVIRON,
];

pub(crate) const LIMIT_REQUEST_LINE: Setting = Setting {
    name: "limit_request_line",
    group: Group::RequestLimits,
    kind: Kind::Whole { min: 0, max: u32::MAX as u64 },
    default: "4094",
    flags: &["limit-request-line"],
    short: "Bytes of the request line, at most; 0 = no limit of its own",
    long: "Above 8190 it counts as 8190, as in gunicorn.",
    ..FULL
};

pub(crate) const LIMIT_REQUEST_FIELDS: Setting = Setting {
    name: "limit_request_fields",
    group: Group::RequestLimits,
    kind: Kind::Whole { min: 0, max: u32::MAX as u64 },
    default: "100",
    flags: &["limit-request-fields"],
    short: "Header fields of a request, at most",
    long: "0 and what is above 24000 count as 24000; gunicorn's end is 32768.",
    ..FULL
};

pub(crate) const LIMIT_REQUEST_FIELD_SIZE: Setting = Setting {
    name: "limit_request_field_size",
    group: Group::RequestLimits,
    kind: Kind::Whole { min: 0, max: u32::MAX as u64 },
    default: "8190",
    // gunicorn's own flag really has the underscore.
    flags: &["limit-request-field_size", "limit-request-field-size"],
    short: "Bytes of one header field with its name, at most",
    long: "0 counts as 8190, as in gunicorn.",
    ..FULL
};

pub(crate) const LIMIT_REQUEST_BODY: Setting = Setting {
    name: "limit_request_body",
    group: Group::RequestLimits,
    kind: Kind::Bytes { max: 1 << 40 },
    default: "0",
    flags: &["limit-request-body"],
    gunicorn: false,
    short: "Bytes of a request body, at most; 0 = no limit",
    long: "\
A larger one is answered with 413 and its connection closed: before any of it is read where \
`Content-Length` says so, else as soon as the limit is passed.",
    ..FULL
};

pub(crate) const BODY_SPOOL_BYTES: Setting = Setting {
    name: "body_spool_bytes",
    group: Group::RequestLimits,
    kind: Kind::Bytes { max: 1 << 30 },
    default: "1m",
    flags: &["body-spool-bytes"],
    gunicorn: false,
    short: "Request bodies above this size go to a temporary file",
    long: "`512k` and `1m` count in powers of 1024.",
    ..FULL
};

/// A switch of what is refused by default.
const fn permit(
    name: &'static str,
    flags: &'static [&'static str],
    short: &'static str,
    long: &'static str,
) -> Setting {
    let group = Group::RequestLimits;
    Setting { name, group, kind: Kind::Switch, default: "false", flags, short, long, ..FULL }
}

pub(crate) const PERMIT_OBSOLETE_FOLDING: Setting = permit(
    "permit_obsolete_folding",
    &["permit-obsolete-folding"],
    "Accept header fields that go on in the next line",
    "Each fold is read as blanks. Of headers that say how long the body is, no fold is accepted.",
);

pub(crate) const STRIP_HEADER_SPACES: Setting = permit(
    "strip_header_spaces",
    &["strip-header-spaces"],
    "Drop blanks between a header's name and its colon",
    "Unsafe behind a proxy that does not do the same.",
);

pub(crate) const PERMIT_UNCONVENTIONAL_HTTP_METHOD: Setting = permit(
    "permit_unconventional_http_method",
    &["permit-unconventional-http-method"],
    "Accept methods that are short, long, or have small letters or a `#`",
    "Without it a method has 3 to 20 characters.",
);

pub(crate) const CASEFOLD_HTTP_METHOD: Setting = permit(
    "casefold_http_method",
    &["casefold-http-method"],
    "Turn methods to upper case",
    "Standards say that `get` is not `GET`.",
);

pub(crate) const SENDFILE: Setting = Setting {
    name: "sendfile",
    group: Group::Process,
    kind: Kind::Switch,
    default: "true",
    flags: &["no-sendfile"],
    platform_variable: Some("SENDFILE"),
    short: "Send the files of `wsgi.file_wrapper` by the kernel; the flag turns it off",
    long: "\
In gunicorn a `true` in the configuration file turns it off, too; here it means what it says.",
    ..FULL
};

pub(crate) const SOCKET_IN_ENVIRON: Setting = Setting {
    name: "socket_in_environ",
    group: Group::Process,
    kind: Kind::Switch,
    default: "false",
    flags: &["socket-in-environ"],
    gunicorn: false,
    short: "Put the client's socket into the environ, as `gunicorn.socket`",
    long: "\
gunicorn does so always. It costs each request a socket object that hardly any app looks at, so here \
it must be asked for. The object is a duplicate, to ask about the connection: what is written to it \
does not wait for the response, and it is closed when the app has returned.",
    ..FULL
};
