//! The TOML file as a source: which one, what it may hold, what is wrong with it.
//!
//! Its keys are the names of the settings, without tables. Python files are not read here.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::nearest::nearest_setting;
use crate::wishes::{Given, Wishes};
use crate::{Kind, Origin, Problem, Setting, table};

/// Read from the start directory when no other is named.
const FILE_DEFAULT: &str = "remuda.toml";
/// What gunicorn would read from there.
const PYTHON_FILE: &str = "gunicorn.conf.py";

const PYTHON_HINT: &str = "set `GUNICORN_<SETTING>` variables, give flags, or write a remuda.toml";

/// Reads the file that `config` names, or the default one if it is there.
pub(crate) fn read(config: Option<&Given>, start: &Path) -> Result<Wishes, Vec<Problem>> {
    let Some(path) = choose(config, start).map_err(|problem| vec![problem])? else {
        return Ok(Wishes::default());
    };
    let shown = path.strip_prefix(start).unwrap_or(&path).display().to_string();
    let text = fs::read_to_string(&path).map_err(|error| {
        let problem = Problem::new(format!("cannot read the settings file `{shown}`"));
        let problem = match config {
            Some(given) => problem.from(&given.origin),
            None => problem,
        };
        vec![problem.why(error.to_string())]
    })?;
    parse(&text, &shown)
}

/// The file to read, if any.
fn choose(config: Option<&Given>, start: &Path) -> Result<Option<PathBuf>, Problem> {
    let Some(given) = config else {
        if start.join(PYTHON_FILE).exists() {
            let problem = Problem::new(format!("`{PYTHON_FILE}` is here, but cannot be read"));
            return Err(problem
                .why("this version reads no Python configuration files")
                .hint(format!("{PYTHON_HINT}; `--config none` starts without the file")));
        }
        let path = start.join(FILE_DEFAULT);
        return Ok(path.exists().then_some(path));
    };
    let text = given.text();
    let name = text.trim();
    if name.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let path = Path::new(name.strip_prefix("file:").unwrap_or(name));
    if name.starts_with("python:") || path.extension().is_none_or(|ext| ext != "toml") {
        return Err(Problem::new(format!("`{name}` cannot be read as a settings file"))
            .from(&given.origin)
            .why("this version reads TOML files (`.toml`) only, no Python configuration files")
            .hint(PYTHON_HINT));
    }
    Ok(Some(start.join(path)))
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

    let mut wishes = Wishes::default();
    let mut problems = Vec::new();
    for (key, value) in &file {
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
        // Other tables belong to settings without effect only, whose value does not matter.
        Value::Table(_) => (setting.kind == Kind::Python).then(|| vec!["a table".to_owned()]),
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
