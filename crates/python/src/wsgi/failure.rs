//! What the log and the client are told when an app fails.

use pyo3::prelude::*;
use pyo3::types::PyString;
use remuda_front::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use remuda_front::http::{Response, StatusCode};
use remuda_front::{Reply, error_page};

/// The traceback of an error, as Python prints it, without a line end at its end.
pub(crate) fn describe(py: Python<'_>, error: &PyErr) -> String {
    let format = || -> PyResult<String> {
        let lines = py.import("traceback")?.call_method1(
            "format_exception",
            (error.get_type(py), error.value(py), error.traceback(py)),
        )?;
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        Ok(text.cast::<PyString>()?.to_string_lossy().trim_end().to_owned())
    };
    // The error's own `__str__` may fail; its type is still worth a line.
    format().unwrap_or_else(|_| error.get_type(py).to_string())
}

/// An error page in gunicorn's form. The connection is closed after it.
pub(crate) fn page(status: u16, message: &str) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = error_page(status, message);
    let mut reply = Response::new(remuda_front::Content::Whole(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    reply
}
