//! From the master's plan to what a worker is made of.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use remuda_channel::{WorkerClass, WorkerPlan};
use remuda_front::http::header::{HeaderName, HeaderValue};
use remuda_front::{
    AccessFormat, Lenience, Limits, Listener, Proxies, TrustedPeers, Underscores, WebSocketLimits,
};
use remuda_journal::AccessLog;

pub(crate) fn read_plan(plan: &str) -> PyResult<WorkerPlan> {
    serde_json::from_str(plan).map_err(|error| PyValueError::new_err(error.to_string()))
}

pub(crate) fn proxies(plan: &WorkerPlan) -> PyResult<Proxies> {
    let plan = &plan.proxies;
    let trusted = TrustedPeers::parse(&plan.allow_ips).map_err(|entry| {
        let what = "is neither an address nor a network";
        PyValueError::new_err(format!("forwarded_allow_ips: `{entry}` {what}"))
    })?;
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
        trusted,
        forwarder_headers: if every { None } else { Some(named.collect::<PyResult<_>>()?) },
        underscores: match plan.header_map {
            remuda_channel::Underscores::Drop => Underscores::Drop,
            remuda_channel::Underscores::Refuse => Underscores::Refuse,
            remuda_channel::Underscores::Dangerous => Underscores::Dangerous,
        },
        scheme_headers: schemes.collect::<PyResult<_>>()?,
    })
}

/// Looks at what only workers use, before there are any: better one error than a crash loop.
#[pyfunction]
pub(crate) fn check_plan(plan: &str) -> PyResult<()> {
    let plan = read_plan(plan)?;
    proxies(&plan)?;
    open_access_log(&plan).map(drop)
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

/// A descriptor of the front's own, so that Python may close the original.
pub(crate) fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    // SAFETY: the caller holds it open for the length of this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(fd.try_clone_to_owned()?)
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
    }
}

pub(crate) fn open_access_log(
    plan: &WorkerPlan,
) -> PyResult<(Option<AccessLog>, Option<AccessFormat>)> {
    let Some(target) = &plan.accesslog else { return Ok((None, None)) };
    let format = AccessFormat::parse(&plan.access_log_format)
        .map_err(|error| PyValueError::new_err(format!("access_log_format: {error}")))?;
    let log = AccessLog::open(target).map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok((Some(log), Some(format)))
}
