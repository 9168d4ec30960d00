//! Calls the app and sends what it returns.

use std::rc::Rc;

use bytes::Bytes;
use pyo3::exceptions::{PyBrokenPipeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use remuda_front::Exchange;
use remuda_front::http::Version;
use remuda_journal::Level;
use remuda_scoreboard::Ticket;

use super::flight::WsgiFlight;
use super::start_response::{StartResponse, owned};
use super::{EnvironBuilder, Files, describe, page};
use crate::overdue::{RequestName, RequestTimeout};
use crate::serving::Serving;

/// Serves one request, from environ to the last byte handed to the front. Errors of the app end
/// in the log and in a 500, never here.
///
/// No borrow of ours is held while Python runs: a greenlet may switch away in any call.
pub(crate) fn run(
    py: Python<'_>,
    serving: &Rc<Serving>,
    environ: &EnvironBuilder,
    files: &Files,
    runners: Option<&Py<PyAny>>,
    mut exchange: Exchange,
    ticket: Ticket,
) {
    let built = environ.input(py, &mut exchange).and_then(|input| {
        let environ = environ.build(py, &exchange, &input)?;
        Ok((environ, input))
    });
    let (environ, input) = match built {
        Ok((Ok(environ), input)) => (environ, input),
        Ok((Err(refused), _)) => {
            exchange.note_refusal(&refused.message);
            return exchange.reply(&serving.front, page(refused.status, &refused.message));
        }
        Err(error) => {
            let request = format!("{} {}", exchange.head.method, exchange.head.uri);
            serving.report_failure(&request, &describe(py, &error));
            return exchange.reply(&serving.front, page(500, ""));
        }
    };
    let is_http2 = exchange.head.version == Version::HTTP_2;
    let runners = runners.filter(|_| serving.flights.are_watched());
    let watched = runners.map(|runners| (runners, RequestName::of(&exchange)));
    let start = Bound::new(py, StartResponse::new(serving.clone(), exchange, ticket, &environ));
    let start = match start.and_then(|start| {
        offer(&environ, &start, is_http2)?;
        Ok(start)
    }) {
        Ok(start) => start,
        Err(error) => return serving.report_failure(&name_of(&environ), &describe(py, &error)),
    };
    let flight = watched.and_then(|(runners, name)| watch(py, serving, &start, runners, name));
    let called = match &serving.request_hooks {
        None => call(py, serving, files, &environ, &start),
        Some(hooks) => call_between(py, serving, hooks.bind(py), files, &environ, &start),
    };
    let closed = input.close();
    if let Err(error) = called.and(closed) {
        fail(py, serving, &environ, &start, &error);
    }
    start.get().end();
    if let Some((flight, place)) = flight {
        serving.flights.forget(place);
        flight.release(py);
    }
}

/// Puts the request under the limits of time.
fn watch(
    py: Python<'_>,
    serving: &Serving,
    start: &Bound<'_, StartResponse>,
    runners: &Py<PyAny>,
    name: RequestName,
) -> Option<(Rc<WsgiFlight>, usize)> {
    // Who runs is always known; a request without limits would still be served.
    let runner = runners.call_method0(py, intern!(py, "current")).ok()?;
    let (start, runners) = (start.clone().unbind(), runners.clone_ref(py));
    let flight = Rc::new(WsgiFlight { start, name, runners, runner });
    let place = serving.flights.watch(flight.clone());
    Some((flight, place))
}

/// What an app may call beside `start_response`. HTTP/1 clients have to ask for trailers, and hardly
/// one does; so gunicorn, too, offers them in HTTP/2 only.
fn offer(
    environ: &Bound<'_, PyDict>,
    start: &Bound<'_, StartResponse>,
    is_http2: bool,
) -> PyResult<()> {
    let py = start.py();
    environ.set_item(intern!(py, "wsgi.early_hints"), start)?;
    environ.set_item(intern!(py, "remuda.extend_timeout"), start)?;
    if is_http2 {
        let send = start.getattr(intern!(py, "send_trailers"))?;
        environ.set_item(intern!(py, "gunicorn.http2.send_trailers"), send)?;
    }
    Ok(())
}

/// Calls the app between the user's two hooks; the second is called however the first and the app
/// end, and never raises.
fn call_between(
    py: Python<'_>,
    serving: &Serving,
    hooks: &Bound<'_, PyAny>,
    files: &Files,
    environ: &Bound<'_, PyDict>,
    start: &Bound<'_, StartResponse>,
) -> PyResult<()> {
    let request = hooks.call_method1(intern!(py, "request"), (environ,))?;
    let outcome = hooks
        .call_method1(intern!(py, "before"), (&request,))
        .and_then(|_| call(py, serving, files, environ, start));
    let (status, headers) = match start.get().take_said() {
        Some((status, headers)) => (status.into_bound(py), headers.into_bound(py)),
        None => (py.None().into_bound(py), PyList::empty(py).into_any()),
    };
    hooks.call_method1(intern!(py, "after"), (request, environ, status, headers))?;
    outcome
}

/// `GET /path?query`, for a log line.
fn name_of(environ: &Bound<'_, PyDict>) -> String {
    let text = |key| match environ.get_item(key) {
        Ok(Some(value)) => value.to_string(),
        _ => "?".to_owned(),
    };
    format!("{} {}", text("REQUEST_METHOD"), text("RAW_URI"))
}

fn call(
    py: Python<'_>,
    serving: &Serving,
    files: &Files,
    environ: &Bound<'_, PyDict>,
    start: &Bound<'_, StartResponse>,
) -> PyResult<()> {
    let result = serving.app.bind(py).call1((environ, start))?;
    let response = start.get();
    if let Some(body) = all_at_once(&result, response)? {
        return response.send_whole(body);
    }
    if response.takes_file()
        && let Some(file) =
            files.content_of(&result, response.declared_length(), &serving.closing)?
    {
        // Closed once it is sent: until then others are served.
        return response.send_file(file);
    }
    let sent = send_iterable(py, &result, response);
    // PEP 3333: close() is called however the iteration ended.
    let closed = match result.getattr_opt(intern!(py, "close"))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    };
    sent.and(closed)
}

/// The body of a result that is complete already: a list or a tuple. Has no `close`.
fn all_at_once(result: &Bound<'_, PyAny>, response: &StartResponse) -> PyResult<Option<Bytes>> {
    if response.is_streaming() {
        return Ok(None);
    }
    let one = if let Ok(list) = result.cast_exact::<PyList>() {
        match list.len() {
            0 => return Ok(Some(Bytes::new())),
            1 => list.get_item(0)?,
            _ => return joined(list.iter()).map(Some),
        }
    } else if let Ok(tuple) = result.cast_exact::<PyTuple>() {
        match tuple.len() {
            0 => return Ok(Some(Bytes::new())),
            1 => tuple.get_item(0)?,
            _ => return joined(tuple.iter()).map(Some),
        }
    } else {
        return Ok(None);
    };
    piece_of(&one).map(Some)
}

fn joined<'py>(pieces: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<Bytes> {
    let mut whole = Vec::new();
    for piece in pieces {
        whole.extend_from_slice(bytes_of(&piece)?.as_bytes());
    }
    Ok(whole.into())
}

fn bytes_of<'a, 'py>(piece: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    piece.cast::<PyBytes>().map_err(|_| {
        let kind = piece.get_type();
        PyTypeError::new_err(format!("a response body must yield bytes, not {kind}"))
    })
}

fn piece_of(piece: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    Ok(owned(PyBackedBytes::from(bytes_of(piece)?.clone())))
}

/// Sends each piece before the next is asked for, as PEP 3333 demands; except that a first piece
/// as long as the declared body is the whole response.
fn send_iterable(
    py: Python<'_>,
    result: &Bound<'_, PyAny>,
    response: &StartResponse,
) -> PyResult<()> {
    for piece in result.try_iter()? {
        let piece = piece_of(&piece?)?;
        if piece.is_empty() {
            continue;
        }
        let whole = response.declared_length() == Some(piece.len() as u64);
        if whole && !response.is_streaming() {
            response.send_whole(piece)?;
        } else if response.is_streaming() || !response.head_sent() {
            response.push(py, piece)?;
        }
        // Else the body is complete, and what an app yields beyond it is dropped.
        if response.is_sated() {
            break;
        }
    }
    if response.is_streaming() {
        response.end_stream();
    } else if !response.head_sent() {
        response.send_whole(Bytes::new())?;
    }
    Ok(())
}

fn fail(
    py: Python<'_>,
    serving: &Serving,
    environ: &Bound<'_, PyDict>,
    start: &Bound<'_, StartResponse>,
    error: &PyErr,
) {
    let response = start.get();
    let is_overdue = error.is_instance_of::<RequestTimeout>(py);
    if is_overdue && response.clock().is_broken_off() {
        // All is said and answered.
        return serving.log(Level::Debug, &format!("Broken off: {}", name_of(environ)));
    }
    if error.is_instance_of::<PyBrokenPipeError>(py) && response.is_client_gone() {
        // The client left in the middle: nobody's fault, and common.
        response.abort_stream();
        return serving.log(Level::Debug, &format!("Closing connection. {}", name_of(environ)));
    }
    serving.report_failure(&name_of(environ), &describe(py, error));
    if response.is_streaming() {
        response.abort_stream();
    } else if !response.head_sent() {
        response.send_page(page(if is_overdue { 504 } else { 500 }, ""));
    }
}
