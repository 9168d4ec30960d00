//! The scope of a request, as the ASGI specification (3.0, HTTP 2.4) has it.
//!
//! `client` is what a trusted proxy says in `X-Forwarded-For`, as with uvicorn, whose users are
//! most of those who run ASGI apps under gunicorn.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use remuda_channel::AsgiPlan;
use remuda_front::http::header::HeaderName;
use remuda_front::http::{Method, Version};
use remuda_front::{Exchange, Front, Listener, Peer, Scheme};
use rustc_hash::FxHashMap;

/// Builds scopes from what is the same for all requests and what is not.
pub(crate) struct ScopeBuilder {
    /// One for each listener. All keys have their place in it already, those of requests as well:
    /// a copy that never grows is made in one piece.
    bases: Vec<Py<PyDict>>,
    http_extensions: Py<PyDict>,
    /// What the lifespan has put there; each request gets a copy.
    state: Py<PyDict>,
    /// The header names seen so far.
    names: RefCell<FxHashMap<HeaderName, Py<PyBytes>>>,
}

/// A client must not be able to fill memory with invented header names.
const NAMES_MAX: usize = 256;

impl ScopeBuilder {
    pub(crate) fn new(
        py: Python<'_>,
        listeners: &[Listener],
        plan: &AsgiPlan,
        state: Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let versions = PyDict::new(py);
        versions.set_item("version", "3.0")?;
        versions.set_item("spec_version", "2.4")?;
        let bases = listeners.iter().map(|listener| {
            let base = PyDict::new(py);
            for key in [
                intern!(py, "type"),
                intern!(py, "asgi"),
                intern!(py, "http_version"),
                intern!(py, "scheme"),
                intern!(py, "path"),
                intern!(py, "raw_path"),
                intern!(py, "query_string"),
                intern!(py, "root_path"),
                intern!(py, "headers"),
                intern!(py, "client"),
                intern!(py, "server"),
                intern!(py, "state"),
                intern!(py, "extensions"),
            ] {
                base.set_item(key, py.None())?;
            }
            base.set_item("asgi", &versions)?;
            base.set_item("server", (&listener.host, listener.port))?;
            base.set_item("root_path", &plan.root_path)?;
            Ok(base.unbind())
        });
        let http_extensions = PyDict::new(py);
        http_extensions.set_item("http.response.trailers", PyDict::new(py))?;
        http_extensions.set_item("http.response.early_hint", PyDict::new(py))?;
        Ok(Self {
            bases: bases.collect::<PyResult<_>>()?,
            http_extensions: http_extensions.unbind(),
            state: state.unbind(),
            names: RefCell::default(),
        })
    }

    /// The scope of an HTTP request.
    pub(crate) fn http<'py>(
        &self,
        py: Python<'py>,
        front: &Front,
        exchange: &Exchange,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.common(py, front, exchange)?;
        scope.set_item(intern!(py, "type"), intern!(py, "http"))?;
        let scheme = match exchange.scheme() {
            Scheme::Http => intern!(py, "http"),
            Scheme::Https => intern!(py, "https"),
        };
        scope.set_item(intern!(py, "scheme"), scheme)?;
        let method = match exchange.head.method {
            Method::GET => intern!(py, "GET").clone(),
            Method::POST => intern!(py, "POST").clone(),
            ref other => PyString::new(py, other.as_str()),
        };
        scope.set_item(intern!(py, "method"), method)?;
        let extensions = self.http_extensions.bind(py).copy()?;
        add_tls(&extensions, exchange)?;
        scope.set_item(intern!(py, "extensions"), extensions)?;
        Ok(scope)
    }

    /// The scope of a WebSocket connection.
    pub(crate) fn websocket<'py>(
        &self,
        py: Python<'py>,
        front: &Front,
        exchange: &Exchange,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.common(py, front, exchange)?;
        scope.set_item(intern!(py, "type"), intern!(py, "websocket"))?;
        let scheme = match exchange.scheme() {
            Scheme::Http => intern!(py, "ws"),
            Scheme::Https => intern!(py, "wss"),
        };
        scope.set_item(intern!(py, "scheme"), scheme)?;
        let offered = exchange.websocket.as_ref().map_or(&[][..], |asked| &asked.subprotocols);
        scope.set_item(intern!(py, "subprotocols"), offered)?;
        let extensions = PyDict::new(py);
        extensions.set_item(intern!(py, "websocket.http.response"), PyDict::new(py))?;
        add_tls(&extensions, exchange)?;
        scope.set_item(intern!(py, "extensions"), extensions)?;
        Ok(scope)
    }

    /// What HTTP and WebSocket have in common.
    fn common<'py>(
        &self,
        py: Python<'py>,
        front: &Front,
        exchange: &Exchange,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.bases[exchange.listener()].bind(py).copy()?;
        let head = &exchange.head;
        let version = match head.version {
            Version::HTTP_10 => intern!(py, "1.0"),
            Version::HTTP_2 => intern!(py, "2"),
            _ => intern!(py, "1.1"),
        };
        scope.set_item(intern!(py, "http_version"), version)?;
        let raw = head.uri.path();
        if raw.contains('%') {
            let decoded = percent_encoding::percent_decode_str(raw).decode_utf8_lossy();
            scope.set_item(intern!(py, "path"), decoded)?;
        } else {
            scope.set_item(intern!(py, "path"), raw)?;
        }
        scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, raw.as_bytes()))?;
        let query = head.uri.query().unwrap_or_default();
        scope.set_item(intern!(py, "query_string"), PyBytes::new(py, query.as_bytes()))?;
        scope.set_item(intern!(py, "headers"), self.headers(py, exchange)?)?;
        scope.set_item(intern!(py, "client"), client(py, front, exchange)?)?;
        scope.set_item(intern!(py, "state"), self.state.bind(py).copy()?)?;
        Ok(scope)
    }

    fn headers<'py>(&self, py: Python<'py>, exchange: &Exchange) -> PyResult<Bound<'py, PyList>> {
        let headers = PyList::empty(py);
        for (name, value) in &exchange.head.headers {
            let value = PyBytes::new(py, value.as_bytes());
            headers.append(PyTuple::new(py, [self.name(py, name), value])?)?;
        }
        Ok(headers)
    }

    fn name<'py>(&self, py: Python<'py>, name: &HeaderName) -> Bound<'py, PyBytes> {
        if let Some(known) = self.names.borrow().get(name) {
            return known.bind(py).clone();
        }
        let bytes = PyBytes::new(py, name.as_str().as_bytes());
        let mut names = self.names.borrow_mut();
        if names.len() < NAMES_MAX {
            names.insert(name.clone(), bytes.clone().unbind());
        }
        bytes
    }
}

/// The `tls` extension, version 0.2, where there is TLS.
fn add_tls(extensions: &Bound<'_, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let py = extensions.py();
    let Some(facts) = exchange.tls() else { return Ok(()) };
    let client = facts.client.as_ref();
    let chain: &[String] = client.map_or(&[], |client| &client.chain);
    let name = client.map(|client| &client.subject);
    let extension = PyDict::new(py);
    extension.set_item(intern!(py, "server_cert"), facts.server_pem())?;
    extension.set_item(intern!(py, "client_cert_chain"), PyTuple::new(py, chain)?)?;
    extension.set_item(intern!(py, "client_cert_name"), name)?;
    // One that does not verify ends the handshake.
    extension.set_item(intern!(py, "client_cert_error"), py.None())?;
    extension.set_item(intern!(py, "tls_version"), facts.version)?;
    extension.set_item(intern!(py, "cipher_suite"), facts.suite)?;
    extensions.set_item(intern!(py, "tls"), extension)
}

/// Address and port of the client; `None` on a unix socket.
fn client<'py>(
    py: Python<'py>,
    front: &Front,
    exchange: &Exchange,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    if let Some(forwarded) = front.forwarded_client(exchange) {
        return Ok(Some((forwarded, 0).into_pyobject(py)?));
    }
    let Peer::Inet(ip, port) = exchange.peer() else { return Ok(None) };
    let make = || (ip.to_string(), port).into_pyobject(py).map(Bound::unbind);
    match exchange.kept(make) {
        Some(Ok(client)) => Ok(Some(client.bind(py).clone())),
        Some(Err(error)) => Err(error.clone_ref(py)),
        None => Ok(None),
    }
}
