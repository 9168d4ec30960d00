//! From settings to what each crate needs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use remuda_channel::{
    AsgiPlan, LeniencePlan, ListenerPlan, Preload, ProxyPlan, Underscores, WorkerClass, WorkerPlan,
};
use remuda_runtime::{Address, Binding, listen_fds};
use remuda_settings::{AsgiSettings, Lenience, ProxySettings, Settings};
use remuda_supervisor::Plan;

/// What the supervisor decides by.
pub(crate) fn for_supervisor(settings: &Settings) -> Plan {
    Plan {
        workers: settings.workers,
        max_surge: settings.max_surge,
        max_requests: settings.max_requests,
        max_requests_jitter: settings.max_requests_jitter,
        timeout: settings.timeout,
        graceful_timeout: settings.graceful_timeout,
        boot_timeout: settings.boot_timeout,
        seed: seed(),
        ..Plan::default()
    }
}

/// Differs from one start to the next, so that several services do not recycle in step.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() ^ u64::from(since.subsec_nanos()) << 20 ^ u64::from(std::process::id())
}

/// What zygotes and workers are told.
pub(crate) fn for_workers(settings: &Settings, listeners: Vec<ListenerPlan>) -> WorkerPlan {
    let seconds = |length: Duration| length.as_secs_f64();
    WorkerPlan {
        app: settings.app.clone(),
        worker_class: match settings.worker_class {
            remuda_settings::WorkerClass::Sync => WorkerClass::Sync,
            remuda_settings::WorkerClass::Gthread => WorkerClass::Gthread,
            remuda_settings::WorkerClass::Gevent => WorkerClass::Gevent,
            remuda_settings::WorkerClass::Asgi => WorkerClass::Asgi,
        },
        threads: settings.threads,
        asgi: for_asgi(&settings.asgi),
        preload: match settings.preload_app {
            None => Preload::Auto,
            Some(true) => Preload::Always,
            Some(false) => Preload::Never,
        },
        chdir: settings.chdir.display().to_string(),
        pythonpath: settings.pythonpath.iter().map(|path| path.display().to_string()).collect(),
        workers: settings.workers,
        listeners,
        worker_connections: settings.worker_connections,
        timeout_s: settings.timeout.map_or(0.0, seconds),
        graceful_timeout_s: seconds(settings.graceful_timeout),
        keepalive_s: seconds(settings.keepalive),
        head_timeout_s: seconds(settings.head_timeout),
        body_timeout_s: seconds(settings.body_timeout),
        write_timeout_s: seconds(settings.write_timeout),
        body_spool_bytes: settings.body_spool_bytes,
        limit_request_line: settings.limit_request_line,
        limit_request_fields: settings.limit_request_fields,
        limit_request_field_size: settings.limit_request_field_size,
        limit_request_body: settings.limit_request_body,
        lenience: lenience(settings.lenience),
        sendfile: settings.sendfile,
        socket_in_environ: settings.socket_in_environ,
        proxies: proxies(&settings.proxies),
        errorlog: settings.errorlog.clone(),
        accesslog: settings.accesslog.clone(),
        access_log_format: settings.access_log_format.clone(),
        loglevel: settings.loglevel.clone(),
    }
}

fn lenience(settings: Lenience) -> LeniencePlan {
    LeniencePlan {
        obsolete_folding: settings.obsolete_folding,
        header_spaces: settings.header_spaces,
        casefold_method: settings.casefold_method,
        unconventional_method: settings.unconventional_method,
    }
}

fn proxies(settings: &ProxySettings) -> ProxyPlan {
    ProxyPlan {
        allow_ips: settings.allow_ips.clone(),
        forwarder_headers: settings.forwarder_headers.clone(),
        header_map: match settings.header_map.as_str() {
            "refuse" => Underscores::Refuse,
            "dangerous" => Underscores::Dangerous,
            _ => Underscores::Drop,
        },
        secure_scheme_headers: settings.secure_scheme_headers.clone(),
    }
}

fn for_asgi(settings: &AsgiSettings) -> AsgiPlan {
    AsgiPlan {
        event_loop: settings.event_loop.clone(),
        lifespan: settings.lifespan.clone(),
        disconnect_grace_s: settings.disconnect_grace.as_secs_f64(),
        websocket_message_bytes: settings.websocket_message_bytes,
        websocket_compression: settings.websocket_compression,
        websocket_ping_interval_s: settings.websocket_ping_interval.as_secs_f64(),
        root_path: settings.root_path.clone(),
    }
}

/// What to bind.
pub(crate) fn binding(settings: &Settings) -> Binding {
    let env = |name| std::env::var(name).ok();
    Binding {
        addresses: settings.binds.iter().map(address).collect(),
        backlog: i32::try_from(settings.backlog).unwrap_or(i32::MAX),
        reuse_port: settings.reuse_port,
        umask: settings.umask,
        inherited: listen_fds(env("LISTEN_PID").as_deref(), env("LISTEN_FDS").as_deref()),
    }
}

fn address(address: &remuda_settings::Address) -> Address {
    match address {
        remuda_settings::Address::Any { port } => Address::Any { port: *port },
        remuda_settings::Address::Tcp { host, port } => {
            Address::Tcp { host: host.clone(), port: *port }
        }
        remuda_settings::Address::Unix(path) => Address::Unix(path.clone()),
        remuda_settings::Address::Fd(fd) => Address::Fd(i32::try_from(*fd).unwrap_or(i32::MAX)),
    }
}

/// What is added to the environment of the application.
pub(crate) fn environment(settings: &Settings) -> BTreeMap<String, String> {
    settings.raw_env.iter().cloned().collect()
}
