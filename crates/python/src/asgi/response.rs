//! `http.response.start`: status and headers as an app gives them.

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use remuda_front::http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use remuda_front::http::{Response, StatusCode};
use remuda_front::{Content, Reply};

use crate::wsgi::owned;

/// What an app has said of its response before the body.
pub(crate) struct Head {
    status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Trailers follow after the body.
    pub(crate) trailers: bool,
}

impl Head {
    pub(crate) fn read(event: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = event.py();
        let status: u16 = required(event, intern!(py, "status"))?.extract()?;
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(|status| !status.is_informational())
            .ok_or_else(|| PyValueError::new_err(format!("Invalid response status: {status}")))?;
        let headers = match event.get_item(intern!(py, "headers"))? {
            Some(headers) => read_headers(&headers)?,
            None => HeaderMap::new(),
        };
        let trailers = flag(event, intern!(py, "trailers"))?;
        Ok(Self { status, headers, trailers })
    }

    /// The declared length of the body, unless there can be none.
    pub(crate) fn length(&self) -> Option<u64> {
        if matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return None;
        }
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    pub(crate) fn into_reply(self, content: Content) -> Reply {
        let mut reply = Response::new(content);
        *reply.status_mut() = self.status;
        *reply.headers_mut() = self.headers;
        reply
    }
}

/// A body as apps give it: `bytes`, as the specification says, or what Starlette takes as well.
pub(crate) fn bytes_of(body: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if body.is_exact_instance_of::<PyBytes>() {
        return Ok(owned(body.extract()?));
    }
    let buffer = PyBuffer::<u8>::get(body)?;
    Ok(buffer.to_vec(body.py())?.into())
}

/// A value that the specification demands.
pub(crate) fn required<'py>(
    event: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    event.get_item(key)?.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
}

/// A value that is false where it is missing.
pub(crate) fn flag(event: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> PyResult<bool> {
    event.get_item(key)?.map_or(Ok(false), |value| value.is_truthy())
}

/// Pairs of bytes; hop-by-hop fields belong to the connection and are dropped.
pub(crate) fn read_headers(pairs: &Bound<'_, PyAny>) -> PyResult<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(8);
    for pair in pairs.try_iter()? {
        let pair = pair?;
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let invalid = || PyValueError::new_err(format!("Invalid response header: {pair:?}"));
        let name = HeaderName::from_bytes(name.cast::<PyBytes>()?.as_bytes());
        let name = name.map_err(|_| invalid())?;
        let value = value.cast::<PyBytes>()?.as_bytes().trim_ascii();
        let value = HeaderValue::from_bytes(value).map_err(|_| invalid())?;
        if !crate::wsgi::is_ours(&name) {
            headers.append(name, value);
        }
    }
    Ok(headers)
}
