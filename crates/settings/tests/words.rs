//! The words that users see: help, errors, warnings and the printed settings, as snapshots.

use std::ffi::OsString;
use std::fs;

use insta::{assert_snapshot, with_settings};
use remuda_settings::{Outcome, PythonForm, PythonValue, Sources};
use serde_json::json;
use tempfile::TempDir;

/// What comes out, as one text; the start directory is shown as `<start>`.
fn words(line: &str, variables: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    words_with(line, variables, files, &[])
}

/// The same, with what Python has found in the Python file.
fn words_with(
    line: &str,
    variables: &[(&str, &str)],
    files: &[(&str, &str)],
    python: &[PythonValue],
) -> String {
    let start = TempDir::new().expect("a directory");
    for (name, text) in files {
        fs::write(start.path().join(name), text).expect("written");
    }
    let variables = variables.iter().map(|(name, text)| ((*name).into(), (*text).into()));
    let words = line.split_whitespace().map(OsString::from);
    let outcome = match Sources::gather(words, variables, start.path()) {
        Ok(sources) => sources.settle(python),
        Err(outcome) => outcome,
    };
    let text = match outcome {
        Outcome::Run(settings, warnings) => {
            let warnings = warnings.iter().map(|warning| format!("warning: {warning}\n"));
            let changed = settings.changed().iter();
            let changed = changed.map(|c| format!("{} = {} ({})\n", c.name, c.text, c.origin));
            warnings.chain(changed).collect()
        }
        Outcome::Check { page, .. } => format!("{page}[and the app is checked]"),
        Outcome::Print { text, status } => format!("{text}[status {status}]"),
        Outcome::Refused(refusal) => refusal.to_string(),
    };
    text.replace(start.path().to_str().expect("UTF-8"), "<start>")
}

#[test]
fn help_in_short() {
    assert_snapshot!(words("-h", &[], &[]));
}

#[test]
fn help_at_length() {
    assert_snapshot!(words("--help", &[], &[]));
}

#[test]
fn version() {
    assert_snapshot!(words("--version", &[], &[]), @"
    remuda 0.1.0 (gunicorn-compatible)
    [status 0]
    ");
}

#[test]
fn all_bad_values_at_once() {
    let variables = [
        ("GUNICORN_WORKERS", "two"),
        ("GUNICORN_TIMEOUT", "-1"),
        ("PORT", "http"),
        ("GUNICORN_CMD_ARGS", "--max-requests many"),
        ("GUNICORN_BODY_SPOOL_BYTES", "1t"),
        ("GUNICORN_PRELOAD_APP", "maybe"),
        ("GUNICORN_ERRORLOG", "none"),
        ("GUNICORN_RAW_ENV", "A=1,2"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8"),
    ];
    let file = "keepalive = 'long'\nbacklog = -5\n";
    let line = "--chdir nowhere --head-timeout 0 --limit-request-line=1.5";
    assert_snapshot!(words(line, &variables, &[("remuda.toml", file)]));
}

#[test]
fn bad_addresses() {
    let line = "app -b 8000";
    assert_snapshot!(words(line, &[], &[]));
    assert_snapshot!(words("app", &[("GUNICORN_BIND", "0.0.0.0:")], &[]));
    assert_snapshot!(words("app", &[("GUNICORN_BIND", "::1")], &[]));
}

#[test]
fn worker_classes() {
    for class in ["eventlet", "tornado", "gevnt", "x.Y"] {
        with_settings!({ snapshot_suffix => class }, {
            assert_snapshot!(words("app", &[("GUNICORN_WORKER_CLASS", class)], &[]));
        });
    }
}

#[test]
fn threads() {
    assert_snapshot!(words("app --threads 0", &[], &[]));
    assert_snapshot!(words("app --threads 4 -k gevent", &[], &[]));
}

#[test]
fn no_app() {
    assert_snapshot!(words("", &[], &[]));
}

#[test]
fn unknown_flags() {
    assert_snapshot!(words("--wrokers 2 app", &[], &[]));
    assert_snapshot!(words("app", &[("GUNICORN_CMD_ARGS", "--wrokers 2")], &[]));
    assert_snapshot!(words("app", &[("GUNICORN_CMD_ARGS", "-e 'A=1")], &[]));
}

#[test]
fn files_that_cannot_be_read() {
    assert_snapshot!(words("app -c gone.toml", &[], &[]));
    assert_snapshot!(words("app", &[], &[("remuda.toml", "workers = 2\ntimeout =\n")]));
}

#[test]
fn unknown_keys_and_types() {
    let file = "wrokers = 2\nworkers = [1, 2]\nzzzzzzzzzz = 1\nconfig = 'x'\n[log]\nlevel = 1\n";
    assert_snapshot!(words("app", &[], &[("remuda.toml", file)]));
}

#[test]
fn without_effect() {
    let variables = [
        ("GUNICORN_SPEW", "true"),
        ("GUNICORN_WROKERS", "3"),
        ("GUNICORN_CMD_ARGS", "--http-parser fast"),
    ];
    let file = "worker_tmp_dir = \"/run\"\n";
    let line = "app --ssl-version 5 --log-level verbos";
    assert_snapshot!(words(line, &variables, &[("remuda.toml", file)]));
    assert_snapshot!(words("app --paste shop.ini#main --paste-global a", &[], &[]));
}

#[test]
fn encryption_that_cannot_be() {
    let lines = [
        "app --keyfile key.pem --cert-reqs 2 --ciphers HIGH",
        "app --certfile cert.pem --cert-reqs 1 --ciphers RC4-SHA:aNULL",
        "app --certfile cert.pem --ca-certs ca.pem --http2-cleartext both",
    ];
    for (number, line) in lines.iter().enumerate() {
        with_settings!({ snapshot_suffix => number.to_string() }, {
            assert_snapshot!(words(line, &[], &[]));
        });
    }
    let hook = [("GUNICORN_SSL_CONTEXT", "shop.tls.context")];
    assert_snapshot!(words("app", &hook, &[]));
    assert_snapshot!(words("app --ca-certs ca.pem", &hook, &[]));
}

#[test]
fn protocols() {
    let lines = [
        "app --http-protocols h2,h3 --http2-max-frame-size 1 --http2-cleartext yes",
        "app --http-protocols h2",
        "app --http2-cleartext both",
        "app --http-protocols h2,h1 --http2-cleartext upgrade",
        "--proxy-protocol app",
        "app --protocol scgi --uwsgi-allow-from proxy.local",
        "app --uwsgi-allow-from 10.0.0.0/8",
        "app --protocol uwsgi --http-protocols h2,h1 --http2-cleartext both",
    ];
    for (number, line) in lines.iter().enumerate() {
        with_settings!({ snapshot_suffix => number.to_string() }, {
            assert_snapshot!(words(line, &[], &[]));
        });
    }
}

#[test]
fn what_a_python_file_cannot_hold() {
    let value = |name: &str, line, form| PythonValue { name: name.to_owned(), line, form };
    let function = |name: &str| PythonForm::Callable(name.to_owned());
    let python = [
        value("wrokers", Some(1), PythonForm::Plain(json!(4))),
        value("workers", Some(2), PythonForm::Plain(json!([4]))),
        value("timeout", Some(3), PythonForm::Plain(json!("long"))),
        value("bind", Some(4), PythonForm::Plain(json!({"host": "a"}))),
        value("post_fork", Some(5), PythonForm::Plain(json!(7))),
        value("reload", None, function("reload")),
        value("pidfile", Some(8), PythonForm::Other("PosixPath".to_owned())),
    ];
    assert_snapshot!(words_with("app", &[], &[("gunicorn.conf.py", "")], &python));
    let python = [
        value("wrokers", Some(1), PythonForm::Plain(json!(4))),
        value("post_forks", Some(2), function("post_forks")),
        value("post_fork", Some(5), function("post_fork")),
        value("pre_exec", Some(5), function("pre_exec")),
        value("worker_class", Some(9), PythonForm::Class("uvicorn.workers.UvicornWorker".into())),
    ];
    assert_snapshot!(words_with("app", &[], &[("gunicorn.conf.py", "")], &python));
}

#[test]
fn what_will_be_different_after_gunicorn() {
    let value = |name: &str, line, form| PythonValue { name: name.to_owned(), line, form };
    let python = [
        value("workers", Some(1), PythonForm::Plain(json!(4))),
        value("wrokers", Some(2), PythonForm::Plain(json!(4))),
        value("preload_app", Some(3), PythonForm::Plain(json!(true))),
        value("child_exit", Some(4), PythonForm::Callable("child_exit".to_owned())),
        value("post_fork", Some(5), PythonForm::Callable("post_fork".to_owned())),
        value("spew", Some(6), PythonForm::Plain(json!(true))),
        value("ssl_context", Some(7), PythonForm::Callable("ssl_context".to_owned())),
    ];
    let file = [("gunicorn.conf.py", "")];
    let line = "check-migration app --paste shop.ini -k tornado --max-requests 9 --protocol uwsgi";
    assert_snapshot!(words_with(line, &[], &file, &python));
    assert_snapshot!(words("check-migration app", &[], &[]));
}

#[test]
fn where_each_value_came_from() {
    let variables = [("WEB_CONCURRENCY", "2"), ("GUNICORN_WORKERS", "3")];
    let file = [("remuda.toml", "workers = 4\nraw_env = ['KEY=secret']\n")];
    assert_snapshot!(words("config explain -w 5 app", &variables, &file));
    assert_snapshot!(words("config explain", &[], &[]));
}

#[test]
fn printed_settings() {
    let variables = [("PORT", "8080"), ("GUNICORN_TIMEOUT", "2m")];
    assert_snapshot!(words("--print-config -w 2", &variables, &[]));
}
