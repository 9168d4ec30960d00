//! The environment as a source: the platform's variables, `GUNICORN_<SETTING>`, `GUNICORN_CMD_ARGS`.
//!
//! An empty variable counts as unset, because dashboards cannot always delete one.

use std::collections::BTreeMap;

use crate::nearest::nearest_setting;
use crate::wishes::{Given, Wishes};
use crate::{Kind, Origin, Setting, Warning, address, table, value};

/// Variables with the prefix that are no settings: read elsewhere, or gunicorn's own messages to
/// its children.
const NOT_SETTINGS: &[&str] = &["cmd_args", "fd", "pid", "dirty_socket"];

/// What the environment asks for, split by strength.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// The platform's variables, weaker than a file.
    pub(crate) platform: Wishes,
    /// `GUNICORN_<SETTING>`, stronger than a file.
    pub(crate) prefixed: Wishes,
    /// More arguments, not yet split into words.
    pub(crate) cmd_args: Option<String>,
    /// About names that nothing knows.
    pub(crate) warnings: Vec<Warning>,
}

/// Sorts the environment's variables.
pub(crate) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
    let variables: Vec<_> = variables
        .into_iter()
        .map(|(name, text)| (name, text.trim().to_owned()))
        .filter(|(_, text)| !text.is_empty())
        .collect();

    let mut environment = Environment { platform: platform(&variables), ..Default::default() };
    // Text to text: nothing here can fail to be read; ranges are checked in `resolve`.
    let prefixed: BTreeMap<String, String> =
        envy::prefixed("GUNICORN_").from_iter(variables).unwrap_or_default();
    for (name, text) in prefixed {
        if name == "cmd_args" {
            environment.cmd_args = Some(text);
        } else if let Some(setting) = table::find(&name) {
            let texts = texts_of(setting, &text);
            let origin = Origin::Variable(setting.variable());
            environment.prefixed.set(setting, Given { texts, origin });
        } else if !NOT_SETTINGS.contains(&name.as_str()) {
            environment.warnings.push(unknown(&name));
        }
    }
    environment
}

fn platform(variables: &[(String, String)]) -> Wishes {
    let mut wishes = Wishes::default();
    for setting in table::all() {
        let Some(variable) = setting.platform_variable else { continue };
        let Some((_, text)) = variables.iter().find(|(name, _)| name == variable) else { continue };
        // `PORT` is part of an address only. A bad one is kept as it is, for the error's text.
        let text = match address::parse_port(text) {
            Ok(port) if setting.kind == Kind::Addresses => format!("[::]:{port}"),
            _ => text.clone(),
        };
        wishes.set(setting, Given::one(text, Origin::Variable(variable.to_owned())));
    }
    wishes
}

fn texts_of(setting: &Setting, text: &str) -> Vec<String> {
    if setting.kind.is_many() { value::commas(text) } else { vec![text.to_owned()] }
}

fn unknown(name: &str) -> Warning {
    let hint = match nearest_setting(name).and_then(table::find) {
        Some(setting) => format!("; did you mean {}?", setting.variable()),
        None => String::new(),
    };
    Warning(format!("GUNICORN_{} is not a setting and is ignored{hint}", name.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{BIND, RAW_ENV, WORKERS};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        read(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
    }

    fn check(wishes: &Wishes, setting: &Setting, texts: &[&str], variable: &str) {
        let given = wishes.get(setting).expect("given");
        assert_eq!(given.texts, texts);
        assert_eq!(given.origin, Origin::Variable(variable.to_owned()));
    }

    #[test]
    fn platform_and_prefixed_variables_are_kept_apart() {
        let read = environment(&[("WEB_CONCURRENCY", "2"), ("GUNICORN_WORKERS", " 3 ")]);
        check(&read.platform, &WORKERS, &["2"], "WEB_CONCURRENCY");
        check(&read.prefixed, &WORKERS, &["3"], "GUNICORN_WORKERS");
    }

    #[test]
    fn the_port_becomes_an_address() {
        check(&environment(&[("PORT", "8080")]).platform, &BIND, &["[::]:8080"], "PORT");
        check(&environment(&[("PORT", "http")]).platform, &BIND, &["http"], "PORT");
    }

    #[test]
    fn lists_are_split_at_commas() {
        let read = environment(&[("GUNICORN_RAW_ENV", "A=1, B=2")]);
        check(&read.prefixed, &RAW_ENV, &["A=1", "B=2"], "GUNICORN_RAW_ENV");
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let read = environment(&[("GUNICORN_BIND", ""), ("PORT", " "), ("GUNICORN_CMD_ARGS", "")]);
        assert_eq!(read.prefixed, Wishes::default());
        assert_eq!(read.platform, Wishes::default());
        assert_eq!(read.cmd_args, None);
    }

    #[test]
    fn an_unknown_name_is_a_warning_with_the_nearest_one() {
        let read = environment(&[
            ("GUNICORN_WROKERS", "3"),
            ("GUNICORN_LOG_LEVEL", "debug"),
            ("GUNICORN_PID", "1"),
            ("GUNICORN_OF_MINE_FOR_THE_APP", "1"),
            ("LOG_LEVEL", "WARNING"),
        ]);
        let warnings: Vec<_> = read.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "GUNICORN_LOG_LEVEL is not a setting and is ignored; \
                 did you mean GUNICORN_LOGLEVEL?",
                "GUNICORN_OF_MINE_FOR_THE_APP is not a setting and is ignored",
                "GUNICORN_WROKERS is not a setting and is ignored; did you mean GUNICORN_WORKERS?",
            ]
        );
        assert_eq!(read.prefixed, Wishes::default());
    }
}
