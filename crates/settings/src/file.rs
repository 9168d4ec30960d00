//! The file as a source: which one it is, and what a TOML file may hold.
//!
//! Its keys are the names of the settings, without tables. A Python file is only found here: Python
//! reads it (`python_file`).

use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::nearest::nearest_setting;
use crate::python_file::{Place, PythonFile};
use crate::wishes::{Given, Wishes};
use crate::{Kind, Origin, Problem, Setting, Warning, table};

/// Looked for in the start directory when no other is named; the first that is there counts.
const PYTHON_FILE: &str = "gunicorn.conf.py";
const TOML_FILE: &str = "remuda.toml";
/// Of other tools; read when it has a table for us.
const PROJECT_FILE: &str = "pyproject.toml";

/// The one file that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    None,
    Toml(PathBuf),
    Python(PythonFile),
}

/// The file that `config` names, or the default one if it is there; and what is said of files that
/// would have been the default one.
pub(crate) fn choose(config: Option<&Given>, start: &Path) -> (Choice, Option<Warning>) {
    match config {
        Some(given) => (named(given, start), None),
        None => default(start),
    }
}

fn named(given: &Given, start: &Path) -> Choice {
    let text = given.text();
    let name = text.trim();
    if name.eq_ignore_ascii_case("none") {
        return Choice::None;
    }
    if let Some(module) = name.strip_prefix("python:") {
        let place = Place::Module(module.to_owned());
        return Choice::Python(PythonFile { shown: name.to_owned(), place });
    }
    let path = Path::new(name.strip_prefix("file:").unwrap_or(name));
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Choice::Toml(start.join(path));
    }
    python(start, path)
}

fn default(start: &Path) -> (Choice, Option<Warning>) {
    let is_there = |name: &&str| match *name {
        PROJECT_FILE => {
            fs::read_to_string(start.join(PROJECT_FILE)).is_ok_and(|text| is_for_us(&text))
        }
        name => start.join(name).exists(),
    };
    let mut there = [PYTHON_FILE, TOML_FILE, PROJECT_FILE].into_iter().filter(is_there);
    let Some(first) = there.next() else { return (Choice::None, None) };
    let choice = match first {
        PYTHON_FILE => python(start, Path::new(first)),
        _ => Choice::Toml(start.join(first)),
    };
    let passed_over: Vec<_> = there.map(|name| format!("`{name}`")).collect();
    let warning = (!passed_over.is_empty()).then(|| {
        let passed_over = passed_over.join(" and ");
        Warning(format!("{passed_over} is not read: one file is, and `{first}` comes first"))
    });
    (choice, warning)
}

/// Whether a pyproject.toml has a table for us. One that is not valid TOML may have had one: to start
/// without its settings would be worse than to say what is wrong with it.
fn is_for_us(project: &str) -> bool {
    match toml::from_str::<toml::Table>(project) {
        Ok(table) => section(&table).is_some(),
        Err(_) => project.lines().any(|line| line.trim_start().starts_with("[tool.remuda")),
    }
}

fn python(start: &Path, path: &Path) -> Choice {
    let shown = path.strip_prefix(start).unwrap_or(path).display().to_string();
    Choice::Python(PythonFile { shown, place: Place::Path(start.join(path)) })
}

/// `[tool.remuda]` of a pyproject.toml.
fn section(project: &toml::Table) -> Option<&toml::Table> {
    project.get("tool")?.get("remuda")?.as_table()
}

/// Reads a TOML file.
pub(crate) fn read(
    path: &Path,
    config: Option<&Given>,
    start: &Path,
) -> Result<Wishes, Vec<Problem>> {
    let shown = path.strip_prefix(start).unwrap_or(path).display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        let problem = Problem::new(format!("cannot read the settings file `{shown}`"));
        let problem = match config {
            Some(given) => problem.from(&given.origin),
            None => problem,
        };
        vec![problem.why(error.to_string())]
    })?;
    parse(&text, &shown)
}

fn parse(text: &str, shown: &str) -> Result<Wishes, Vec<Problem>> {
    let origin = Origin::File(shown.to_owned());
    let file: toml::Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        vec![
            Problem::new(format!("`{shown}` is not valid TOML, see line {line}"))
                .why(error.message().trim().replace('\n', "; ")),
        ]
    })?;

    let is_project = Path::new(shown).file_name().is_some_and(|name| name == PROJECT_FILE);
    let keys = match section(&file) {
        Some(section) if is_project => section,
        _ => &file,
    };
    let mut wishes = Wishes::default();
    let mut problems = Vec::new();
    for (key, value) in keys {
        let Some(setting) = table::find(key) else {
            problems.push(unknown(key).from(&origin));
            continue;
        };
        if *setting == table::CONFIG {
            let problem = Problem::new("`config` cannot be set inside the settings file");
            problems.push(problem.from(&origin).hint("remove the line; only one file is read"));
            continue;
        }
        match texts_of(setting, value) {
            Some(texts) => wishes.set(setting, Given { texts, origin: origin.clone() }),
            None => {
                let what = format!("`{key}` must be {}, but is {}", setting.kind, of_type(value));
                problems.push(Problem::new(what).from(&origin));
            }
        }
    }
    if problems.is_empty() { Ok(wishes) } else { Err(problems) }
}

fn unknown(key: &str) -> Problem {
    let problem = Problem::new(format!("`{key}` is not a setting"));
    match nearest_setting(key) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("`remuda --print-config` lists all settings"),
    }
}

/// The value as texts; `None` if its type does not fit the setting.
fn texts_of(setting: &Setting, value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().map(text_of).collect::<Option<_>>()?;
            match setting.kind {
                Kind::CommaList(_) | Kind::CommaChoices(_) | Kind::Networks => {
                    Some(vec![texts.join(",")])
                }
                kind if kind.is_many() || !setting.is_full() => Some(texts),
                _ => None,
            }
        }
        Value::Table(pairs) if setting.kind == Kind::Pairs => {
            let pair = |(name, value)| text_of(value).map(|text| format!("{name}={text}"));
            pairs.iter().map(pair).collect()
        }
        Value::Table(table) if setting.kind == Kind::Python => {
            serde_json::to_string(table).ok().map(|text| vec![text])
        }
        scalar => text_of(scalar).map(|text| vec![text]),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

fn of_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
        Value::Datetime(_) => "a date",
        _ => "a text",
    }
}
