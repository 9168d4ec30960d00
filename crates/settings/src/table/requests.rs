//! How large a request may be.

use super::FULL;
use crate::declare::{Group, Kind, Setting};

pub(super) const ALL: &[Setting] =
    &[LIMIT_REQUEST_LINE, LIMIT_REQUEST_FIELDS, LIMIT_REQUEST_FIELD_SIZE, BODY_SPOOL_BYTES];

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
    long: "0 and what is above 32768 count as 32768, as in gunicorn.",
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
