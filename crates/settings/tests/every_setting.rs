//! Every setting from every source, made from its declaration: what it becomes, where it is said to
//! come from, which source wins, and what is said of values that make no sense.

use std::fs;

use remuda_settings::{
    Group, Kind, Outcome, PythonForm, PythonValue, Setting, Settings, Sources, Zero, table,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A good value that is not the default, as the texts of a flag, and as Python would have it.
fn sample(setting: &Setting) -> (Vec<String>, Value) {
    let one = |text: &str| (vec![text.to_owned()], json!(text));
    match setting.kind {
        Kind::Switch => {
            let other = setting.default != "true";
            (vec![other.to_string()], json!(other))
        }
        Kind::Whole { min, max } => {
            let number = (min + 1).min(max);
            (vec![number.to_string()], json!(number))
        }
        Kind::Workers { .. } => (vec!["2".to_owned()], json!(2)),
        Kind::Seconds(_) => (vec!["7".to_owned()], json!(7)),
        Kind::Bytes { .. } => (vec!["4096".to_owned()], json!(4096)),
        Kind::Memory => one("512M"),
        Kind::Share => one("0.5"),
        Kind::Mode => (vec!["0o22".to_owned()], json!(0o22)),
        Kind::Level => one("debug"),
        Kind::WorkerClass => one("gevent"),
        Kind::Choice(words) | Kind::OptionalChoice(words) => one(words[words.len() - 1]),
        Kind::CommaChoices([.., last]) => (vec![(*last).to_owned()], json!([last])),
        Kind::Addresses => (vec!["127.0.0.1:1".to_owned()], json!(["127.0.0.1:1"])),
        Kind::Pairs => (vec!["A=b".to_owned()], json!(["A=b"])),
        Kind::Files => (vec!["*.html".to_owned()], json!(["*.html"])),
        Kind::List => (vec!["a".to_owned()], json!(["a"])),
        Kind::Networks => (vec!["10.0.0.1".to_owned()], json!(["10.0.0.1"])),
        Kind::Ciphers => one("ECDHE+AESGCM"),
        Kind::Python => (vec![r#"{"a":1}"#.to_owned()], json!({"a": 1})),
        Kind::Hook(_) => one("module.function"),
        Kind::LogTarget { .. } | Kind::Path if setting.name == "chdir" => one("/"),
        // There must be such a file.
        Kind::Text if setting.name == "paste" => {
            one(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        }
        Kind::LogTarget { .. }
        | Kind::Path
        | Kind::Text
        | Kind::CommaList(_)
        | Kind::CommaChoices([]) => one("/some/text"),
    }
}

/// What makes no sense, where anything can.
fn nonsense(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Switch => Some("maybe"),
        Kind::Whole { .. }
        | Kind::Workers { .. }
        | Kind::Bytes { .. }
        | Kind::Mode
        | Kind::Memory
        | Kind::Share => Some("some"),
        Kind::Seconds(Zero::Refused) => Some("0"),
        Kind::Seconds(_) => Some("-1"),
        Kind::WorkerClass => Some("nosuch"),
        Kind::Choice(_) | Kind::OptionalChoice(_) | Kind::CommaChoices(_) => Some("neither"),
        Kind::Addresses => Some("127.0.0.1:port"),
        Kind::Pairs => Some("nothing"),
        Kind::Files => Some("no/such/file"),
        Kind::Networks => Some("10.0.0.1/8"),
        Kind::Ciphers => Some("RC4"),
        _ => None,
    }
}

/// Those that say what to serve, and not how to start; the app itself is an argument here, and
/// uwsgi does not go with HTTP/2.
fn is_plain(setting: &&Setting) -> bool {
    let alone = ["wsgi_app", "protocol"];
    setting.is_full() && setting.group != Group::Configuration && !alone.contains(&setting.name)
}

/// What must be there for a setting to have a meaning: what belongs to encryption needs files.
fn beside(setting: &Setting) -> impl Iterator<Item = (String, String)> {
    let needs_files = setting.group == Group::Tls && setting.name != "certfile";
    let files = table::all().filter(|other| other.group == Group::Tls && other.kind == Kind::Path);
    files
        .filter(move |other| needs_files && setting.name != other.name)
        .map(|other| (other.variable(), "/some/file".to_owned()))
}

struct Given<'a> {
    python: Option<&'a Value>,
    variable: Option<&'a str>,
    cmd_args: Option<&'a str>,
    flag: Option<&'a str>,
}

const NOTHING: Given<'_> = Given { python: None, variable: None, cmd_args: None, flag: None };

fn outcome(setting: &Setting, given: &Given<'_>) -> Outcome {
    let start = TempDir::new().expect("a directory");
    fs::write(start.path().join("gunicorn.conf.py"), "").expect("written");
    let flag = |text: &str| format!("{}={text}", setting.flag().expect("a flag"));
    let mut arguments = vec!["app".into()];
    arguments.extend(given.flag.map(|text| flag(text).into()));
    let mut variables: Vec<_> = beside(setting).collect();
    variables.extend(given.variable.map(|text| (setting.variable(), text.to_owned())));
    let quoted = given.cmd_args.map(|text| format!("'{}'", flag(text)));
    variables.extend(quoted.map(|text| ("GUNICORN_CMD_ARGS".to_owned(), text)));
    let value = |value: &Value| PythonValue {
        name: setting.name.to_owned(),
        line: Some(3),
        form: PythonForm::Plain(value.clone()),
    };
    let python: Vec<_> = given.python.map(value).into_iter().collect();
    Sources::gather(arguments, variables, start.path()).expect("sources").settle(&python)
}

fn settings(setting: &Setting, given: &Given<'_>) -> Settings {
    match outcome(setting, given) {
        Outcome::Run(settings, _) => *settings,
        other => panic!("{}: {other:?}", setting.name),
    }
}

fn origin(settings: &Settings, name: &str) -> String {
    let changed = settings.changed().iter().find(|changed| changed.name == name);
    changed.map_or_else(|| "default".to_owned(), |changed| changed.origin.to_string())
}

#[test]
fn each_source_gives_the_same_value_and_is_named() {
    let mut count = 0;
    for setting in table::all().filter(is_plain) {
        let (texts, python) = sample(setting);
        let (name, text) = (setting.name, texts[0].as_str());
        let by_file = settings(setting, &Given { python: Some(&python), ..NOTHING });
        let by_variable = settings(setting, &Given { variable: Some(text), ..NOTHING });
        assert_eq!(by_file.cfg[name], by_variable.cfg[name], "{name}");
        assert_ne!(by_file.cfg[name], settings(setting, &NOTHING).cfg[name], "{name}");
        assert_eq!(origin(&by_file, name), "gunicorn.conf.py:3");
        let variable = format!("environment variable {}", setting.variable());
        assert_eq!(origin(&by_variable, name), variable);
        if let Some(flag) = setting.flag() {
            let by_cmd_args = settings(setting, &Given { cmd_args: Some(text), ..NOTHING });
            let by_flag = settings(setting, &Given { flag: Some(text), ..NOTHING });
            assert_eq!(by_flag.cfg[name], by_file.cfg[name], "{name}");
            assert_eq!(by_cmd_args.cfg[name], by_file.cfg[name], "{name}");
            assert_eq!(origin(&by_flag, name), format!("flag {flag}"));
            assert_eq!(origin(&by_cmd_args, name), format!("flag {flag} in GUNICORN_CMD_ARGS"));
        }
        count += 1;
    }
    assert!(count > 70, "{count}");
}

#[test]
fn the_stronger_source_wins() {
    for setting in table::all().filter(is_plain) {
        let (texts, python) = sample(setting);
        let (name, text) = (setting.name, texts[0].as_str());
        let file = Given { python: Some(&python), ..NOTHING };
        let variable = Given { variable: Some(text), ..file };
        let settings = |given| settings(setting, given);
        assert!(origin(&settings(&variable), name).starts_with("environment variable"), "{name}");
        if setting.flag().is_some() {
            let cmd_args = Given { cmd_args: Some(text), ..variable };
            assert!(origin(&settings(&cmd_args), name).ends_with("in GUNICORN_CMD_ARGS"), "{name}");
            let flag = Given { flag: Some(text), ..cmd_args };
            let flag = origin(&settings(&flag), name);
            assert!(flag.starts_with("flag") && !flag.ends_with("CMD_ARGS"), "{name}: {flag}");
        }
    }
}

#[test]
fn nothing_in_the_file_leaves_the_default() {
    for setting in table::all().filter(is_plain) {
        let given = settings(setting, &Given { python: Some(&Value::Null), ..NOTHING });
        assert_eq!(origin(&given, setting.name), "default", "{}", setting.name);
    }
}

#[test]
fn nonsense_is_refused_by_name_from_each_source() {
    let mut count = 0;
    for setting in table::all().filter(is_plain) {
        let Some(text) = nonsense(setting.kind) else { continue };
        let python = json!(text);
        let mut all = vec![
            (Given { python: Some(&python), ..NOTHING }, setting.name.to_owned(), "conf.py:3"),
            (Given { variable: Some(text), ..NOTHING }, setting.variable(), "environment variable"),
        ];
        if let Some(flag) = setting.flag() {
            all.push((Given { flag: Some(text), ..NOTHING }, flag.clone(), "flag"));
            all.push((Given { cmd_args: Some(text), ..NOTHING }, flag, "in GUNICORN_CMD_ARGS"));
        }
        for (given, subject, origin) in all {
            match outcome(setting, &given) {
                Outcome::Refused(refusal) => {
                    let words = refusal.to_string();
                    assert!(words.contains(&format!("`{subject}` must be ")), "{words}");
                    assert!(words.contains(origin), "{words}");
                }
                other => panic!("{}: {other:?}", setting.name),
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

/// Everything at once: a file, and the arguments behind the app.
fn all_at_once(file: (&str, &str), arguments: Vec<String>, python: &[PythonValue]) -> Settings {
    let start = TempDir::new().expect("a directory");
    fs::write(start.path().join(file.0), file.1).expect("written");
    let arguments = ["app".to_owned()].into_iter().chain(arguments).map(Into::into);
    match Sources::gather(arguments, [], start.path()).expect("sources").settle(python) {
        Outcome::Run(settings, _) => *settings,
        other => panic!("{other:?}"),
    }
}

/// What one gets who gives every setting its sample in a Python file.
fn by_python() -> Settings {
    let value = |setting: &Setting| PythonValue {
        name: setting.name.to_owned(),
        line: None,
        form: PythonForm::Plain(sample(setting).1),
    };
    let values: Vec<_> = table::all().filter(is_plain).map(value).collect();
    all_at_once(("gunicorn.conf.py", ""), Vec::new(), &values)
}

#[test]
fn toml_says_the_same_as_python() {
    let values = table::all().filter(is_plain).map(|s| (s.name.to_owned(), sample(s).1));
    let text = toml::to_string(&values.collect::<serde_json::Map<_, _>>()).expect("TOML");
    let (by_toml, by_python) = (all_at_once(("remuda.toml", &text), Vec::new(), &[]), by_python());
    for setting in table::all().filter(is_plain) {
        let name = setting.name;
        assert_eq!(by_toml.cfg[name], by_python.cfg[name], "{name}");
        assert!(origin(&by_toml, name).starts_with("remuda.toml"), "{name}");
    }
}

/// The shortest beginning of a flag that no other flag has.
fn unique_prefix(flag: &str) -> &str {
    let all = || table::all().flat_map(|setting| setting.flags).chain(&["help", "version"]);
    let is_unique = |end: &usize| {
        all().filter(|other| **other != flag).all(|other| !other.starts_with(&flag[..*end]))
    };
    &flag[..(1..flag.len()).find(is_unique).unwrap_or(flag.len())]
}

/// Every way to write a flag: a name for the way, and the arguments where it is possible.
type Spelling = (&'static str, fn(&Setting, &str) -> Vec<String>);

const SPELLINGS: [Spelling; 6] = [
    ("--flag=value", |setting, text| match setting.flags {
        [first, ..] => vec![format!("--{first}={text}")],
        [] => Vec::new(),
    }),
    ("--flag value", |setting, text| match (setting.flags, setting.kind) {
        ([], _) | (_, Kind::Switch) => Vec::new(),
        ([first, ..], _) => vec![format!("--{first}"), text.to_owned()],
    }),
    ("its other name", |setting, text| match setting.flags {
        [_, other, ..] => vec![format!("--{other}={text}")],
        _ => Vec::new(),
    }),
    ("--unique-prefix=value", |setting, text| match setting.flags {
        [first, ..] => vec![format!("--{}={text}", unique_prefix(first))],
        [] => Vec::new(),
    }),
    ("-f value", |setting, text| match (setting.short_flag, setting.kind) {
        (Some(letter), Kind::Switch) => vec![format!("-{letter}")],
        (Some(letter), _) => vec![format!("-{letter}"), text.to_owned()],
        (None, _) => Vec::new(),
    }),
    ("-fvalue", |setting, text| match (setting.short_flag, setting.kind) {
        (Some(letter), Kind::Switch) => vec![format!("-{letter}")],
        (Some(letter), _) => vec![format!("-{letter}{text}")],
        (None, _) => Vec::new(),
    }),
];

#[test]
fn a_flag_means_the_same_however_it_is_written() {
    let by_python = by_python();
    for (way, spell) in SPELLINGS {
        let spelled = |setting: &Setting| spell(setting, &sample(setting).0[0]);
        let possible = || table::all().filter(is_plain).filter(|s| !spelled(s).is_empty());
        let arguments = possible().flat_map(spelled).collect();
        let settings = all_at_once(("remuda.toml", ""), arguments, &[]);
        for setting in possible() {
            let name = setting.name;
            assert_eq!(settings.cfg[name], by_python.cfg[name], "{way}: {name}");
            let flag = setting.flag().expect("a flag");
            assert_eq!(origin(&settings, name), format!("flag {flag}"), "{way}");
        }
        assert!(possible().count() > 0, "{way}");
    }
}

#[test]
fn a_switch_needs_no_value() {
    let switches =
        || table::all().filter(is_plain).filter(|s| s.kind == Kind::Switch && s.flag().is_some());
    let settings =
        all_at_once(("remuda.toml", ""), switches().filter_map(Setting::flag).collect(), &[]);
    for setting in switches() {
        let is_negative = setting.default == "true" && setting.flags[0].starts_with("no-");
        assert_eq!(settings.cfg[setting.name], json!(!is_negative), "{}", setting.name);
    }
    assert!(switches().count() > 10);
}

#[test]
fn nonsense_in_toml_is_refused_by_name() {
    let all = || table::all().filter(is_plain).filter_map(|s| Some((s.name, nonsense(s.kind)?)));
    let text: serde_json::Map<_, _> = all().map(|(n, text)| (n.to_owned(), json!(text))).collect();
    let text = toml::to_string(&text).expect("TOML");
    let start = TempDir::new().expect("a directory");
    fs::write(start.path().join("remuda.toml"), text).expect("written");
    match Sources::gather(["app".into()], [], start.path()).expect("sources").settle(&[]) {
        Outcome::Refused(refusal) => {
            let words = refusal.to_string();
            for (name, _) in all() {
                assert!(words.contains(&format!("`{name}` must be ")), "{name}: {words}");
            }
            assert!(words.contains("remuda.toml"), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

/// What has no effect here is told by name, wherever it was given.
#[test]
fn what_this_version_does_not_do_is_told_by_name() {
    let mut count = 0;
    for setting in table::all().filter(|setting| !setting.is_full()) {
        let (texts, python) = sample(setting);
        let text = texts[0].as_str();
        let mut all = vec![
            Given { python: Some(&python), ..NOTHING },
            Given { variable: Some(text), ..NOTHING },
        ];
        if setting.flag().is_some() {
            all.push(Given { flag: Some(text), ..NOTHING });
            all.push(Given { cmd_args: Some(text), ..NOTHING });
        }
        for given in &all {
            let words = match outcome(setting, given) {
                Outcome::Run(_, warnings) => format!("{warnings:?}"),
                Outcome::Refused(refusal) => refusal.to_string(),
                other => panic!("{}: {other:?}", setting.name),
            };
            let names = [setting.name.to_owned(), setting.variable()];
            let is_named = names.iter().chain(setting.flag().iter()).any(|n| words.contains(n));
            assert!(is_named, "{}: {words}", setting.name);
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
