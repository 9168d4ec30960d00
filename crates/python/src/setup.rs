//! From the master's plan to what a worker is made of.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use remuda_channel::{LoggingPlan, SyslogPlan, TlsPlan, WorkerClass, WorkerPlan};
use remuda_front::http::header::{HeaderName, HeaderValue};
use remuda_front::{
    AccessFormat, Certificates, CleartextHttp2, ClientAuth, Http2Limits, Lenience, Limits,
    Listener, Pair, PemFile, Protocols, Proxies, ProxyProtocol, Relay, Siblings, TlsWish,
    TrustedPeers, Underscores, WebSocketLimits,
};
use remuda_journal::{AccessLog, Syslog};
use remuda_scoreboard::Crowd;

use crate::tls_context;

pub(crate) fn read_plan(plan: &str) -> PyResult<WorkerPlan> {
    serde_json::from_str(plan).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn peers(setting: &str, entries: &[String]) -> PyResult<TrustedPeers> {
    TrustedPeers::parse(entries).map_err(|entry| {
        let what = "is neither an address nor a network";
        PyValueError::new_err(format!("{setting}: `{entry}` {what}"))
    })
}

pub(crate) fn proxies(plan: &WorkerPlan) -> PyResult<Proxies> {
    let plan = &plan.proxies;
    let name_in = |setting, name: &str| {
        let no_name = |_| PyValueError::new_err(format!("{setting}: `{name}` is not a header"));
        HeaderName::from_bytes(name.as_bytes()).map_err(no_name)
    };
    let every = plan.forwarder_headers.iter().any(|name| name == "*");
    let named = plan.forwarder_headers.iter().map(|name| name_in("forwarder_headers", name));
    let schemes = plan.secure_scheme_headers.iter().map(|(name, value)| {
        let no_value = |_| PyValueError::new_err(format!("secure_scheme_headers: `{value}`"));
        let value = HeaderValue::from_str(value).map_err(no_value)?;
        Ok((name_in("secure_scheme_headers", name)?, value))
    });
    Ok(Proxies {
        trusted: peers("forwarded_allow_ips", &plan.allow_ips)?,
        forwarder_headers: if every { None } else { Some(named.collect::<PyResult<_>>()?) },
        underscores: match plan.header_map {
            remuda_channel::Underscores::Drop => Underscores::Drop,
            remuda_channel::Underscores::Refuse => Underscores::Refuse,
            remuda_channel::Underscores::Dangerous => Underscores::Dangerous,
        },
        scheme_headers: schemes.collect::<PyResult<_>>()?,
    })
}

/// What workers get from their zygote, made before there are any: what is wrong is then one error
/// and not a crash loop, and files are read as the user that has started remuda.
#[pyclass(module = "remuda._remuda", frozen)]
pub(crate) struct Groundwork {
    certificates: Option<Arc<Certificates>>,
    /// What the operator should know.
    #[pyo3(get)]
    warnings: Vec<String>,
}

/// Looks at what only workers use, and loads what they share. `context` is what TLS is
/// made from, where the plan does not say it all.
#[pyfunction]
#[pyo3(signature = (plan, context=None))]
pub(crate) fn lay_groundwork(plan: &str, context: Option<&str>) -> PyResult<Groundwork> {
    let plan = read_plan(plan)?;
    proxies(&plan)?;
    open_access_log(&plan, AccessWriter::Front)?;
    proxy_protocol(&plan)?;
    uwsgi(&plan)?;
    let wish = match (&plan.protocols.tls, context) {
        (None, _) => None,
        (Some(_), Some(context)) => Some(tls_context::read(context)?),
        (Some(tls), None) => Some(wish(tls)),
    };
    let certificates = match wish.map(Certificates::load).transpose() {
        Ok(certificates) => certificates.map(Arc::new),
        Err(error) => return Err(PyValueError::new_err(error.to_string())),
    };
    let warnings = certificates.iter().flat_map(|certificates| certificates.warnings());
    let warnings = warnings.cloned().collect();
    Ok(Groundwork { certificates, warnings })
}

fn wish(tls: &TlsPlan) -> TlsWish {
    let key = tls.key.clone().map(Into::into);
    let pair = tls.certificate.as_ref().map(|certificate| Pair::plain(certificate, key));
    TlsWish {
        pairs: pair.into_iter().collect(),
        authorities: tls.authorities.iter().map(PemFile::at).collect(),
        client: client_auth(tls.client_certificates),
        suites: tls.ciphers.clone(),
        protocols: tls.protocols.clone(),
        ..TlsWish::default()
    }
}

/// By the numbers of Python's `ssl.CERT_NONE`, `CERT_OPTIONAL` and `CERT_REQUIRED`.
pub(crate) fn client_auth(number: u8) -> ClientAuth {
    match number {
        0 => ClientAuth::None,
        1 => ClientAuth::Optional,
        _ => ClientAuth::Required,
    }
}

fn proxy_protocol(plan: &WorkerPlan) -> PyResult<Option<(ProxyProtocol, TrustedPeers)>> {
    let version = match plan.protocols.proxy.as_str() {
        "v1" => ProxyProtocol::V1,
        "v2" => ProxyProtocol::V2,
        "auto" => ProxyProtocol::Auto,
        _ => return Ok(None),
    };
    Ok(Some((version, peers("proxy_allow_ips", &plan.protocols.proxy_allow_ips)?)))
}

fn uwsgi(plan: &WorkerPlan) -> PyResult<Option<TrustedPeers>> {
    let allowed = plan.protocols.uwsgi_allow_ips.as_ref();
    allowed.map(|allowed| peers("uwsgi_allow_ips", allowed)).transpose()
}

/// What is spoken on the listeners.
pub(crate) fn protocols(plan: &WorkerPlan, groundwork: &Groundwork) -> PyResult<Protocols> {
    Ok(Protocols {
        proxy: proxy_protocol(plan)?,
        tls: groundwork.certificates.clone(),
        cleartext_http2: match plan.protocols.http2_cleartext.as_str() {
            "prior-knowledge" => CleartextHttp2::Only,
            "both" => CleartextHttp2::Also,
            _ => CleartextHttp2::Off,
        },
        uwsgi: uwsgi(plan)?,
    })
}

/// The descriptors of the plan, which this process inherited and owns from now on.
pub(crate) fn take_listeners(plan: &WorkerPlan) -> Vec<Listener> {
    let take = |listener: &remuda_channel::ListenerPlan| {
        // SAFETY: the zygote was started with a listener at this descriptor, and nothing in this
        // process but the front uses it.
        let fd = unsafe { OwnedFd::from_raw_fd(listener.fd) };
        Listener::new(fd, listener.host.clone(), listener.port)
    };
    plan.listeners.iter().map(take).collect()
}

/// The other workers, as the scoreboard shows them.
struct Among(Crowd);

impl Siblings for Among {
    fn hold(&self, connections: usize) {
        self.0.hold(connections);
    }

    fn leave(&self) {
        self.0.leave();
    }

    fn fewest(&self) -> Option<usize> {
        self.0.fewest()
    }
}

/// The relay, which this process inherited as well.
pub(crate) fn take_relay(plan: &WorkerPlan, crowd: Crowd) -> Option<Relay> {
    // SAFETY: as above: the zygote was started with both, and nothing but the front uses them.
    let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    plan.relay
        .map(|relay| Relay::new(own(relay.give_fd), own(relay.take_fd), Box::new(Among(crowd))))
}

/// A descriptor of the front's own, so that Python may close the original.
pub(crate) fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    // SAFETY: the caller holds it open for the length of this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(fd.try_clone_to_owned()?)
}

/// The master has the stacks of a worker that is stuck, and an exception raised in it, within this
/// time after its limit; later it is killed.
const STUCK_AFTER: Duration = Duration::from_millis(1500);

/// When only the front can still answer.
fn stuck(plan: &WorkerPlan) -> Option<Duration> {
    let of_requests =
        if plan.worker_class == WorkerClass::Sync { plan.request_timeout_s } else { 0.0 };
    let limits = [plan.timeout_s, of_requests].into_iter().filter(|limit| *limit > 0.0);
    Some(Duration::from_secs_f64(limits.reduce(f64::min)?) + STUCK_AFTER)
}

pub(crate) fn limits(plan: &WorkerPlan) -> Limits {
    Limits {
        connections: plan.worker_connections.max(1),
        keepalive: Duration::from_secs_f64(plan.keepalive_s),
        head: Duration::from_secs_f64(plan.head_timeout_s),
        body_pause: Duration::from_secs_f64(plan.body_timeout_s),
        write_pause: Duration::from_secs_f64(plan.write_timeout_s),
        request_line: plan.limit_request_line,
        header_fields: plan.limit_request_fields,
        header_field_bytes: plan.limit_request_field_size,
        body_bytes: plan.limit_request_body,
        lenience: Lenience {
            obsolete_folding: plan.lenience.obsolete_folding,
            header_spaces: plan.lenience.header_spaces,
            casefold_method: plan.lenience.casefold_method,
            unconventional_method: plan.lenience.unconventional_method,
        },
        body_spool_bytes: plan.body_spool_bytes,
        stream_bodies: plan.worker_class == WorkerClass::Asgi,
        // ASGI apps name them in lower case, and expect them so.
        title_case: plan.worker_class != WorkerClass::Asgi,
        websocket: (plan.worker_class == WorkerClass::Asgi).then(|| WebSocketLimits {
            message_bytes: plan.asgi.websocket_message_bytes,
            compression: plan.asgi.websocket_compression,
            ping_interval: Duration::from_secs_f64(plan.asgi.websocket_ping_interval_s),
        }),
        has_siblings: plan.workers > 1,
        stuck: stuck(plan),
        http2: Http2Limits {
            streams: plan.protocols.http2_streams,
            window_bytes: plan.protocols.http2_window_bytes,
            frame_bytes: plan.protocols.http2_frame_bytes,
            header_list_bytes: plan.protocols.http2_header_list_bytes,
        },
    }
}

/// Who writes of requests that are over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessWriter {
    /// We do, to file and syslog.
    Front,
    /// Python's logging gets our lines, as somebody has set it up.
    Logger,
    /// A logger class makes lines of its own.
    Recorder,
}

/// The access log and what is noted for it.
pub(crate) fn open_access_log(
    plan: &WorkerPlan,
    writer: AccessWriter,
) -> PyResult<(Option<AccessLog>, Option<AccessFormat>)> {
    let measures = plan.statsd.is_some();
    if writer == AccessWriter::Recorder {
        // Of the format, only the names in `%({name}e)s` count here.
        let format = AccessFormat::parse(&plan.access_log_format).unwrap_or_default();
        return Ok((None, Some(format.recording().measuring(measures))));
    }
    let by_class = matches!(plan.logging, Some(LoggingPlan::Class(_)));
    let syslog = plan.syslog.as_ref().filter(|syslog| syslog.access);
    if plan.accesslog.is_none() && plan.logging.is_none() && syslog.is_none() {
        return Ok((None, measures.then(|| AccessFormat::default().measuring(true))));
    }
    let open = |target: &String| {
        AccessLog::open(target).map_err(|error| PyOSError::new_err(error.to_string()))
    };
    let log = plan.accesslog.as_ref().map(open).transpose()?;
    if by_class {
        // It was only to be seen whether the file can be had, and to be made for another user.
        return Ok((None, measures.then(|| AccessFormat::default().measuring(true))));
    }
    let format = AccessFormat::parse(&plan.access_log_format)
        .map_err(|error| PyValueError::new_err(format!("access_log_format: {error}")))?;
    let log = match (log, syslog) {
        // As in gunicorn, what it is set up for replaces what the settings ask for.
        _ if writer == AccessWriter::Logger => None,
        (log, None) => log,
        (log, Some(SyslogPlan { address, facility, prefix, .. })) => {
            let syslog = Syslog::open(address, facility, prefix)
                .map_err(|error| PyOSError::new_err(error.to_string()))?;
            Some(match log {
                Some(log) => log.and_syslog(syslog),
                None => AccessLog::for_syslog(syslog),
            })
        }
    };
    Ok((log, Some(format.measuring(measures))))
}
