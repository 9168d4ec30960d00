//! The environ of a request, as gunicorn builds it.
//!
//! Where it differs on purpose: a chunked body was read ahead, so its length is known; it is
//! given as `CONTENT_LENGTH`, as RFC 9112 §7.1.3 asks of whoever decodes it, and
//! `HTTP_TRANSFER_ENCODING` is gone. Repeated `Cookie` fields are joined by `; `.

use std::cell::RefCell;
use std::os::fd::IntoRawFd;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use remuda_channel::{WorkerClass, WorkerPlan};
use remuda_front::http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use remuda_front::http::{Method, Version};
use remuda_front::{Exchange, Listener, Peer, RequestBody, Scheme, TlsFacts};
use rustc_hash::FxHashMap;

use super::FileWrapper;

/// Why an environ cannot be built; the request is refused with this status and message.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// Builds environs from what is the same for all requests and what is not.
pub(crate) struct EnvironBuilder {
    /// One for each listener: all keys that every request has, and what most of them say.
    bases: Vec<Py<PyDict>>,
    /// The header names seen so far.
    fields: RefCell<FxHashMap<HeaderName, Field>>,
    bytes_io: Py<PyAny>,
    fdopen: Py<PyAny>,
    /// `socket.socket`, if apps want one.
    socket: Option<Py<PyAny>>,
    /// From the process environment; usually empty.
    script_name: String,
    /// What the bases say.
    scheme: Scheme,
}

/// What a request brings that has to be closed after it.
pub(crate) struct Input<'py> {
    /// `wsgi.input`.
    stream: Bound<'py, PyAny>,
    length: u64,
    is_file: bool,
    /// `gunicorn.socket`, if apps want it.
    socket: Option<Bound<'py, PyAny>>,
}

impl Input<'_> {
    /// The request is over. Whoever still holds a large body would hold its disk space, too.
    pub(crate) fn close(&self) -> PyResult<()> {
        if let Some(socket) = &self.socket {
            // The front's duplicate has the same flags. An app may have closed its own already.
            let _ = socket.call_method1("setblocking", (false,));
            socket.call_method0("close")?;
        }
        match self.is_file {
            true => self.stream.call_method0("close").map(drop),
            false => Ok(()),
        }
    }
}

/// A header in the environ.
struct Field {
    /// `HTTP_…`
    key: Py<PyString>,
    /// The value it had last. Most clients, and a proxy before them all, repeat theirs.
    last: Option<Py<PyString>>,
}

/// A client must not be able to fill memory with invented header names,
const FIELDS_MAX: usize = 256;
/// nor with what it says in them.
const LAST_BYTES_MAX: usize = 128;

impl EnvironBuilder {
    pub(crate) fn new(
        py: Python<'_>,
        listeners: &[Listener],
        plan: &WorkerPlan,
        errors: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let script_name = std::env::var("SCRIPT_NAME").unwrap_or_default();
        let io = py.import("io")?;
        let wrapper = py.get_type::<FileWrapper>();
        let scheme = if plan.protocols.tls.is_some() { Scheme::Https } else { Scheme::Http };
        let bases = listeners.iter().map(|listener| {
            let base = PyDict::new(py);
            base.set_item("REQUEST_METHOD", intern!(py, "GET"))?;
            base.set_item("QUERY_STRING", "")?;
            base.set_item("SERVER_PROTOCOL", intern!(py, "HTTP/1.1"))?;
            for set_by_each_request in [
                "PATH_INFO",
                "RAW_URI",
                "REMOTE_ADDR",
                "wsgi.input",
                "wsgi.early_hints",
                "remuda.extend_timeout",
            ] {
                base.set_item(PyString::intern(py, set_by_each_request), py.None())?;
            }
            base.set_item("wsgi.version", (1, 0))?;
            let scheme_text = if scheme == Scheme::Https { "https" } else { "http" };
            base.set_item("wsgi.url_scheme", PyString::intern(py, scheme_text))?;
            base.set_item("wsgi.errors", errors)?;
            base.set_item("wsgi.multithread", plan.worker_class != WorkerClass::Sync)?;
            base.set_item("wsgi.multiprocess", plan.workers > 1)?;
            base.set_item("wsgi.run_once", false)?;
            base.set_item("wsgi.input_terminated", true)?;
            base.set_item("wsgi.file_wrapper", &wrapper)?;
            base.set_item("SERVER_SOFTWARE", concat!("remuda/", env!("CARGO_PKG_VERSION")))?;
            base.set_item("SCRIPT_NAME", &script_name)?;
            base.set_item("SERVER_NAME", &listener.host)?;
            base.set_item("SERVER_PORT", listener.port.map_or(String::new(), |p| p.to_string()))?;
            make_room(&base)?;
            Ok(base.unbind())
        });
        Ok(Self {
            bases: bases.collect::<PyResult<_>>()?,
            fields: RefCell::default(),
            bytes_io: io.getattr("BytesIO")?.unbind(),
            fdopen: io.getattr("open")?.unbind(),
            // gevent's own where it has replaced it.
            socket: match plan.socket_in_environ {
                true => Some(py.import("socket")?.getattr("socket")?.unbind()),
                false => None,
            },
            script_name,
            scheme,
        })
    }

    /// The environ of a request whose body is `input`.
    pub(crate) fn build<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        input: &Input<'py>,
    ) -> PyResult<Result<Bound<'py, PyDict>, Refused>> {
        let environ = self.bases[exchange.listener()].bind(py).copy()?;
        environ.set_item(intern!(py, "wsgi.input"), &input.stream)?;
        if let Some(socket) = &input.socket {
            environ.set_item(intern!(py, "gunicorn.socket"), socket)?;
        }
        let target = set_request_line(&environ, exchange)?;
        set_peer(&environ, exchange)?;
        if exchange.peer() == Peer::Unix {
            set_unix_server(&environ, exchange)?;
        }

        let headers = &exchange.head.headers;
        let mut chunked = false;
        let repeated = headers.len() != headers.keys_len();
        for (name, value) in headers {
            if name == TRANSFER_ENCODING {
                chunked = true;
            } else if repeated {
                self.set_header(&environ, name, &joined_values(name, headers))?;
            } else {
                self.set_header(&environ, name, value.as_bytes())?;
            }
        }
        if chunked {
            // The chunks are gone; and what a header says beside them counts for nothing.
            environ.set_item(intern!(py, "CONTENT_LENGTH"), input.length.to_string())?;
        }
        set_what_came_before(&environ, exchange)?;
        if exchange.scheme() != self.scheme {
            let scheme = match exchange.scheme() {
                Scheme::Http => intern!(py, "http"),
                Scheme::Https => intern!(py, "https"),
            };
            environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
        }
        // It is only there if the peer may send it.
        let given = exchange.has_underscores().then(|| headers.get("script_name")).flatten();
        let given = given.map(text_of);
        let script_name = given.as_deref().unwrap_or(&self.script_name);
        Ok(set_path(&environ, exchange, script_name, target)?.map(|()| environ))
    }

    /// The body of a request, taken out of it.
    pub(crate) fn input<'py>(
        &self,
        py: Python<'py>,
        exchange: &mut Exchange,
    ) -> PyResult<Input<'py>> {
        let nothing = RequestBody::Memory(bytes::Bytes::new());
        let body = std::mem::replace(&mut exchange.body, nothing);
        let length = body.length();
        let is_file = matches!(body, RequestBody::File { .. });
        let stream = match body {
            RequestBody::Memory(bytes) if bytes.is_empty() => self.bytes_io.bind(py).call0()?,
            RequestBody::Memory(bytes) => {
                self.bytes_io.bind(py).call1((PyBytes::new(py, &bytes),))?
            }
            RequestBody::Stream(_) => unreachable!("WSGI apps get bodies that are whole"),
            RequestBody::File { file, .. } => {
                self.fdopen.bind(py).call1((file.into_raw_fd(), intern!(py, "rb")))?
            }
        };
        let socket = self.socket.as_ref().map(|socket| duplicate(socket.bind(py), exchange));
        Ok(Input { stream, length, is_file, socket: socket.transpose()? })
    }

    fn set_header(
        &self,
        environ: &Bound<'_, PyDict>,
        name: &HeaderName,
        bytes: &[u8],
    ) -> PyResult<()> {
        let (key, last) = self.known(environ.py(), name);
        if let Some(last) = last.filter(|last| is_text_of(last, bytes)) {
            return environ.set_item(key, last);
        }
        let value = latin1(environ.py(), bytes)?;
        environ.set_item(key, &value)?;
        if bytes.len() <= LAST_BYTES_MAX
            && bytes.is_ascii()
            && let Some(field) = self.fields.borrow_mut().get_mut(name)
        {
            field.last = Some(value.unbind());
        }
        Ok(())
    }

    /// The key of a header, and the value it had last.
    fn known<'py>(
        &self,
        py: Python<'py>,
        name: &HeaderName,
    ) -> (Bound<'py, PyString>, Option<Bound<'py, PyString>>) {
        if let Some(Field { key, last }) = self.fields.borrow().get(name) {
            return (key.bind(py).clone(), last.as_ref().map(|last| last.bind(py).clone()));
        }
        // Interned, as the names in the app's code are: then they need not be compared.
        let key = PyString::intern(py, &environ_name(name));
        if self.fields.borrow().len() < FIELDS_MAX {
            let field = Field { key: key.clone().unbind(), last: None };
            self.fields.borrow_mut().insert(name.clone(), field);
        }
        (key, None)
    }
}

/// Whether a string of ASCII consists of these bytes.
fn is_text_of(text: &Bound<'_, PyString>, bytes: &[u8]) -> bool {
    text.to_str().is_ok_and(|text| text.as_bytes() == bytes)
}

fn duplicate<'py>(socket: &Bound<'py, PyAny>, exchange: &Exchange) -> PyResult<Bound<'py, PyAny>> {
    let fd = exchange.duplicate_socket()?.into_raw_fd();
    let arguments = PyDict::new(socket.py());
    arguments.set_item("fileno", fd)?;
    socket.call((), Some(&arguments))
}

/// Has the table of a dict grow as if there were headers in it: a copy gets a table of the same
/// size, and need not be built anew while it is filled.
fn make_room(base: &Bound<'_, PyDict>) -> PyResult<()> {
    const HEADERS: usize = 16;
    let before = base.len();
    (0..HEADERS).try_for_each(|number| base.set_item(number.to_string(), ()))?;
    while base.len() > before {
        base.call_method0("popitem")?;
    }
    Ok(())
}

/// `x-forwarded-for` → `HTTP_X_FORWARDED_FOR`.
fn environ_name(name: &HeaderName) -> String {
    if *name == CONTENT_TYPE || *name == CONTENT_LENGTH {
        return name.as_str().to_ascii_uppercase().replace('-', "_");
    }
    let mut key = String::with_capacity("HTTP_".len() + name.as_str().len());
    key.push_str("HTTP_");
    key.extend(name.as_str().chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() }));
    key
}

/// Bytes as latin-1 text, which is what PEP 3333 calls a native string.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len()).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: pointer and length are those of a slice, and the errors are not named; every byte is
    // a character of latin-1, so the result is a new string, or null when there is no memory.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

fn text_of(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|&byte| char::from(byte)).collect()
}

/// All values of a field, as one.
fn joined_values(name: &HeaderName, headers: &HeaderMap) -> Vec<u8> {
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b"," };
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    values.join(separator)
}

/// Method, query and protocol, where they are not what the base says; and the target as it came,
/// which is given back.
fn set_request_line<'py>(
    environ: &Bound<'py, PyDict>,
    exchange: &Exchange,
) -> PyResult<Bound<'py, PyString>> {
    let py = environ.py();
    let head = &exchange.head;
    let protocol_key = intern!(py, "SERVER_PROTOCOL");
    match head.method {
        Method::GET => {}
        Method::POST => environ.set_item(intern!(py, "REQUEST_METHOD"), intern!(py, "POST"))?,
        ref other => environ.set_item(intern!(py, "REQUEST_METHOD"), other.as_str())?,
    }
    if let Some(query) = head.uri.query() {
        environ.set_item(intern!(py, "QUERY_STRING"), query)?;
    }
    match head.version {
        Version::HTTP_10 => environ.set_item(protocol_key, intern!(py, "HTTP/1.0"))?,
        Version::HTTP_2 => environ.set_item(protocol_key, intern!(py, "HTTP/2.0"))?,
        _ => {}
    }
    let target = match head.uri.path_and_query() {
        Some(target) if head.uri.authority().is_none() => latin1(py, target.as_str().as_bytes())?,
        _ => PyString::new(py, &head.uri.to_string()),
    };
    environ.set_item(intern!(py, "RAW_URI"), &target)?;
    Ok(target)
}

/// Address and port of a connection's peer, made at its first request.
struct PeerText {
    ip: Py<PyString>,
    port: Py<PyString>,
}

impl PeerText {
    fn new(py: Python<'_>, peer: Peer) -> Self {
        let (ip, port) = match peer {
            Peer::Inet(ip, port) => (ip.to_string(), port.to_string()),
            Peer::Unix => Default::default(),
        };
        Self { ip: PyString::new(py, &ip).unbind(), port: PyString::new(py, &port).unbind() }
    }
}

fn set_peer(environ: &Bound<'_, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let py = environ.py();
    let peer = exchange.peer();
    let Some(text) = exchange.kept(|| PeerText::new(py, peer)) else { return Ok(()) };
    environ.set_item(intern!(py, "REMOTE_ADDR"), &text.ip)?;
    if peer == Peer::Unix {
        return Ok(());
    }
    environ.set_item(intern!(py, "REMOTE_PORT"), &text.port)
}

/// What was said before the request: by a proxy, in a TLS handshake, by the choice of HTTP/2. After
/// the headers, so that none of them can pretend to be one of these.
fn set_what_came_before(environ: &Bound<'_, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let py = environ.py();
    if exchange.head.version == Version::HTTP_2 {
        environ.set_item(intern!(py, "HTTP_VERSION"), intern!(py, "2"))?;
    }
    if let Some(told) = exchange.told() {
        environ.set_item(intern!(py, "PROXY_PROTOCOL"), told.protocol)?;
        if let Some((_, server)) = told.addresses {
            environ.set_item(intern!(py, "PROXY_ADDR"), server.ip().to_string())?;
            environ.set_item(intern!(py, "PROXY_PORT"), server.port().to_string())?;
        }
    }
    match exchange.tls() {
        Some(facts) => set_tls(environ, facts),
        None => Ok(()),
    }
}

/// In the names of Apache's mod_ssl, which uWSGI and others have taken over.
fn set_tls(environ: &Bound<'_, PyDict>, facts: &TlsFacts) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(intern!(py, "SSL_PROTOCOL"), facts.protocol)?;
    environ.set_item(intern!(py, "SSL_CIPHER"), facts.cipher)?;
    let Some(client) = &facts.client else {
        return environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), intern!(py, "NONE"));
    };
    environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), intern!(py, "SUCCESS"))?;
    environ.set_item(intern!(py, "SSL_CLIENT_S_DN"), latin1(py, client.subject.as_bytes())?)?;
    environ.set_item(intern!(py, "SSL_CLIENT_I_DN"), latin1(py, client.issuer.as_bytes())?)?;
    environ.set_item(intern!(py, "SSL_CLIENT_M_SERIAL"), &client.serial)?;
    environ.set_item(intern!(py, "SSL_CLIENT_CERT"), client.chain.first())
}

/// A unix socket has no name that a URL could hold, so the Host header gives it.
fn set_unix_server(environ: &Bound<'_, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let py = environ.py();
    let Some(host) = exchange.head.headers.get("host").and_then(|host| host.to_str().ok()) else {
        return Ok(());
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ if exchange.scheme() == Scheme::Https => (host, "443"),
        _ => (host, "80"),
    };
    environ.set_item(intern!(py, "SERVER_NAME"), name)?;
    environ.set_item(intern!(py, "SERVER_PORT"), port)
}

/// `PATH_INFO`, decoded and without the prefix that `SCRIPT_NAME` names.
fn set_path(
    environ: &Bound<'_, PyDict>,
    exchange: &Exchange,
    script_name: &str,
    target: Bound<'_, PyString>,
) -> PyResult<Result<(), Refused>> {
    let py = environ.py();
    // `OPTIONS *` has a target that is no path.
    let raw = exchange.head.uri.path();
    let mut path = raw;
    if !script_name.is_empty() {
        let Some(rest) = raw.strip_prefix(script_name) else {
            let message = format!(
                "Configuration problem: Request path '{raw}' does not start with SCRIPT_NAME \
                 '{script_name}'"
            );
            return Ok(Err(Refused { status: 500, message }));
        };
        environ.set_item(intern!(py, "SCRIPT_NAME"), script_name)?;
        path = rest;
    }
    let decoded = if path.contains('%') {
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
        latin1(py, &bytes)?
    } else if is_text_of(&target, path.as_bytes()) {
        target
    } else {
        latin1(py, path.as_bytes())?
    };
    environ.set_item(intern!(py, "PATH_INFO"), decoded)?;
    Ok(Ok(()))
}
