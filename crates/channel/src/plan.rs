//! What a zygote and its workers need to know, resolved: no option left open, all units fixed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ConfigPlace;

/// How a worker runs the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerClass {
    /// One request at a time.
    Sync,
    /// A pool of threads.
    Gthread,
    /// Greenlets on gevent's hub.
    Gevent,
    /// Tasks on asyncio's loop, for ASGI apps.
    Asgi,
}

/// Whether the app is imported in the zygote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preload {
    /// In the zygote, unless a fork would break what the import left behind.
    Auto,
    /// Always in the zygote.
    Always,
    /// Never: each worker imports it.
    Never,
}

/// What follows when the app has something that a fork would break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForkCheck {
    /// Each worker imports it, unless it is to be imported in the zygote always.
    #[default]
    Auto,
    /// A warning.
    Warn,
    /// The zygote gives up.
    Refuse,
    /// Nobody looks.
    Off,
}

/// A listener as workers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerPlan {
    /// Its descriptor in the zygote and the workers.
    pub fd: i32,
    /// Host of the bound address, or the path of a unix socket: `SERVER_NAME`.
    pub host: String,
    /// Port of the bound address; `None` for a unix socket.
    pub port: Option<u16>,
}

/// What TLS is made from; paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPlan {
    /// Whether the hook `ssl_context` decides, and the rest is what it may begin with.
    pub by_hook: bool,
    /// PEM: the server's certificate and those that lead to its authority; there without a hook.
    pub certificate: Option<String>,
    /// PEM: its private key; `None` = in the same file.
    pub key: Option<String>,
    /// PEM: who may sign clients' certificates.
    pub authorities: Option<String>,
    /// Whether clients need one: 0 = no, 1 = if they have one, 2 = yes.
    pub client_certificates: u8,
    /// Names of cipher suites; none = all.
    pub ciphers: Vec<String>,
    /// What ALPN offers, most wanted first; none = it is not spoken.
    pub protocols: Vec<String>,
}

/// What is spoken on the listeners beside plain HTTP/1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolPlan {
    /// PROXY headers: off, v1, v2 or auto.
    pub proxy: String,
    /// Who may send them: `*`, addresses or networks.
    pub proxy_allow_ips: Vec<String>,
    /// Encryption; `None` = none.
    pub tls: Option<TlsPlan>,
    /// HTTP/2 without TLS: off, prior-knowledge, upgrade or both.
    pub http2_cleartext: String,
    /// HTTP/2 requests at the same time on a connection.
    pub http2_streams: u32,
    /// Bytes of an HTTP/2 request body that may be under way.
    pub http2_window_bytes: u32,
    /// Bytes of an HTTP/2 frame from a client, at most.
    pub http2_frame_bytes: u32,
    /// Bytes of all header fields of an HTTP/2 request, decoded; 0 = no limit of its own.
    pub http2_header_list_bytes: u32,
}

/// What only an `asgi` worker needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AsgiPlan {
    /// auto, asyncio or uvloop.
    pub event_loop: String,
    /// auto, on or off.
    pub lifespan: String,
    /// Seconds after which a task whose client has left is cancelled.
    pub disconnect_grace_s: f64,
    /// Bytes of a WebSocket message, at most.
    pub websocket_message_bytes: usize,
    /// Whether WebSocket messages may be compressed.
    pub websocket_compression: bool,
    /// Seconds of silence after which a WebSocket client is asked for a sign of life; 0 = never.
    pub websocket_ping_interval_s: f64,
    /// Path under which a proxy has mounted the app.
    pub root_path: String,
}

/// What workers share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Paths or URLs that the zygote asks the app for before it forks.
    pub warmup_paths: Vec<String>,
    /// How often each.
    pub warmup_requests: u32,
    /// Whether workers tell of what they import after the fork.
    pub prefetch_imports: bool,
    /// Whether what is there before the fork gets an immortal reference count, where that is known.
    pub immortal_heap: bool,
    /// Share of the requests after which memory is logged, in millionths.
    pub sample_rate: u32,
    /// The worker of slot 0 logs so often what its memory grows by, in seconds; 0 = never.
    pub profile_every: u16,
}

/// A user and a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityPlan {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The user whose groups are all wanted; `None` = no other group.
    pub groups_of: Option<String>,
}

/// Where Python's logging is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", content = "is", rename_all = "snake_case")]
pub enum LoggingPlan {
    /// A table, which the configuration file may hold in a better form.
    Table(serde_json::Value),
    /// A JSON file.
    Json(String),
    /// An INI file.
    Ini(String),
    /// A class of the user's does it; its path where the file does not hold it.
    Class(Option<String>),
}

/// Syslog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogPlan {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsdPlan {
    /// `HOST[:PORT]` or `unix://PATH`.
    pub host: String,
    /// Beginning of each name.
    pub prefix: String,
    /// `name:value,…`.
    pub tags: String,
}

/// The queue through which workers pass connections on to each other: descriptors of its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPlan {
    /// Where they are sent in.
    pub give_fd: i32,
    /// Where they are taken out.
    pub take_fd: i32,
}

/// What is accepted although it is out of date or out of form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeniencePlan {
    /// Header fields that go on in the next line.
    pub obsolete_folding: bool,
    /// Blanks before a header's colon.
    pub header_spaces: bool,
    /// Methods in small letters count as the same in capitals.
    pub casefold_method: bool,
    /// Methods of any length, with any letters.
    pub unconventional_method: bool,
}

/// What becomes of a header with underscores that no believed proxy has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// It is left out.
    #[default]
    Drop,
    /// The request is refused.
    Refuse,
    /// It goes through.
    Dangerous,
}

/// Who is believed about a client, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyPlan {
    /// Peers that are believed: `*`, addresses or networks.
    pub allow_ips: Vec<String>,
    /// Headers with underscores that they may send, in capitals; `*` = all.
    pub forwarder_headers: Vec<String>,
    /// What becomes of others.
    pub header_map: Underscores,
    /// Headers, in small letters, and the value that means https.
    pub secure_scheme_headers: Vec<(String, String)>,
}

/// Everything a zygote and its workers need to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerPlan {
    /// `module` or `module:attribute` or `module:factory(arguments)`; `config:PATH#SECTION` for an app
    /// that PasteDeploy loads.
    pub app: String,
    /// What PasteDeploy gets beside its file.
    pub paste_global_conf: BTreeMap<String, String>,
    /// How a worker runs the app.
    pub worker_class: WorkerClass,
    /// Whether the app is imported in the zygote.
    pub preload: Preload,
    /// What follows when a fork would break something.
    pub fork_check: ForkCheck,
    /// What workers share.
    pub memory: MemoryPlan,
    /// The Python configuration file, which the zygote runs before it imports the app.
    pub config: Option<ConfigPlace>,
    /// Whether processes say which files their code comes from.
    pub tells_sources: bool,
    /// Added to the environment after that.
    pub env: BTreeMap<String, String>,
    /// The hooks that were given, with the numbers of arguments that each may take.
    pub hooks: BTreeMap<String, Vec<u8>>,
    /// Who zygotes and workers become before they import the app; `None` = nobody else.
    pub identity: Option<IdentityPlan>,
    /// What their titles call the service.
    pub proc_name: String,
    /// Whether what the app prints goes to the error log, if that is a file.
    pub capture_output: bool,
    /// Where Python's logging is set up.
    pub logging: Option<LoggingPlan>,
    /// Where lines go beside their files.
    pub syslog: Option<SyslogPlan>,
    /// Where metrics go.
    pub statsd: Option<StatsdPlan>,
    /// Every setting as hooks see it on `cfg`, except for functions of the file.
    pub cfg: BTreeMap<String, serde_json::Value>,
    /// Working directory, absolute; also put at the front of `sys.path`.
    pub chdir: String,
    /// Put at the front of `sys.path`, in this order of insertion.
    pub pythonpath: Vec<String>,
    /// Number of workers wanted at start: `wsgi.multiprocess` is true above 1.
    pub workers: u16,
    /// Listeners, in the order of their descriptors.
    pub listeners: Vec<ListenerPlan>,
    /// `None` = a worker without siblings, in a test.
    pub relay: Option<RelayPlan>,
    /// Threads of a `gthread` worker.
    pub threads: u16,
    /// What only an `asgi` worker needs.
    pub asgi: AsgiPlan,
    /// Open connections a worker holds at most.
    pub worker_connections: usize,
    /// Seconds after which a hung worker is replaced; 0 = never.
    pub timeout_s: f64,
    /// Seconds after which a request is broken off; 0 = never.
    pub request_timeout_s: f64,
    /// Seconds after which a request's stack is logged; 0 = never.
    pub slow_request_log_s: f64,
    /// Seconds a draining worker may finish its requests.
    pub graceful_timeout_s: f64,
    /// Seconds an idle keep-alive connection is kept; 0 = close after each response.
    pub keepalive_s: f64,
    /// Seconds a client may take for a request head.
    pub head_timeout_s: f64,
    /// Seconds a client may pause within a request body.
    pub body_timeout_s: f64,
    /// Seconds a client may pause while it reads a response.
    pub write_timeout_s: f64,
    /// Request bodies above this many bytes go to a temporary file.
    pub body_spool_bytes: usize,
    /// Longest request line in bytes.
    pub limit_request_line: usize,
    /// Most header fields in a request.
    pub limit_request_fields: usize,
    /// Longest header field in bytes.
    pub limit_request_field_size: usize,
    /// Largest request body in bytes; 0 = no limit.
    pub limit_request_body: u64,
    /// What is accepted although it is out of date or out of form.
    pub lenience: LeniencePlan,
    /// Whether files go to the socket without a detour through the process.
    pub sendfile: bool,
    /// Whether WSGI apps get the client's socket.
    pub socket_in_environ: bool,
    /// Who is believed about a client.
    pub proxies: ProxyPlan,
    /// What is spoken on the listeners.
    pub protocols: ProtocolPlan,
    /// `-` = standard error, else a path.
    pub errorlog: String,
    /// `-` = standard output, else a path; `None` = no access log.
    pub accesslog: Option<String>,
    /// gunicorn's %-format of an access line.
    pub access_log_format: String,
    /// Least level that is logged: debug, info, warning, error or critical.
    pub loglevel: String,
}
