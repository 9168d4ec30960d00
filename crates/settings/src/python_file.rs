//! The Python file as a source: Python has run it, and here its values become texts.
//!
//! gunicorn ignores names that it does not know. So do we, since such a file has imports, functions
//! and variables of its own; only a name that is nearly a setting's gets a warning.

use std::path::PathBuf;

use serde_json::Value;

use crate::nearest::near_miss;
use crate::wishes::{Given, Wishes};
use crate::{Kind, Origin, Problem, Setting, Warning, table};

/// A file of settings that Python has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonFile {
    /// As the user knows it.
    pub shown: String,
    /// Where it is.
    pub place: Place,
}

/// Where a Python file of settings is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An absolute path.
    Path(PathBuf),
    /// A module that can be imported.
    Module(String),
}

/// One name of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct PythonValue {
    /// The name.
    pub name: String,
    /// Line of its assignment, where there is one at the top level.
    pub line: Option<u32>,
    /// What it stands for.
    pub form: PythonForm,
}

/// What a name of the file stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum PythonForm {
    /// A number, a text, a list, a table, or nothing.
    Plain(Value),
    /// A function, by its name; it stays in Python.
    Callable(String),
    /// A class, by its path; also a worker class by the name that we know of it.
    Class(String),
    /// Something else, by the name of its type.
    Other(String),
}

/// What a file asks for.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) wishes: Wishes,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

/// Turns the file's names into wishes.
pub(crate) fn read(file: &PythonFile, values: &[PythonValue]) -> Read {
    let mut read = Read::default();
    for PythonValue { name, line, form } in values {
        let origin = Origin::File(match line {
            Some(line) => format!("{}:{line}", file.shown),
            None => file.shown.clone(),
        });
        let Some(setting) = table::find(name) else {
            if let Some(near) = near_miss(name) {
                let text = format!(
                    "`{name}` ({origin}) is not a setting and is ignored; did you mean `{near}`?"
                );
                read.warnings.push(Warning(text));
            }
            continue;
        };
        // The file cannot name another one, as in gunicorn.
        if *setting == table::CONFIG || *form == PythonForm::Plain(Value::Null) {
            continue;
        }
        match texts_of(setting, form) {
            Ok(texts) => read.wishes.set(setting, Given { texts, origin }),
            Err(kind) => {
                let what = format!("`{name}` must be {}, but is {kind}", setting.kind);
                read.problems.push(Problem::new(what).from(&origin));
            }
        }
    }
    read
}

/// The value as texts, or what it is instead.
fn texts_of(setting: &Setting, form: &PythonForm) -> Result<Vec<String>, String> {
    let takes_code = matches!(setting.kind, Kind::Hook(_) | Kind::Python);
    match form {
        PythonForm::Plain(Value::Array(values)) => texts_of_list(setting, values),
        PythonForm::Plain(Value::Object(table)) => match setting.kind {
            Kind::Python => Ok(vec![Value::Object(table.clone()).to_string()]),
            Kind::Pairs => table
                .iter()
                .map(|(name, value)| Some(format!("{name}={}", text_of(setting, value)?)))
                .collect::<Option<_>>()
                .ok_or_else(|| "a dict with other values than texts".to_owned()),
            _ => Err("a dict".to_owned()),
        },
        PythonForm::Plain(value) if !matches!(setting.kind, Kind::Hook(_)) || value.is_string() => {
            text_of(setting, value).map(|text| vec![text]).ok_or_else(|| "nothing".to_owned())
        }
        PythonForm::Plain(value) => Err(format!("`{value}`")),
        PythonForm::Callable(name) if takes_code || setting.name == "logger_class" => {
            Ok(vec![format!("<{name}()>")])
        }
        PythonForm::Class(path) if setting.kind == Kind::WorkerClass => Ok(vec![path.clone()]),
        PythonForm::Class(path) if takes_code || setting.name == "logger_class" => {
            Ok(vec![format!("<{path}()>")])
        }
        PythonForm::Callable(name) => Err(format!("the function {name}")),
        PythonForm::Class(name) => Err(format!("the class {name}")),
        PythonForm::Other(kind) => Err(format!("an object of the type {kind}")),
    }
}

fn texts_of_list(setting: &Setting, values: &[Value]) -> Result<Vec<String>, String> {
    let texts: Option<Vec<_>> = values.iter().map(|value| text_of(setting, value)).collect();
    let texts = texts.ok_or_else(|| "a list with other things than texts in it".to_owned())?;
    match setting.kind {
        Kind::CommaList(_) | Kind::CommaChoices(_) | Kind::Networks => Ok(vec![texts.join(",")]),
        kind if kind.is_many() || !setting.is_full() => Ok(texts),
        _ => Err("a list".to_owned()),
    }
}

fn text_of(setting: &Setting, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        // A truth value is a number in Python, and gunicorn takes it for one.
        Value::Bool(truth) if matches!(setting.kind, Kind::Whole { .. } | Kind::Workers { .. }) => {
            Some(u8::from(*truth).to_string())
        }
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
