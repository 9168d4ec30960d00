//! From settings to what each crate needs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use remuda_channel::{
    AsgiPlan, ConfigPlace, ForkCheck, IdentityPlan, LeniencePlan, ListenerPlan, LoggingPlan,
    MemoryPlan, Preload, ProtocolPlan, ProxyPlan, RELAY_GIVE_FD, RELAY_TAKE_FD, RelayPlan,
    StatsdPlan, SyslogPlan, TlsPlan, Underscores, WorkerClass, WorkerPlan,
};
use remuda_runtime::{Address, Binding, Heirloom, Identity, IdentityError, Watching, listen_fds};
use remuda_settings::{
    AsgiSettings, ForwardedSettings, HERALD_HOOKS, IdentitySettings, Kind, Lenience,
    LoggingSettings, MemorySettings, Place, PythonFile, ReloadSettings, Settings, StatsdSettings,
    SyslogSettings, TlsSettings, table,
};
use remuda_supervisor::Plan;

use crate::limits::{self, Room};

/// What the supervisor decides by.
pub fn for_supervisor(settings: &Settings, room: Room, is_heir: bool) -> Plan {
    let (timeout, request_timeout) = match settings.worker_class {
        // Nobody in such a worker could break its only request off, so the master does.
        remuda_settings::WorkerClass::Sync => {
            (settings.timeout.into_iter().chain(settings.request_timeout).min(), None)
        }
        _ => (settings.timeout, settings.request_timeout.map(|limit| limit + BREAK_GRACE)),
    };
    Plan {
        max_age: settings.max_worker_age,
        max_age_jitter: settings.max_worker_age_jitter,
        worker_memory: limits::of_worker(settings.memory.max_memory, room),
        total_memory: limits::of_total(settings.memory.max_memory_total, room).0,
        workers: workers(settings),
        max_surge: settings.max_surge,
        max_requests: settings.max_requests,
        max_requests_jitter: settings.max_requests_jitter,
        timeout,
        request_timeout,
        slow_request_log: settings.slow_request_log,
        graceful_timeout: settings.graceful_timeout,
        dirty_grace: settings.dirty_grace,
        boot_timeout: settings.boot_timeout,
        crash_loop_limit: settings.crash_loop_limit,
        crash_loop_window: settings.crash_loop_window,
        crash_loop_exit: settings.crash_loop_exit,
        refresh_after: settings.memory.prefetch_after.filter(|_| settings.memory.prefetch_imports),
        watchdog: watchdog(|name| std::env::var(name).ok()),
        is_pid_1: std::process::id() == 1,
        is_heir,
        seed: seed(),
        ..Plan::default()
    }
}

/// `auto` has become a number by now, except where nobody is going to serve.
fn workers(settings: &Settings) -> u16 {
    settings.workers.unwrap_or(1)
}

/// Half the time that the service manager waits for a sign of life, if it is ours that it waits for.
fn watchdog(env: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let ours = std::process::id().to_string();
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok()?;
    let is_ours = env("WATCHDOG_PID").is_none_or(|pid| pid == ours);
    (is_ours && micros > 0).then(|| Duration::from_micros(micros) / 2)
}
/// What a worker gets to break a request off by itself: a few beats of its loop, and what the app
/// does in its `finally`.
const BREAK_GRACE: Duration = Duration::from_secs(3);

/// Differs from one start to the next, so that several services do not recycle in step.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() ^ u64::from(since.subsec_nanos()) << 20 ^ u64::from(std::process::id())
}

/// What zygotes and workers are told.
pub fn for_workers(
    settings: &Settings,
    listeners: Vec<ListenerPlan>,
    file: Option<&PythonFile>,
    identity: Option<&Identity>,
) -> WorkerPlan {
    let seconds = |length: Duration| length.as_secs_f64();
    WorkerPlan {
        app: settings.app.clone(),
        paste_global_conf: settings.paste_global_conf.iter().cloned().collect(),
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
        fork_check: match settings.fork_check.as_str() {
            "warn" => ForkCheck::Warn,
            "refuse" => ForkCheck::Refuse,
            "off" => ForkCheck::Off,
            _ => ForkCheck::Auto,
        },
        memory: for_memory(&settings.memory),
        config: file.map(place_of),
        tells_sources: settings.reload.is_some(),
        env: settings.raw_env.iter().cloned().collect(),
        identity: identity.map(|identity| IdentityPlan {
            uid: identity.uid,
            gid: identity.gid,
            groups_of: identity.groups_of.clone(),
        }),
        proc_name: settings.identity.name.clone(),
        capture_output: settings.capture_output,
        logging: settings.logging.as_ref().map(logging),
        syslog: settings.syslog.as_ref().map(syslog),
        statsd: settings.statsd.clone().map(|StatsdSettings { host, prefix, tags }| StatsdPlan {
            host,
            prefix,
            tags,
        }),
        cfg: settings.cfg.clone(),
        hooks: hooks(settings),
        chdir: settings.chdir.display().to_string(),
        pythonpath: settings.pythonpath.iter().map(|path| path.display().to_string()).collect(),
        workers: workers(settings),
        listeners,
        relay: Some(RelayPlan { give_fd: RELAY_GIVE_FD, take_fd: RELAY_TAKE_FD }),
        worker_connections: settings.worker_connections,
        timeout_s: settings.timeout.map_or(0.0, seconds),
        request_timeout_s: settings.request_timeout.map_or(0.0, seconds),
        slow_request_log_s: settings.slow_request_log.map_or(0.0, seconds),
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
        proxies: proxies(&settings.forwarded),
        protocols: protocols(settings),
        errorlog: settings.errorlog.clone(),
        accesslog: settings.accesslog.clone(),
        access_log_format: settings.access_log_format.clone(),
        loglevel: settings.loglevel.clone(),
    }
}

/// How the app's files are watched.
pub fn watching(settings: &Settings) -> Option<Watching> {
    let ReloadSettings { engine, extra_files } = settings.reload.clone()?;
    Some(Watching { by_polling: engine == "poll", extra_files })
}

fn for_memory(settings: &MemorySettings) -> MemoryPlan {
    MemoryPlan {
        warmup_paths: settings.warmup_paths.clone(),
        warmup_requests: settings.warmup_requests,
        prefetch_imports: settings.prefetch_imports,
        immortal_heap: settings.immortal_heap,
        sample_rate: settings.sample_rate,
        profile_every: settings.profile_every,
    }
}

fn protocols(settings: &Settings) -> ProtocolPlan {
    let http2 = &settings.http2;
    ProtocolPlan {
        proxy: settings.proxy.mode.clone(),
        proxy_allow_ips: settings.proxy.allowed.clone(),
        uwsgi_allow_ips: settings.uwsgi.clone(),
        tls: settings.tls.as_ref().map(|tls| for_tls(tls, &http2.protocols)),
        http2_cleartext: http2.cleartext.clone(),
        http2_streams: http2.streams,
        http2_window_bytes: http2.window_bytes,
        http2_frame_bytes: http2.frame_bytes,
        http2_header_list_bytes: http2.header_list_bytes,
    }
}

fn for_tls(tls: &TlsSettings, protocols: &[String]) -> TlsPlan {
    let text = |path: &std::path::PathBuf| path.display().to_string();
    // Without HTTP/2 there is nothing to choose, and clients that offer only what we do not have
    // would be turned away.
    let offered = if protocols.iter().any(|name| name == "h2") { protocols } else { &[] };
    let alpn = |name: &String| if name == "h2" { "h2" } else { "http/1.1" }.to_owned();
    TlsPlan {
        by_hook: tls.by_hook,
        certificate: tls.certificate.as_ref().map(text),
        key: tls.key.as_ref().map(text),
        authorities: tls.authorities.as_ref().map(text),
        client_certificates: tls.client_certificates,
        ciphers: tls.ciphers.clone(),
        protocols: offered.iter().map(alpn).collect(),
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

fn proxies(settings: &ForwardedSettings) -> ProxyPlan {
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

fn syslog(settings: &SyslogSettings) -> SyslogPlan {
    let SyslogSettings { address, facility, prefix, access } = settings.clone();
    SyslogPlan { address, facility, prefix, access }
}

fn logging(settings: &LoggingSettings) -> LoggingPlan {
    match settings {
        LoggingSettings::Table(table) => LoggingPlan::Table(table.clone()),
        LoggingSettings::Json(path) => LoggingPlan::Json(path.display().to_string()),
        LoggingSettings::Class(path) => LoggingPlan::Class(path.clone()),
        LoggingSettings::Ini(path) => LoggingPlan::Ini(path.display().to_string()),
    }
}

/// What to bind.
pub fn binding(
    settings: &Settings,
    identity: Option<&Identity>,
    heirloom: Option<&Heirloom>,
) -> Binding {
    let env = |name| std::env::var(name).ok();
    Binding {
        addresses: settings.binds.iter().map(address).collect(),
        backlog: i32::try_from(settings.backlog).unwrap_or(i32::MAX),
        reuse_port: settings.reuse_port,
        umask: settings.umask,
        owner: identity.map(|identity| (identity.uid, identity.gid)),
        inherited: match heirloom {
            Some(heirloom) => heirloom.listeners.clone(),
            None => listen_fds(env("LISTEN_PID").as_deref(), env("LISTEN_FDS").as_deref()),
        },
        heirlooms: heirloom.map(Heirloom::own).unwrap_or_default(),
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

/// Who zygotes and workers are to be.
///
/// # Errors
///
/// When they cannot be that.
pub fn identity(settings: &Settings) -> Result<Option<Identity>, IdentityError> {
    let IdentitySettings { user, group, all_groups, .. } = &settings.identity;
    Identity::look_up(user.as_deref(), group.as_deref(), *all_groups)
}

/// Where a configuration file is, in the words of the channel.
pub fn place_of(file: &PythonFile) -> ConfigPlace {
    match &file.place {
        Place::Path(path) => ConfigPlace::Path { path: path.display().to_string() },
        Place::Module(module) => ConfigPlace::Module { module: module.clone() },
    }
}

/// The hooks that were given.
fn hooks(settings: &Settings) -> BTreeMap<String, Vec<u8>> {
    let hooks =
        settings.changed().iter().filter_map(|changed| match table::find(changed.name)?.kind {
            Kind::Hook(arity) => Some((changed.name.to_owned(), arity.to_vec())),
            _ => None,
        });
    hooks.collect()
}

/// Whether the herald has hooks to call.
pub fn has_herald_hooks(settings: &Settings) -> bool {
    settings.changed().iter().any(|changed| HERALD_HOOKS.contains(&changed.name))
}
