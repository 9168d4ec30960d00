//! The written pages agree with the table: the reference is up to date, the samples can be used.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use remuda_settings::{Kind, Outcome, Sources, reference_page, table};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks whoever runs the test whether to write")]
fn the_reference_is_up_to_date() {
    let path = root().join("docs/reference/settings.md");
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        fs::write(&path, reference_page()).expect("written");
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference_page(), "run `UPDATE=1 cargo test -p remuda-settings`");
}

#[test]
fn the_reference_names_every_setting() {
    let page = reference_page();
    for setting in table::all() {
        assert!(page.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}

/// Commented lines of the form `#key = value`; prose has a blank after the `#`.
fn uncommented(sample: &str) -> String {
    let lines = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_alphabetic()) => rest,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_line_of_the_sample_file_can_be_used() {
    let sample = fs::read_to_string(root().join("config/remuda.toml")).expect("the sample");
    let start = tempfile::TempDir::new().expect("a directory");
    fs::write(start.path().join("remuda.toml"), uncommented(&sample)).expect("written");
    match Sources::gather([], [], start.path()).expect("sources").settle(&[]) {
        Outcome::Run(settings, warnings) => {
            assert_eq!(warnings, []);
            let shown: BTreeSet<_> = settings.changed().iter().map(|c| c.name).collect();
            let is_hook =
                |setting: &remuda_settings::Setting| matches!(setting.kind, Kind::Hook(_));
            let full = table::all().filter(|setting| setting.is_full() && !is_hook(setting));
            let full = full.map(|setting| setting.name);
            let missing: Vec<_> = full.filter(|name| !shown.contains(name)).collect();
            // These make sense only outside the file; `paste` wants a file of its own; and where
            // uwsgi is spoken, HTTP/2 is not.
            let outside = ["config", "check_config", "print_config", "paste"];
            assert_eq!(missing, [&outside[..], &["protocol", "uwsgi_allow_ips"]].concat());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_line_of_the_development_sample_can_be_used() {
    let sample = fs::read_to_string(root().join("config/development.env")).expect("the sample");
    let sample = uncommented(&sample);
    let lines = sample.lines().filter(|line| !line.starts_with('#'));
    let variables: Vec<_> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    assert!(variables.iter().filter(|(name, _)| name.starts_with("GUNICORN_")).count() > 5);
    match Sources::gather(["app".into()], variables, &root()).expect("sources").settle(&[]) {
        Outcome::Run(_, warnings) => assert_eq!(warnings, []),
        other => panic!("{other:?}"),
    }
}
