//! Texts to types: reads each setting by its declaration, and gathers every problem on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::declare::{Kind, Setting, Support, Zero};
use crate::table::*;
use crate::value::{self, Misfit};
use crate::wishes::{Given, Wishes};
use crate::{
    Address, AsgiSettings, Changed, ControlSettings, ForeignWorker, ForwardedSettings,
    IdentitySettings, Lenience, LoggingSettings, Origin, Problem, ReloadSettings, Settings,
    StatsdSettings, SyslogSettings, Warning, WorkerClass, table,
};
use crate::{address, cfg, paste, worker_class};

/// Ends of the scale (all but that of the fields are gunicorn's), which the values 0 and "more" stand for.
const REQUEST_LINE_MAX: u64 = 8190;
const REQUEST_FIELDS_MAX: u64 = 24_000;
const REQUEST_FIELD_SIZE_DEFAULT: u64 = 8190;

/// Everything that was read, right or wrong.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) settings: Settings,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads all settings. With problems, the settings hold defaults in place of bad values.
///
/// `worker` is the user's worker class, where Python has looked at it.
pub(crate) fn resolve(wishes: &Wishes, start: &Path, worker: Option<&ForeignWorker>) -> Resolved {
    let mut reader = Reader { wishes, worker, problems: Vec::new(), warnings: Vec::new() };
    let chdir = reader.chdir(start);
    let tls = reader.tls(&chdir);
    let uwsgi = reader.uwsgi();
    let app = reader.app(start);
    let mut settings = Settings {
        paste_global_conf: reader.paste_global_conf(),
        app: app.clone(),
        python: reader.python(start),
        raw_env: reader.raw_env(),
        pythonpath: reader.pythonpath(&chdir),
        pidfile: reader.pidfile(&chdir),
        control: reader.control(&chdir),
        binds: reader.binds(&chdir),
        backlog: reader.whole(&BACKLOG) as u32,
        reuse_port: reader.switch(&REUSE_PORT),
        umask: reader.read(&UMASK, |given| value::mode(&given.text())),
        forwarded: reader.forwarded(),
        proxy: reader.proxy(),
        http2: reader.http2(tls.is_some(), uwsgi.is_some()),
        uwsgi,
        tls,
        workers: reader.read(&WORKERS, |given| value::workers(&given.text(), WORKERS_MAX)),
        worker_class: reader.worker_class(),
        threads: reader.threads(),
        worker_connections: reader.whole(&WORKER_CONNECTIONS) as usize,
        max_requests: reader.whole(&MAX_REQUESTS),
        max_requests_jitter: reader.whole(&MAX_REQUESTS_JITTER),
        max_worker_age: Some(reader.seconds(&MAX_WORKER_AGE)).filter(|age| !age.is_zero()),
        max_worker_age_jitter: reader.seconds(&MAX_WORKER_AGE_JITTER),
        max_surge: reader.whole(&MAX_SURGE) as u16,
        crash_loop_limit: reader.whole(&CRASH_LOOP_LIMIT) as u32,
        crash_loop_window: reader.seconds(&CRASH_LOOP_WINDOW),
        crash_loop_exit: reader.switch(&CRASH_LOOP_EXIT),
        preload_app: reader.preload_app(),
        fork_check: reader.choice(&FORK_CHECK),
        memory: reader.memory(),
        timeout: some(reader.seconds(&TIMEOUT)),
        request_timeout: some(reader.seconds(&REQUEST_TIMEOUT)),
        slow_request_log: some(reader.seconds(&SLOW_REQUEST_LOG)),
        graceful_timeout: reader.seconds(&GRACEFUL_TIMEOUT),
        dirty_grace: reader.dirty_grace(),
        boot_timeout: reader.seconds(&BOOT_TIMEOUT),
        keepalive: reader.seconds(&KEEPALIVE),
        head_timeout: reader.seconds(&HEAD_TIMEOUT),
        body_timeout: reader.seconds(&BODY_TIMEOUT),
        write_timeout: reader.seconds(&WRITE_TIMEOUT),
        limit_request_line: reader.whole(&LIMIT_REQUEST_LINE).min(REQUEST_LINE_MAX) as usize,
        limit_request_fields: at_most(reader.whole(&LIMIT_REQUEST_FIELDS), REQUEST_FIELDS_MAX),
        limit_request_field_size: reader.field_size(),
        limit_request_body: reader.bytes(&LIMIT_REQUEST_BODY),
        lenience: reader.lenience(),
        sendfile: reader.switch(&SENDFILE),
        socket_in_environ: reader.switch(&SOCKET_IN_ENVIRON),
        body_spool_bytes: reader.bytes(&BODY_SPOOL_BYTES) as usize,
        identity: reader.identity(&app),
        daemon: reader.switch(&DAEMON),
        keep_stdio: reader.switch(&ENABLE_STDIO_INHERITANCE),
        capture_output: reader.switch(&CAPTURE_OUTPUT),
        logging: reader.logging(&chdir, &app),
        syslog: reader.syslog(&app),
        backlog_metric: reader.switch(&ENABLE_BACKLOG_METRIC),
        statsd: reader.statsd(),
        reload: reader.reload(start),
        asgi: reader.asgi(),
        accesslog: reader.log_target(&ACCESSLOG, &chdir),
        access_log_format: reader.text(&ACCESS_LOG_FORMAT),
        errorlog: reader.log_target(&ERRORLOG, &chdir).unwrap_or_else(|| "-".to_owned()),
        loglevel: reader.loglevel(),
        cfg: cfg::values(wishes),
        changed: changed(wishes),
        chdir: PathBuf::new(),
    };
    settings.chdir = chdir;
    if settings.worker_class == WorkerClass::Sync && settings.threads > 1 {
        settings.worker_class = WorkerClass::Gthread;
    }
    reader.switch(&PRINT_CONFIG);
    reader.switch(&CHECK_CONFIG);
    reader.unsupported();
    Resolved { settings, problems: reader.problems, warnings: reader.warnings }
}

/// 0 and what is above the end mean the end.
fn at_most(number: u64, end: u64) -> usize {
    if number == 0 { end as usize } else { number.min(end) as usize }
}

fn changed(wishes: &Wishes) -> Vec<Changed> {
    let supported = table::all().filter(|setting| setting.is_full());
    // These say how to start, not how to serve.
    let supported =
        supported.filter(|setting| ![CONFIG, CHECK_CONFIG, PRINT_CONFIG].contains(setting));
    supported
        .filter_map(|setting| {
            let given = wishes.get(setting)?;
            let (text, origin) = (given.shown(setting), given.origin.clone());
            Some(Changed { name: setting.name, text, origin })
        })
        .collect()
}

pub(crate) struct Reader<'a> {
    wishes: &'a Wishes,
    worker: Option<&'a ForeignWorker>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

impl Reader<'_> {
    /// Reads one value. A bad one becomes a problem, and the default stands in for it, so that
    /// reading can go on and find the next problem.
    pub(crate) fn read<T: Default>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&Given) -> Result<T, Misfit>,
    ) -> T {
        let given = self.wishes.get_or_default(setting);
        match parse(&given) {
            Ok(value) => value,
            Err(misfit) => {
                self.problems.push(problem(setting, &given, misfit));
                let fallback = Wishes::default().get_or_default(setting);
                parse(&fallback).unwrap_or_default()
            }
        }
    }

    pub(crate) fn text(&mut self, setting: &Setting) -> String {
        self.read(setting, |given| Ok(given.text()))
    }

    pub(crate) fn whole(&mut self, setting: &Setting) -> u64 {
        let (min, max) = match setting.kind {
            Kind::Whole { min, max } => (min, max),
            _ => (0, u64::MAX),
        };
        self.read(setting, |given| value::whole(&given.text(), min, max))
    }

    pub(crate) fn seconds(&mut self, setting: &Setting) -> Duration {
        let zero = match setting.kind {
            Kind::Seconds(zero) => zero,
            _ => Zero::AtOnce,
        };
        self.read(setting, |given| value::seconds(&given.text(), zero))
    }

    pub(crate) fn bytes(&mut self, setting: &Setting) -> u64 {
        let max = match setting.kind {
            Kind::Bytes { max } => max,
            _ => u64::MAX,
        };
        self.read(setting, |given| value::bytes(&given.text(), max))
    }

    fn field_size(&mut self) -> usize {
        match self.whole(&LIMIT_REQUEST_FIELD_SIZE) {
            0 => REQUEST_FIELD_SIZE_DEFAULT as usize,
            bytes => bytes as usize,
        }
    }

    pub(crate) fn networks(&mut self, setting: &Setting) -> Vec<String> {
        self.read(setting, |given| value::networks(&given.text()))
    }

    /// A setting that somebody has changed: its name as it was given, and by whom.
    pub(crate) fn subject_of(&self, setting: &Setting) -> Option<(String, Origin)> {
        let given = self.wishes.get(setting).filter(|given| !is_default(setting, given))?;
        Some((subject(setting, &given.origin).to_owned(), given.origin.clone()))
    }

    fn forwarded(&mut self) -> ForwardedSettings {
        ForwardedSettings {
            allow_ips: self.networks(&FORWARDED_ALLOW_IPS),
            forwarder_headers: self
                .read(&FORWARDER_HEADERS, |given| Ok(value::commas(&given.text())))
                .iter()
                .map(|name| name.to_ascii_uppercase())
                .collect(),
            header_map: self.choice(&HEADER_MAP),
            secure_scheme_headers: self.secure_scheme_headers(),
        }
    }

    fn secure_scheme_headers(&mut self) -> Vec<(String, String)> {
        self.read(&SECURE_SCHEME_HEADERS, |given| {
            let pairs = given.texts.iter().flat_map(|text| value::commas(text));
            pairs
                .map(|text| {
                    let (name, value) = value::pair(&text)?;
                    let is_name =
                        |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
                    match name.chars().all(is_name) {
                        true => Ok((name.to_ascii_lowercase(), value)),
                        false => Err(Misfit::because(format!("`{name}` is not a header"))),
                    }
                })
                .collect()
        })
    }

    fn lenience(&mut self) -> Lenience {
        Lenience {
            obsolete_folding: self.switch(&PERMIT_OBSOLETE_FOLDING),
            header_spaces: self.switch(&STRIP_HEADER_SPACES),
            casefold_method: self.switch(&CASEFOLD_HTTP_METHOD),
            unconventional_method: self.switch(&PERMIT_UNCONVENTIONAL_HTTP_METHOD),
        }
    }

    fn worker_class(&mut self) -> WorkerClass {
        let worker = self.worker;
        self.read(&WORKER_CLASS, |given| worker_class::parse(&given.text(), worker))
    }

    fn preload_app(&mut self) -> Option<bool> {
        self.read(&PRELOAD_APP, |given| match given.text().as_str() {
            "" => Ok(None),
            text => value::switch(text).map(Some),
        })
    }

    pub(crate) fn switch(&mut self, setting: &Setting) -> bool {
        self.read(setting, |given| value::switch(&given.text()))
    }

    pub(crate) fn choice(&mut self, setting: &Setting) -> String {
        let words = match setting.kind {
            Kind::Choice(words) => words,
            _ => &[],
        };
        self.read(setting, |given| value::choice(&given.text(), words))
    }

    fn raw_env(&mut self) -> Vec<(String, String)> {
        self.read(&RAW_ENV, |given| given.texts.iter().map(|text| value::pair(text)).collect())
    }

    /// Relative paths of sockets count from `chdir`, as in gunicorn, which changes directory first.
    fn binds(&mut self, chdir: &Path) -> Vec<Address> {
        self.read(&BIND, |given| {
            if given.origin == Origin::Variable("PORT".to_owned())
                && given.texts.iter().any(|text| !text.starts_with("[::]:"))
            {
                return Err(address::parse_port(&given.text()).err().unwrap_or_default());
            }
            if given.texts.is_empty() {
                return Err(Misfit::because("the list is empty"));
            }
            let read = |text: &String| match Address::parse(text)? {
                Address::Unix(path) => Ok(Address::Unix(absolute(chdir, &path))),
                address => Ok(address),
            };
            given.texts.iter().map(read).collect()
        })
    }

    fn chdir(&mut self, start: &Path) -> PathBuf {
        let chdir = self.read(&CHDIR, |given| {
            let path = absolute(start, Path::new(&given.text()));
            if path.is_dir() {
                return Ok(path);
            }
            let why = if path.exists() { "it is not a directory" } else { "there is no such path" };
            Err(Misfit::because(format!("{why}: {}", path.display())))
        });
        // The default itself fails only if somebody removed the start directory under us.
        if chdir.as_os_str().is_empty() { start.to_owned() } else { chdir }
    }

    fn pythonpath(&mut self, chdir: &Path) -> Vec<PathBuf> {
        let paths = self.read(&PYTHONPATH, |given| Ok(value::commas(&given.text())));
        paths.iter().map(|path| absolute(chdir, Path::new(path))).collect()
    }

    fn python(&mut self, start: &Path) -> Option<PathBuf> {
        match self.text(&PYTHON).as_str() {
            "" => None,
            // A bare name is looked up in PATH by whoever starts it.
            name if !name.contains('/') => Some(PathBuf::from(name)),
            path => Some(absolute(start, Path::new(path))),
        }
    }

    fn pidfile(&mut self, chdir: &Path) -> Option<PathBuf> {
        let text = self.text(&PIDFILE);
        let given = !text.is_empty() && !text.eq_ignore_ascii_case("none");
        given.then(|| absolute(chdir, Path::new(&text)))
    }

    fn control(&mut self, chdir: &Path) -> Option<ControlSettings> {
        let text = self.text(&CONTROL_SOCKET);
        let mode = self.read(&CONTROL_SOCKET_MODE, |given| value::mode(&given.text()));
        let is_off = self.switch(&CONTROL_SOCKET_DISABLE) || text.eq_ignore_ascii_case("none");
        let path = (!text.is_empty()).then(|| absolute(chdir, Path::new(&text)));
        (!is_off).then_some(ControlSettings { path, mode })
    }

    fn log_target(&mut self, setting: &Setting, chdir: &Path) -> Option<String> {
        self.read(setting, |given| match given.text().as_str() {
            "-" => Ok(Some("-".to_owned())),
            text if text.is_empty() || text.eq_ignore_ascii_case("none") => match setting.kind {
                Kind::LogTarget { or_none: true } => Ok(None),
                _ => Err(Misfit::plain().hint("`/dev/null` drops all lines")),
            },
            path => Ok(Some(absolute(chdir, Path::new(path)).display().to_string())),
        })
    }

    fn loglevel(&mut self) -> String {
        let given = self.wishes.get_or_default(&LOGLEVEL);
        if let Some(level) = value::level(&given.text()) {
            return level.to_owned();
        }
        let (subject, text) = (subject(&LOGLEVEL, &given.origin), given.text());
        let known = LOGLEVEL.kind;
        self.warnings
            .push(Warning(format!("`{subject}`: `{text}` counts as info; known: {known}")));
        "info".to_owned()
    }

    fn threads(&mut self) -> u16 {
        let threads = self.whole(&THREADS) as u16;
        let text = self.wishes.get_or_default(&WORKER_CLASS).text();
        let class = worker_class::parse(&text, self.worker);
        if let Ok(class @ (WorkerClass::Gevent | WorkerClass::Asgi)) = class
            && threads > 1
        {
            let name = class.name();
            let text = format!("`threads` has no effect with `{name}`, as in gunicorn");
            self.warnings.push(Warning(text));
        }
        threads
    }

    /// A class sets logging up by itself, tables and files included.
    fn logging(&mut self, chdir: &Path, app: &str) -> Option<LoggingSettings> {
        let class = self.text(&LOGGER_CLASS);
        if let Some(held) = class.strip_prefix('<').and_then(|class| class.strip_suffix("()>")) {
            if !LOGGER_CLASSES.contains(&held) {
                return Some(LoggingSettings::Class(None));
            }
        } else if !LOGGER_CLASSES.contains(&class.as_str()) {
            return Some(LoggingSettings::Class(Some(class)));
        }
        let mut given = |setting| Some(self.text(setting)).filter(|text| !text.is_empty());
        let (table, json, ini) =
            (given(&LOGCONFIG_DICT), given(&LOGCONFIG_JSON), given(&LOGCONFIG));
        if let Some(text) = table.filter(|text| text != "{}") {
            let table: serde_json::Map<_, _> = self.read(&LOGCONFIG_DICT, |given| {
                // Nobody has given what stands in for a bad one.
                let text = if given.texts == [""] { "{}" } else { &text };
                serde_json::from_str(text).map_err(|_| Misfit::because("it is not a table"))
            });
            return Some(LoggingSettings::Table(table.into()));
        }
        let path = |text: String| absolute(chdir, Path::new(&text));
        json.map(|text| LoggingSettings::Json(path(text)))
            .or_else(|| ini.map(|text| LoggingSettings::Ini(path(text))))
            .or_else(|| {
                let file = paste::file_of(app).filter(|file| paste::has_logging(file))?;
                Some(LoggingSettings::Ini(file.into()))
            })
    }

    fn reload(&mut self, start: &Path) -> Option<ReloadSettings> {
        let engine = self.choice(&RELOAD_ENGINE);
        let extra_files = self.read(&RELOAD_EXTRA_FILES, |given| {
            let absolute = |text: &String| {
                let path = absolute(start, Path::new(text));
                let is_pattern = text.contains(['*', '?', '[']);
                if !is_pattern && !path.is_file() {
                    let why =
                        if path.exists() { "it is not a file" } else { "there is no such file" };
                    return Err(Misfit::because(format!("{why}: {}", path.display()))
                        .hint("for a folder, give a pattern such as `folder/**/*`"));
                }
                Ok(path.display().to_string())
            };
            given.texts.iter().map(absolute).collect()
        });
        self.switch(&RELOAD).then_some(ReloadSettings { engine, extra_files })
    }

    /// As in gunicorn: no apps or no workers, no arbiter.
    fn dirty_grace(&mut self) -> Option<Duration> {
        // What Python needs of them, it reads from `cfg`.
        self.seconds(&DIRTY_TIMEOUT);
        self.whole(&DIRTY_THREADS);
        let has_workers = self.whole(&DIRTY_WORKERS) > 0;
        let has_apps = !self.wishes.get_or_default(&DIRTY_APPS).texts.is_empty();
        let grace = self.seconds(&DIRTY_GRACEFUL_TIMEOUT);
        (has_workers && has_apps).then_some(grace)
    }

    fn syslog(&mut self, app: &str) -> Option<SyslogSettings> {
        let is_wanted = self.switch(&SYSLOG);
        let mut given = |setting| Some(self.text(setting)).filter(|text| !text.is_empty());
        let program = given(&PROC_NAME).unwrap_or_else(|| program_of(app));
        let prefix = given(&SYSLOG_PREFIX).unwrap_or_else(|| program.replace(':', "."));
        let (address, facility) = (self.text(&SYSLOG_ADDR), self.text(&SYSLOG_FACILITY));
        let access = !self.switch(&DISABLE_REDIRECT_ACCESS_TO_SYSLOG);
        is_wanted.then_some(SyslogSettings { address, facility, prefix, access })
    }

    fn statsd(&mut self) -> Option<StatsdSettings> {
        let host = Some(self.text(&STATSD_HOST)).filter(|host| !host.is_empty())?;
        let (prefix, tags) = (self.text(&STATSD_PREFIX), self.text(&DOGSTATSD_TAGS));
        Some(StatsdSettings { host, prefix, tags })
    }

    fn identity(&mut self, app: &str) -> IdentitySettings {
        let mut given = |setting| Some(self.text(setting)).filter(|text| !text.is_empty());
        let (user, group, name) = (given(&USER), given(&GROUP), given(&PROC_NAME));
        let name = name.unwrap_or_else(|| program_of(app));
        IdentitySettings { user, group, all_groups: self.switch(&INITGROUPS), name }
    }

    fn asgi(&mut self) -> AsgiSettings {
        AsgiSettings {
            event_loop: self.choice(&ASGI_LOOP),
            lifespan: self.choice(&ASGI_LIFESPAN),
            disconnect_grace: self.seconds(&ASGI_DISCONNECT_GRACE_PERIOD),
            websocket_message_bytes: self.bytes(&WEBSOCKET_MAX_MESSAGE_SIZE) as usize,
            websocket_compression: self.switch(&WEBSOCKET_COMPRESSION),
            websocket_ping_interval: self.seconds(&WEBSOCKET_PING_INTERVAL),
            root_path: self.text(&ROOT_PATH),
        }
    }

    /// What gunicorn has and this version has not.
    fn unsupported(&mut self) {
        for setting in table::all() {
            let Some(given) = self.wishes.get(setting).filter(|given| !is_default(setting, given))
            else {
                continue;
            };
            let subject = subject(setting, &given.origin);
            match setting.support {
                Support::Full => {}
                Support::Ignored { why } => {
                    let origin = &given.origin;
                    let text = match origin {
                        Origin::File(_) | Origin::CmdArgs(_) => {
                            format!("`{subject}` ({origin}) has no effect in this version: {why}")
                        }
                        _ => format!("`{subject}` has no effect in this version: {why}"),
                    };
                    self.warnings.push(Warning(text));
                }
            }
        }
    }
}

/// What the service is called where it has no name: the app, or the file that it comes from.
fn program_of(app: &str) -> String {
    paste::file_of(app).unwrap_or(app).to_owned()
}

/// Zero means never.
fn some(length: Duration) -> Option<Duration> {
    (!length.is_zero()).then_some(length)
}

fn is_default(setting: &Setting, given: &Given) -> bool {
    let text = given.text();
    let same_switch =
        || setting.kind == Kind::Switch && value::switch(&text) == value::switch(setting.default);
    text == setting.default || same_switch()
}

/// The name as the user gave it.
fn subject<'a>(setting: &'a Setting, origin: &'a Origin) -> &'a str {
    match origin {
        Origin::Variable(name) => name,
        Origin::CmdArgs(flag) | Origin::Flag(flag) => flag,
        Origin::Default | Origin::File(_) | Origin::Argument | Origin::WorkerClass(_) => {
            setting.name
        }
    }
}

fn problem(setting: &Setting, given: &Given, misfit: Misfit) -> Problem {
    let subject = subject(setting, &given.origin);
    let allowed = match &given.origin {
        Origin::Variable(name) if name == "PORT" => "a port from 0 to 65535".to_owned(),
        _ if *setting == CHDIR => "a directory that exists".to_owned(),
        _ if *setting == PASTE => "a file that exists, or `FILE#SECTION`".to_owned(),
        _ => setting.kind.to_string(),
    };
    let what = match setting.kind {
        // What stands there may be a secret.
        Kind::Pairs => format!("`{subject}` must be {allowed}"),
        _ => format!("`{subject}` must be {allowed}, but is `{}`", given.text()),
    };
    let problem = Problem::new(what).from(&given.origin);
    let problem = if misfit.why.is_empty() { problem } else { problem.why(misfit.why) };
    match misfit.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Joins without touching the file system, so that links stay as they were written.
pub(crate) fn absolute(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}
