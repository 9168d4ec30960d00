//! What the user wants, typed: every default filled in, every unit fixed, paths made absolute.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Address, Origin, WorkerClass};

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `module`, `module:attribute` or `module:factory(arguments)`; `config:PATH#SECTION` for an app
    /// that PasteDeploy loads.
    pub app: String,
    /// What PasteDeploy gets beside its file.
    pub paste_global_conf: Vec<(String, String)>,
    /// Where to listen; at least one.
    pub binds: Vec<Address>,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Workers wanted; `None` = as many as CPUs and memory suggest. At least 1.
    pub workers: Option<u16>,
    /// How a worker runs the app.
    pub worker_class: WorkerClass,
    /// Threads of a `gthread` worker; at least 1.
    pub threads: u16,
    /// Open connections of a worker, at most; at least 1.
    pub worker_connections: usize,
    /// Requests after which a worker is replaced; 0 = never.
    pub max_requests: u64,
    /// Up to this many are added, drawn for each worker.
    pub max_requests_jitter: u64,
    /// Time after which a worker is replaced; `None` = never.
    pub max_worker_age: Option<Duration>,
    /// Up to so much is added, drawn for each worker.
    pub max_worker_age_jitter: Duration,
    /// Workers that replacements may add; at least 1.
    pub max_surge: u16,
    /// Early deaths that make a crash loop; 0 = never.
    pub crash_loop_limit: u32,
    /// Time within which they count.
    pub crash_loop_window: Duration,
    /// Whether a crash loop ends the service.
    pub crash_loop_exit: bool,
    /// Whether the app is imported before the fork; `None` = if nothing speaks against it.
    pub preload_app: Option<bool>,
    /// What follows when a fork would break something: auto, warn, refuse or off.
    pub fork_check: String,
    /// What workers share, and how much they may take.
    pub memory: MemorySettings,
    /// A worker that hangs this long is replaced; `None` = never.
    pub timeout: Option<Duration>,
    /// Time that one request may take; `None` = no limit.
    pub request_timeout: Option<Duration>,
    /// Time after which a request's stack is logged; `None` = never.
    pub slow_request_log: Option<Duration>,
    /// Time that a draining worker gets; zero = none.
    pub graceful_timeout: Duration,
    /// Time that dirty workers get to leave; `None` = there are none.
    pub dirty_grace: Option<Duration>,
    /// Time for import and start.
    pub boot_timeout: Duration,
    /// Time that an idle connection is kept; zero = not at all.
    pub keepalive: Duration,
    /// Time that a client may take for a request's head.
    pub head_timeout: Duration,
    /// Time that a client may pause within a body.
    pub body_timeout: Duration,
    /// Time that a client may pause while it reads.
    pub write_timeout: Duration,
    /// Bodies above this many bytes go to a temporary file.
    pub body_spool_bytes: usize,
    /// Bytes of a request line, at most 8190; 0 = no limit of its own.
    pub limit_request_line: usize,
    /// Header fields of a request, 1 to 32768.
    pub limit_request_fields: usize,
    /// Bytes of a header field; above 0.
    pub limit_request_field_size: usize,
    /// Bytes of a request body, at most; 0 = no limit.
    pub limit_request_body: u64,
    /// What is accepted although it is out of date or out of form.
    pub lenience: Lenience,
    /// Whether files go to the socket without a detour through the process.
    pub sendfile: bool,
    /// Whether apps get the client's socket.
    pub socket_in_environ: bool,
    /// Whether other processes may listen on the same addresses.
    pub reuse_port: bool,
    /// Permission bits that unix sockets lack.
    pub umask: u32,
    /// Who is believed about a client.
    pub forwarded: ForwardedSettings,
    /// Who may name its clients before a connection's first byte, and how.
    pub proxy: ProxySettings,
    /// Who may speak uwsgi, in place of HTTP: `*`, addresses or networks; `None` = HTTP is spoken.
    pub uwsgi: Option<Vec<String>>,
    /// Encryption; `None` = none.
    pub tls: Option<TlsSettings>,
    /// Versions of HTTP, and the limits of HTTP/2.
    pub http2: Http2Settings,
    /// Directory to work in: absolute, exists.
    pub chdir: PathBuf,
    /// For the front of Python's search path, in order of insertion; absolute.
    pub pythonpath: Vec<PathBuf>,
    /// Interpreter; `None` = the one beside the executable; a bare name is looked up in `PATH`.
    pub python: Option<PathBuf>,
    /// Variables for the app.
    pub raw_env: Vec<(String, String)>,
    /// File for the master's process id; absolute.
    pub pidfile: Option<PathBuf>,
    /// The control socket; `None` = none.
    pub control: Option<ControlSettings>,
    /// Who zygotes and workers are.
    pub identity: IdentitySettings,
    /// Whether the master goes to the background.
    pub daemon: bool,
    /// Whether it keeps its standard streams there.
    pub keep_stdio: bool,
    /// Whether what the app prints goes to the error log's file.
    pub capture_output: bool,
    /// Where Python's logging is set up, if anywhere.
    pub logging: Option<LoggingSettings>,
    /// Where lines go beside their files; `None` = nowhere.
    pub syslog: Option<SyslogSettings>,
    /// Whether the length of the accept queue is measured.
    pub backlog_metric: bool,
    /// Where metrics go; `None` = nowhere.
    pub statsd: Option<StatsdSettings>,
    /// Whether the app is loaded again when its files change; `None` = no.
    pub reload: Option<ReloadSettings>,
    /// How an `asgi` worker runs.
    pub asgi: AsgiSettings,
    /// `-` = standard output, else an absolute path; `None` = no access log.
    pub accesslog: Option<String>,
    /// gunicorn's %-format of a line of it.
    pub access_log_format: String,
    /// `-` = standard error, else an absolute path.
    pub errorlog: String,
    /// debug, info, warning, error or critical.
    pub loglevel: String,
    /// Every setting as hooks see it on `cfg`; what is a function is left out.
    pub cfg: BTreeMap<String, serde_json::Value>,
    /// What [`Settings::changed`] gives.
    pub(crate) changed: Vec<Changed>,
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySize {
    /// In bytes; 0 = no limit.
    Bytes(u64),
    /// In hundredths of a percent of what the container or the machine has.
    Percent(u32),
}

impl Default for MemorySize {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

/// What workers share, and how much they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Paths or URLs that the zygote asks for.
    pub warmup_paths: Vec<String>,
    /// How often each; at least 1.
    pub warmup_requests: u32,
    /// Whether the next zygote imports what workers have imported late.
    pub prefetch_imports: bool,
    /// The app is loaded again for that after this time; `None` = only at a reload.
    pub prefetch_after: Option<Duration>,
    /// Whether what is there before the fork gets an immortal reference count, where that is known.
    pub immortal_heap: bool,
    /// Memory of one worker's own.
    pub max_memory: MemorySize,
    /// Memory of all processes; `None` = a share of the container's limit, if it has one.
    pub max_memory_total: Option<MemorySize>,
    /// Share of the requests after which memory is logged, in millionths.
    pub sample_rate: u32,
    /// The worker of slot 0 logs so often what its memory grows by, in seconds; 0 = never.
    pub profile_every: u16,
}

/// Where operators ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// Absolute; `None` = a name of the master's own.
    pub path: Option<PathBuf>,
    /// Its permission bits.
    pub mode: u32,
}

/// What is accepted although it is out of date or out of form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lenience {
    /// Header fields that go on in the next line.
    pub obsolete_folding: bool,
    /// Blanks before a header's colon.
    pub header_spaces: bool,
    /// Methods in small letters count as the same in capitals.
    pub casefold_method: bool,
    /// Methods of any length, with any letters.
    pub unconventional_method: bool,
}

/// Who is believed about a client, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedSettings {
    /// Those who are believed: `*`, addresses or networks.
    pub allow_ips: Vec<String>,
    /// Headers with underscores that they may send, in capitals; `*` = all.
    pub forwarder_headers: Vec<String>,
    /// What becomes of others: drop, refuse or dangerous.
    pub header_map: String,
    /// Headers, in small letters, and the value that means https.
    pub secure_scheme_headers: Vec<(String, String)>,
}

/// Where Python's logging is set up; the first that is given counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggingSettings {
    /// `logconfig_dict`; of a Python file, the file itself has it.
    Table(serde_json::Value),
    /// `logconfig_json`, absolute.
    Json(PathBuf),
    /// `logconfig`, absolute.
    Ini(PathBuf),
    /// A class of the user's does it; its path where the file does not hold it.
    Class(Option<String>),
}

/// Syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSettings {
    /// `udp://HOST[:PORT]` or `unix://PATH`.
    pub address: String,
    /// Name of the facility.
    pub facility: String,
    /// Program within `gunicorn.….error`.
    pub prefix: String,
    /// Whether access lines go there, too.
    pub access: bool,
}

/// StatsD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsdSettings {
    /// `HOST[:PORT]` or `unix://PATH`.
    pub host: String,
    /// Beginning of each name.
    pub prefix: String,
    /// `name:value,…`.
    pub tags: String,
}

/// Who zygotes and workers are; names are not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// A user's name or number; `None` = who has started remuda.
    pub user: Option<String>,
    /// The same of a group.
    pub group: Option<String>,
    /// Whether they get all groups of the user.
    pub all_groups: bool,
    /// What they call the service.
    pub name: String,
}

/// The PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// off, v1, v2 or auto.
    pub mode: String,
    /// Who may speak it: `*`, addresses or networks.
    pub allowed: Vec<String>,
}

/// What TLS is made from; paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether the hook `ssl_context` decides, and the rest is what it may begin with.
    pub by_hook: bool,
    /// PEM: the server's certificate and those that lead to its authority; there without a hook.
    pub certificate: Option<PathBuf>,
    /// PEM: its private key; `None` = in the same file.
    pub key: Option<PathBuf>,
    /// PEM: who may sign clients' certificates.
    pub authorities: Option<PathBuf>,
    /// Whether clients need one: 0 = no, 1 = if they have one, 2 = yes.
    pub client_certificates: u8,
    /// Names of suites; none = all.
    pub ciphers: Vec<String>,
}

/// Loading the app again when its files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadSettings {
    /// auto, poll or inotify.
    pub engine: String,
    /// Files and patterns beside the code, absolute.
    pub extra_files: Vec<String>,
}

/// Versions of HTTP, and the limits of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// h1, h2 or both, most wanted first.
    pub protocols: Vec<String>,
    /// Without TLS: off, prior-knowledge, upgrade or both.
    pub cleartext: String,
    /// Requests at the same time on a connection; at least 1.
    pub streams: u32,
    /// Bytes of a request body that may be under way.
    pub window_bytes: u32,
    /// Bytes of a frame from a client, at most.
    pub frame_bytes: u32,
    /// Bytes of all header fields of a request, decoded; 0 = no limit of its own.
    pub header_list_bytes: u32,
}

/// What only an `asgi` worker needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsgiSettings {
    /// auto, asyncio or uvloop.
    pub event_loop: String,
    /// auto, on or off.
    pub lifespan: String,
    /// Time after which a task whose client has left is cancelled.
    pub disconnect_grace: Duration,
    /// Bytes of a WebSocket message, at most.
    pub websocket_message_bytes: usize,
    /// Whether WebSocket messages may be compressed.
    pub websocket_compression: bool,
    /// Silence after which a WebSocket client is asked for a sign of life; zero = never.
    pub websocket_ping_interval: Duration,
    /// Path under which a proxy has mounted the app.
    pub root_path: String,
}

impl Settings {
    /// What was given by someone, in the order of the table, for the log.
    #[must_use]
    pub fn changed(&self) -> &[Changed] {
        &self.changed
    }
}

/// A value that someone gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Name of the setting.
    pub name: &'static str,
    /// The value as it was given.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}
