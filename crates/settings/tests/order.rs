//! Which source wins, what each form of wish comes out as, and where it is said to come from.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use remuda_settings::{
    Address, Outcome, Place, PythonForm, PythonValue, Settings, Sources, Warning, WorkerClass,
};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Start(TempDir);

impl Start {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path().join(name), text).expect("written");
        self
    }

    fn load(&self, line: &str, variables: &[(&str, &str)]) -> Outcome {
        self.load_with(line, variables, &[])
    }

    /// As if Python had found these values in the Python file.
    fn load_with(&self, line: &str, variables: &[(&str, &str)], python: &[PythonValue]) -> Outcome {
        let variables = variables.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        let words = line.split_whitespace().map(OsString::from);
        match Sources::gather(words, variables, self.path()) {
            Ok(sources) => sources.settle(python),
            Err(outcome) => outcome,
        }
    }

    fn run(&self, line: &str, variables: &[(&str, &str)]) -> (Settings, Vec<Warning>) {
        match self.load(line, variables) {
            Outcome::Run(settings, warnings) => (*settings, warnings),
            other => panic!("{other:?}"),
        }
    }

    fn settings(&self, line: &str, variables: &[(&str, &str)]) -> Settings {
        self.run(line, variables).0
    }

    fn refusal(&self, line: &str, variables: &[(&str, &str)]) -> String {
        match self.load(line, variables) {
            Outcome::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn origin_of(settings: &Settings, name: &str) -> String {
    let changed = settings.changed().iter().find(|changed| changed.name == name);
    changed.map_or("default".to_owned(), |changed| changed.origin.to_string())
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

#[test]
fn defaults_are_gunicorns_but_for_keepalive() {
    let start = Start::new();
    let settings = start.settings("shop.wsgi", &[]);
    assert_eq!(settings.app, "shop.wsgi");
    assert_eq!(settings.binds, [tcp("127.0.0.1", 8000)]);
    assert_eq!((settings.workers, settings.worker_class), (Some(1), WorkerClass::Sync));
    assert_eq!((settings.backlog, settings.worker_connections), (2048, 1000));
    assert_eq!(settings.timeout, Some(Duration::from_secs(30)));
    assert_eq!(settings.graceful_timeout, Duration::from_secs(30));
    assert_eq!(settings.keepalive, Duration::from_secs(75));
    assert_eq!(settings.boot_timeout, Duration::from_secs(300));
    assert_eq!(settings.preload_app, None);
    assert_eq!(settings.body_spool_bytes, 1 << 20);
    assert_eq!(settings.forwarded.allow_ips, ["127.0.0.1", "::1"]);
    assert_eq!((settings.accesslog.as_deref(), settings.errorlog.as_str()), (None, "-"));
    assert_eq!(settings.chdir, start.path());
    assert_eq!(settings.changed().len(), 1, "{:?}", settings.changed());
}

#[test]
fn each_source_wins_over_the_one_below() {
    let file = "workers = 3\n";
    let mut variables = vec![];
    let check = |start: &Start, line: &str, variables: &[_], workers: u16, origin: &str| {
        let settings = start.settings(line, variables);
        assert_eq!((settings.workers, &*origin_of(&settings, "workers")), (Some(workers), origin));
    };
    check(&Start::new(), "app", &variables, 1, "default");
    variables.push(("WEB_CONCURRENCY", "2"));
    check(&Start::new(), "app", &variables, 2, "environment variable WEB_CONCURRENCY");
    let start = Start::new().file("remuda.toml", file);
    check(&start, "app", &variables, 3, "remuda.toml");
    variables.push(("GUNICORN_WORKERS", "4"));
    check(&start, "app", &variables, 4, "environment variable GUNICORN_WORKERS");
    variables.push(("GUNICORN_CMD_ARGS", "--workers 5"));
    check(&start, "app", &variables, 5, "flag --workers in GUNICORN_CMD_ARGS");
    check(&start, "app -w 6", &variables, 6, "flag --workers");
}

#[test]
fn the_port_is_used_when_nobody_binds() {
    let start = Start::new();
    let port = ("PORT", "8080");
    assert_eq!(start.settings("app", &[port]).binds, [Address::Any { port: 8080 }]);
    assert_eq!(start.settings("app -b :1", &[port]).binds, [Address::Any { port: 1 }]);
    let bind = ("GUNICORN_BIND", "127.0.0.1:1, [::1]:2");
    assert_eq!(start.settings("app", &[port, bind]).binds, [tcp("127.0.0.1", 1), tcp("::1", 2)]);
    // A bad port that nobody uses keeps nobody from starting.
    assert_eq!(start.settings("app -b a:1", &[("PORT", "x")]).binds, [tcp("a", 1)]);
}

#[test]
fn a_stronger_list_replaces_the_weaker() {
    let start = Start::new().file("remuda.toml", "bind = ['a:1', 'b:2']\n");
    assert_eq!(start.settings("app", &[]).binds, [tcp("a", 1), tcp("b", 2)]);
    assert_eq!(start.settings("app -b c:3 -b d:4", &[]).binds, [tcp("c", 3), tcp("d", 4)]);
}

#[test]
fn the_variables_of_a_railway_site_are_read() {
    let (settings, warnings) = Start::new().run(
        "proyecto.wsgi",
        &[
            ("GUNICORN_WORKERS", "2"),
            ("GUNICORN_WORKER_CLASS", "gevent"),
            ("GUNICORN_TIMEOUT", "120"),
            ("GUNICORN_GRACEFUL_TIMEOUT", "30"),
            ("GUNICORN_MAX_REQUESTS", "500"),
            ("GUNICORN_MAX_REQUESTS_JITTER", "50"),
            ("GUNICORN_WORKER_CONNECTIONS", "100"),
            ("GUNICORN_KEEPALIVE", "5"),
            ("GUNICORN_PRELOAD_APP", "false"),
            ("LOG_LEVEL", "WARNING"),
            ("PORT", "8080"),
        ],
    );
    assert_eq!((settings.workers, settings.worker_class), (Some(2), WorkerClass::Gevent));
    assert_eq!(settings.timeout, Some(Duration::from_secs(120)));
    assert_eq!((settings.max_requests, settings.max_requests_jitter), (500, 50));
    assert_eq!(settings.keepalive, Duration::from_secs(5));
    assert_eq!(settings.preload_app, Some(false));
    assert_eq!(settings.loglevel, "info");
    assert_eq!(warnings, []);
}

#[test]
fn no_timeout_is_none() {
    assert_eq!(Start::new().settings("app -t 0", &[]).timeout, None);
}

#[test]
fn gunicorns_ends_of_scale_are_kept() {
    let line = "app --limit-request-line 9999 --limit-request-fields 0 \
                --limit-request-field_size 0";
    let settings = Start::new().settings(line, &[]);
    assert_eq!(settings.limit_request_line, 8190);
    assert_eq!(settings.limit_request_fields, 24_000);
    assert_eq!(settings.limit_request_field_size, 8190);
}

#[test]
fn the_app_comes_from_the_argument_or_the_setting() {
    let start = Start::new().file("remuda.toml", "wsgi_app = 'shop.wsgi'\n");
    assert_eq!(start.settings("", &[]).app, "shop.wsgi");
    assert_eq!(start.settings("other.wsgi", &[]).app, "other.wsgi");
    let (settings, warnings) = start.run("", &[("GUNICORN_CMD_ARGS", "third.wsgi")]);
    assert_eq!(settings.app, "shop.wsgi");
    assert!(warnings[0].to_string().contains("`third.wsgi` in GUNICORN_CMD_ARGS is ignored"));
}

#[test]
fn relative_paths_count_from_chdir() {
    let start = Start::new();
    let site = start.path().join("site");
    fs::create_dir(&site).expect("made");
    let line = "app --chdir site -b unix:run.sock -p run.pid --access-logfile a.log \
                --pythonpath lib,/opt/lib --python venv/bin/python";
    let settings = start.settings(line, &[]);
    assert_eq!(settings.chdir, site);
    assert_eq!(settings.binds, [Address::Unix(site.join("run.sock"))]);
    assert_eq!(settings.pidfile, Some(site.join("run.pid")));
    assert_eq!(settings.accesslog.as_deref(), site.join("a.log").to_str());
    assert_eq!(settings.pythonpath, [site.join("lib"), "/opt/lib".into()]);
    assert_eq!(settings.python, Some(start.path().join("venv/bin/python")));
}

#[test]
fn shell_words_in_cmd_args_keep_their_quotes() {
    let variable = ("GUNICORN_CMD_ARGS", "-e 'NAME=two words' --access-logformat \"%(h)s x\"");
    let settings = Start::new().settings("app", &[variable]);
    assert_eq!(settings.raw_env, [("NAME".to_owned(), "two words".to_owned())]);
    assert_eq!(settings.access_log_format, "%(h)s x");
}

#[test]
fn values_of_the_apps_variables_are_not_shown() {
    let start = Start::new();
    let settings = start.settings("app -e KEY=secret -e B=secret", &[]);
    let changed = settings.changed().iter().find(|changed| changed.name == "raw_env");
    assert_eq!(changed.map(|changed| &*changed.text), Some("KEY=…, B=…"));
    for variable in [("GUNICORN_RAW_ENV", "KEY=1,secret"), ("GUNICORN_CMD_ARGS", "-e 'KEY=secret")]
    {
        assert!(!start.refusal("app", &[variable]).contains("secret"));
    }
    match start.load("--print-config -e KEY=secret", &[]) {
        Outcome::Print { text, .. } => assert!(!text.contains("secret"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_than_one_thread_turns_sync_into_gthread() {
    let class = |args| Start::new().settings(args, &[]).worker_class;
    assert_eq!(class("app --threads 4"), WorkerClass::Gthread);
    assert_eq!(class("app --threads 1"), WorkerClass::Sync);
    assert_eq!(class("app -k gthread --threads 1"), WorkerClass::Gthread);
    assert_eq!(class("app -k gevent --threads 4"), WorkerClass::Gevent);
}

#[test]
fn only_one_file_is_read() {
    let start = Start::new()
        .file("remuda.toml", "workers = 2\n")
        .file("other.toml", "timeout = 9.5\n")
        .file("pyproject.toml", "[tool.remuda]\nworkers = 4\n");
    let settings = start.settings("app -c other.toml", &[]);
    assert_eq!((settings.workers, settings.timeout), (Some(1), Some(Duration::from_millis(9500))));
    assert_eq!(origin_of(&settings, "timeout"), "other.toml");
    assert_eq!(start.settings("app", &[("GUNICORN_CONFIG", "remuda.toml")]).workers, Some(2));
    assert_eq!(
        start.settings("app -c none", &[("GUNICORN_CONFIG", "remuda.toml")]).workers,
        Some(1)
    );
    let (settings, warnings) = start.run("app", &[]);
    assert_eq!(settings.workers, Some(2));
    let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let passed_over = "`pyproject.toml` is not read: one file is, and `remuda.toml` comes first";
    assert_eq!(said, [passed_over]);
}

#[test]
fn a_project_file_that_is_broken_is_an_error_if_it_has_a_table_for_us() {
    let start = Start::new().file("pyproject.toml", "[tool.remuda]\nworkers = \n");
    let words = start.refusal("app", &[]);
    assert!(words.contains("`pyproject.toml` is not valid TOML, see line 2"), "{words}");
    let start = Start::new().file("pyproject.toml", "[tool.black\n");
    assert_eq!(start.settings("app", &[]).workers, Some(1));
}

#[test]
fn a_default_given_to_a_setting_without_effect_is_no_matter() {
    let variables = [("GUNICORN_RELOAD", "False"), ("GUNICORN_CHECK_CONFIG", "0")];
    assert_eq!(Start::new().run("app", &variables).1, []);
}

#[test]
fn no_argument_and_no_variable_breaks_the_reader() {
    let start = Start::new();
    for setting in remuda_settings::table::all() {
        for text in ["", "-", "0", "none", "*", "é", "=", "[::", "unix:", "999999999999999999999"]
        {
            let variable = setting.variable();
            match start.load("app", &[(variable.as_str(), text)]) {
                Outcome::Run(..) | Outcome::Refused(_) => {}
                Outcome::Check { .. } => {
                    assert!(["print_config", "check_config"].contains(&setting.name), "{text}");
                }
                Outcome::Print { text, .. } => panic!("{}: {text}", setting.name),
            }
        }
    }
}

#[test]
fn protocols_are_plain_http1_unless_something_else_is_asked_for() {
    let start = Start::new();
    let plain = start.settings("app", &[]);
    assert_eq!((plain.tls, plain.proxy.mode.as_str()), (None, "off"));
    assert_eq!(plain.http2.protocols, ["h1"]);
    let (settings, warnings) = start.run(
        "app --proxy-protocol=v2 --certfile tls/cert.pem",
        &[("GUNICORN_HTTP_PROTOCOLS", "h2, h1"), ("GUNICORN_CIPHERS", "ECDHE+AESGCM")],
    );
    let tls = settings.tls.expect("TLS");
    assert_eq!(tls.certificate, Some(start.path().join("tls/cert.pem")));
    assert_eq!((tls.key, tls.client_certificates, tls.ciphers.len()), (None, 0, 7));
    assert_eq!(settings.http2.protocols, ["h2", "h1"]);
    assert_eq!((settings.proxy.mode.as_str(), warnings), ("v2", Vec::new()));
}

/// It may load what it likes, so nothing is missing yet.
#[test]
fn a_hook_that_makes_the_context_needs_a_certificate_or_a_key_and_no_more() {
    let start = Start::new();
    let hook = [("GUNICORN_SSL_CONTEXT", "shop.tls.context")];
    for (line, has_certificate) in [("app --keyfile key", false), ("app --certfile cert", true)] {
        let (settings, warnings) = start.run(&format!("{line} --cert-reqs 2"), &hook);
        let tls = settings.tls.expect("TLS");
        assert_eq!((tls.by_hook, tls.certificate.is_some()), (true, has_certificate));
        assert_eq!((tls.client_certificates, tls.authorities, warnings), (2, None, Vec::new()));
    }
    let (settings, warnings) = start.run("app", &hook);
    assert_eq!((settings.tls, warnings.len()), (None, 1));
}

#[test]
fn uwsgi_is_spoken_by_those_who_may() {
    let start = Start::new();
    assert_eq!(start.settings("app", &[]).uwsgi, None);
    let spoken = start.settings("app --protocol uwsgi", &[]).uwsgi;
    assert_eq!(spoken, Some(vec!["127.0.0.1".to_owned(), "::1".to_owned()]));
    let (settings, warnings) =
        start.run("app --protocol uwsgi --certfile c.pem", &[("GUNICORN_UWSGI_ALLOW_IPS", "*")]);
    assert_eq!((settings.uwsgi, warnings), (Some(vec!["*".to_owned()]), Vec::new()));
}

#[test]
fn truth_values_of_gunicorns_file_are_understood() {
    let file = "proxy_protocol = true\nhttp2_cleartext = true\nhttp_protocols = ['h1', 'h2']\n";
    let settings = Start::new().file("remuda.toml", file).settings("app", &[]);
    assert_eq!(settings.proxy.mode, "auto");
    assert_eq!(settings.http2.cleartext, "prior-knowledge");
}

fn sources(start: &Start, line: &str) -> Sources {
    Sources::gather(line.split_whitespace().map(OsString::from), [], start.path()).expect("sources")
}

#[test]
fn the_python_file_comes_before_the_others_and_is_left_to_python() {
    let start = Start::new().file("gunicorn.conf.py", "workers = 3\n").file("remuda.toml", "x");
    let file = sources(&start, "app").python_file().expect("a file").clone();
    assert_eq!(file.shown, "gunicorn.conf.py");
    assert_eq!(file.place, Place::Path(start.path().join("gunicorn.conf.py")));
    assert_eq!(sources(&start, "app -c none").python_file(), None);
    let named = sources(&start, "app -c file:conf/site").python_file().expect("a file").clone();
    assert_eq!(named.place, Place::Path(start.path().join("conf/site")));
    let module = sources(&start, "app -c python:site.conf").python_file().expect("one").clone();
    assert_eq!(
        (module.shown.as_str(), module.place),
        ("python:site.conf", Place::Module("site.conf".into()))
    );
}

#[test]
fn a_table_of_the_project_file_is_read() {
    let project = "[project]\nname = 'shop'\n[tool.remuda]\nworkers = 4\n";
    let start = Start::new().file("pyproject.toml", project);
    let settings = start.settings("app", &[]);
    assert_eq!((settings.workers, &*origin_of(&settings, "workers")), (Some(4), "pyproject.toml"));
    let start = Start::new().file("pyproject.toml", "[project]\nname = 'shop'\n");
    assert_eq!(start.settings("app", &[]).workers, Some(1));
}

fn python(values: &[(&str, Value)]) -> Vec<PythonValue> {
    let value = |(name, value): &(&str, Value)| PythonValue {
        name: (*name).to_owned(),
        line: Some(7),
        form: PythonForm::Plain(value.clone()),
    };
    values.iter().map(value).collect()
}

#[test]
fn values_of_the_python_file_are_wishes_like_others() {
    let start = Start::new().file("gunicorn.conf.py", "");
    let values = python(&[
        ("workers", json!("0x3")),
        ("timeout", json!(0.5)),
        ("preload_app", json!(true)),
        ("bind", json!(["127.0.0.1:1", "127.0.0.1:2"])),
        ("raw_env", json!("A=1,2")),
        ("forwarded_allow_ips", json!(["10.0.0.1", "10.0.0.2"])),
        ("accesslog", json!(null)),
        ("umask", json!(0o22)),
        ("secure_scheme_headers", json!({"X-FORWARDED-PROTO": "https"})),
        ("config", json!("another.py")),
        ("loglevel", json!("debug")),
        ("somebodys_own", json!([1, {"a": 2}])),
    ]);
    let variables = [("GUNICORN_LOGLEVEL", "error"), ("WEB_CONCURRENCY", "9")];
    let (settings, warnings) = match start.load_with("app", &variables, &values) {
        Outcome::Run(settings, warnings) => (*settings, warnings),
        other => panic!("{other:?}"),
    };
    assert_eq!((settings.workers, settings.timeout), (Some(3), Some(Duration::from_millis(500))));
    assert_eq!(origin_of(&settings, "workers"), "gunicorn.conf.py:7");
    assert_eq!(settings.binds, [tcp("127.0.0.1", 1), tcp("127.0.0.1", 2)]);
    assert_eq!(settings.raw_env, [("A".into(), "1,2".into())]);
    assert_eq!(settings.forwarded.allow_ips, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!((settings.preload_app, settings.loglevel.as_str()), (Some(true), "error"));
    assert_eq!((settings.accesslog, warnings), (None, Vec::new()));
    let header = ("x-forwarded-proto".to_owned(), "https".to_owned());
    assert_eq!((settings.forwarded.secure_scheme_headers, settings.umask), (vec![header], 0o22));
    assert_eq!(settings.cfg["secure_scheme_headers"], json!({"X-FORWARDED-PROTO": "https"}));
    assert_eq!((&settings.cfg["umask"], &settings.cfg["workers"]), (&json!(18), &json!(3)));
    assert_eq!(settings.cfg["timeout"], json!(0.5));
    assert_eq!(settings.cfg["bind"], json!(["127.0.0.1:1", "127.0.0.1:2"]));
    assert_eq!(
        (&settings.cfg["accesslog"], &settings.cfg["pidfile"]),
        (&json!(null), &json!(null))
    );
}
