//! Status lines, header names and values of apps, as HTTP needs them. What is said again and again
//! is read once.

use hyper::ext::ReasonPhrase;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use remuda_front::http::StatusCode;
use remuda_front::http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};

use crate::known::Known;

/// What an app has said before.
#[derive(Default)]
pub(crate) struct Phrases {
    statuses: Known<(StatusCode, Option<ReasonPhrase>)>,
    names: Known<(HeaderName, Kind)>,
    values: Known<HeaderValue>,
}

/// What becomes of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It belongs to the connection, and not to the app.
    Ours,
    /// It is the length of the body.
    Length,
    Other,
}

/// A longer value is hardly a constant, and would be held for long.
const KNOWN_BYTES_MAX: usize = 128;

impl Phrases {
    /// Reads a status line. A reason phrase is given where it is not the standard one.
    pub(crate) fn status(
        &self,
        status: &Bound<'_, PyAny>,
    ) -> PyResult<(StatusCode, Option<ReasonPhrase>)> {
        if let Some(known) = self.statuses.get(status) {
            return Ok(known);
        }
        let text = status
            .cast::<PyString>()
            .map_err(|_| PyTypeError::new_err("status must be a string"))?;
        let read = read_status(&text.to_cow()?)?;
        self.statuses.remember(status, read.clone());
        Ok(read)
    }

    /// Reads the name of a header.
    pub(crate) fn name(
        &self,
        header: &Bound<'_, PyAny>,
        name: &Bound<'_, PyString>,
    ) -> PyResult<(HeaderName, Kind)> {
        if let Some(known) = self.names.get(name) {
            return Ok(known);
        }
        let read = read_name(header, &name.to_cow()?)?;
        let kind = match read {
            CONTENT_LENGTH => Kind::Length,
            _ if is_ours(&read) => Kind::Ours,
            _ => Kind::Other,
        };
        self.names.remember(name, (read.clone(), kind));
        Ok((read, kind))
    }

    /// Reads the value of a header.
    pub(crate) fn value(
        &self,
        header: &Bound<'_, PyAny>,
        value: &Bound<'_, PyString>,
    ) -> PyResult<HeaderValue> {
        if let Some(known) = self.values.get(value) {
            return Ok(known);
        }
        let read = read_value(header, &value.to_cow()?)?;
        if read.len() <= KNOWN_BYTES_MAX {
            self.values.remember(value, read.clone());
        }
        Ok(read)
    }
}

fn read_status(text: &str) -> PyResult<(StatusCode, Option<ReasonPhrase>)> {
    let invalid = || PyValueError::new_err(format!("Invalid response status: '{text}'"));
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code = StatusCode::from_bytes(code.as_bytes()).map_err(|_| invalid())?;
    if code.is_informational() {
        return Err(invalid());
    }
    if reason.is_empty() || code.canonical_reason() == Some(reason) {
        return Ok((code, None));
    }
    let bytes = latin1_bytes(reason).ok_or_else(invalid)?;
    let reason = ReasonPhrase::try_from(bytes).map_err(|_| invalid())?;
    Ok((code, Some(reason)))
}

/// The name of a header. `header` is for the message.
pub(crate) fn read_name(header: &Bound<'_, PyAny>, name: &str) -> PyResult<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid_header(header))
}

/// The value of a header. `header` is for the message.
pub(crate) fn read_value(header: &Bound<'_, PyAny>, value: &str) -> PyResult<HeaderValue> {
    let read = if value.is_ascii() {
        HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()
    } else {
        latin1_bytes(value).and_then(|bytes| HeaderValue::from_bytes(&bytes).ok())
    };
    read.ok_or_else(|| invalid_header(header))
}

pub(crate) fn invalid_header(header: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("Invalid response header: {header:?}"))
}

/// PEP 3333's native strings hold bytes; a character above 255 is a mistake of the app's.
fn latin1_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Hop-by-hop fields belong to the connection and not to the app; gunicorn drops them, too.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailers"
            | "transfer-encoding"
            | "upgrade"
            | "server"
            | "date"
    )
}
