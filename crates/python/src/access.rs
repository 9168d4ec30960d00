//! Requests that are over, told to a logger class of the user's.

use pyo3::prelude::*;
use remuda_front::http::HeaderMap;
use remuda_front::http::Version;
use remuda_front::{AccessRecord, Peer};

/// Tells `recorder` of each request; see `python/remuda/access.py`. `wanted` are the names of the
/// environ's values that the records hold.
pub(crate) fn record(recorder: &Py<PyAny>, wanted: &[String], records: Vec<AccessRecord>) {
    if records.is_empty() {
        return;
    }
    Python::attach(|py| {
        for record in records {
            // It says by itself what fails in it; requests go on.
            let _ = tell(py, recorder, wanted, &record);
        }
    });
}

fn tell(
    py: Python<'_>,
    recorder: &Py<PyAny>,
    wanted: &[String],
    record: &AccessRecord,
) -> PyResult<()> {
    let AccessRecord { head, peer, status, headers, environ, sent_bytes, took } = record;
    let peer = match peer {
        Peer::Inet(ip, port) => Some((ip.to_string(), *port)),
        Peer::Unix => None,
    };
    let protocol = match head.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    };
    let target = (head.uri.to_string(), head.uri.path(), head.uri.query().unwrap_or_default());
    let environ: Vec<_> = wanted.iter().zip(environ).collect();
    let request = (head.method.as_str(), target, protocol, texts(&head.headers), peer, environ);
    let response = (*status, texts(headers), *sent_bytes, *took);
    recorder.call1(py, (request, response)).map(drop)
}

/// Each byte is a character, as in an environ.
fn texts(headers: &HeaderMap) -> Vec<(&str, String)> {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str(), text(value.as_bytes()))).collect()
}
