//! The command line as a source. The command is built from the table; clap only takes it apart,
//! so that a bad value gets the same words here as from a file or a variable.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::wishes::{Given, Wishes};
use crate::{Group, Kind, Origin, Setting, Support, table};

/// Name of the argument without a flag.
const APP: &str = "app";

/// Width of what clap does not break into lines itself.
const HELP_COLUMNS: usize = 96;
/// What clap puts before each line of a flag's help at length.
const LONG_HELP_INDENT: usize = 10;

const AFTER_HELP: &str = "\
remuda status, reload, upgrade and stop ask a running service (remuda status --help).

Each setting can also be given as a variable, GUNICORN_<SETTING> (GUNICORN_WORKERS=2), or in
gunicorn.conf.py or remuda.toml (workers = 2). Later wins: PORT, WEB_CONCURRENCY,
FORWARDED_ALLOW_IPS, SENDFILE; the file; GUNICORN_<SETTING>; GUNICORN_CMD_ARGS; command line.
`remuda config explain` shows what was given where.";

/// What stands in one list of arguments.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The values of its flags.
    pub(crate) wishes: Wishes,
    /// The argument without a flag.
    pub(crate) app: Option<String>,
}

/// Takes arguments apart; `origin` makes the origin of a value from its flag.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    origin: fn(String) -> Origin,
) -> Result<Arguments, clap::Error> {
    let mut matches = command().try_get_matches_from(arguments)?;
    let mut wishes = Wishes::default();
    for setting in table::all() {
        let Some(flag) = setting.flag() else { continue };
        if let Some(texts) = texts_of(setting, &mut matches) {
            wishes.set(setting, Given { texts, origin: origin(flag) });
        }
    }
    let app = matches.remove_one::<String>(APP).map(|app| app.trim().to_owned());
    Ok(Arguments { wishes, app: app.filter(|app| !app.is_empty()) })
}

fn texts_of(setting: &Setting, matches: &mut ArgMatches) -> Option<Vec<String>> {
    let texts = matches.remove_many::<String>(setting.name)?;
    Some(texts.map(|text| text.trim().to_owned()).collect())
}

fn command() -> Command {
    let configuration = Group::Configuration.title();
    let app = Arg::new(APP)
        .value_name("APP_MODULE")
        .help("App to serve: `module` or `module:attribute` (without attribute: application)");
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let version = Arg::new("version").short('v').long("version").action(ArgAction::Version);

    let mut command = Command::new("remuda")
        .about("Serves a Python web app from worker processes that share memory")
        .version(concat!(env!("CARGO_PKG_VERSION"), " (gunicorn-compatible)"))
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        // As argparse does for gunicorn: a unique beginning of a flag is enough, and the last of
        // two equal flags counts.
        .infer_long_args(true)
        .args_override_self(true)
        .override_usage("remuda [OPTIONS] [APP_MODULE]")
        .after_help(format!("{AFTER_HELP}\n\n{}", without_effect()))
        .arg(app);
    for group in Group::ALL {
        for setting in table::all().filter(|setting| setting.group == group) {
            if !setting.flags.is_empty() {
                command = command.arg(arg(setting));
            }
        }
    }
    command
        .arg(help.help("Print this help (--help: at length)").help_heading(configuration))
        .arg(version.help("Print the version").help_heading(configuration))
}

fn arg(setting: &'static Setting) -> Arg {
    let aliases = setting.flags.iter().skip(1);
    let arg = Arg::new(setting.name)
        .long(setting.flags[0])
        .aliases(aliases)
        .help_heading(setting.group.title())
        .help(short_help(setting))
        .long_help(long_help(setting))
        .hide(!setting.is_full())
        // `-w -3` has to reach our own words about the range.
        .allow_negative_numbers(true);
    let arg = match setting.short_flag {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    let arg = match setting.kind {
        // The value needs the equals sign, or `--preload app` would swallow the app.
        Kind::Switch => {
            // What is on by default is turned off by its flag: `--no-sendfile`.
            let is_off = setting.default == "true" && setting.flags[0].starts_with("no-");
            let missing = if is_off { "false" } else { "true" };
            let arg = arg.num_args(0..=1).require_equals(true).default_missing_value(missing);
            // The value is shown nowhere: nearly nobody needs `--preload=false`.
            return arg.hide_possible_values(true).value_name("BOOL").action(ArgAction::Set);
        }
        Kind::OptionalChoice(words) => {
            arg.num_args(0..=1).default_missing_value(words.last().copied().unwrap_or_default())
        }
        _ => arg.num_args(1),
    };
    let action = if setting.kind.is_many() { ArgAction::Append } else { ArgAction::Set };
    arg.value_name(value_name(setting.kind)).action(action)
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Switch => "BOOL",
        Kind::Whole { .. } | Kind::Workers { .. } => "N",
        Kind::Seconds(_) => "SECONDS",
        Kind::Bytes { .. } => "BYTES",
        Kind::Memory => "AMOUNT",
        Kind::Share => "SHARE",
        Kind::LogTarget { .. } | Kind::Path => "PATH",
        Kind::Level => "LEVEL",
        Kind::WorkerClass => "CLASS",
        Kind::Choice(_) | Kind::OptionalChoice(_) => "WORD",
        Kind::CommaChoices(_) => "WORDS",
        Kind::Addresses => "ADDRESS",
        Kind::Pairs => "NAME=VALUE",
        Kind::Networks => "NETWORKS",
        Kind::CommaList("paths") => "PATHS",
        Kind::CommaList(_) => "NAMES",
        Kind::Ciphers => "SUITES",
        Kind::Mode => "BITS",
        Kind::Files => "PATH",
        Kind::Text | Kind::List | Kind::Python | Kind::Hook(_) => "TEXT",
    }
}

fn short_help(setting: &Setting) -> String {
    match setting.default {
        "" => setting.short.to_owned(),
        _ if setting.kind == Kind::Switch => setting.short.to_owned(),
        default => format!("{} [default: {default}]", setting.short),
    }
}

fn long_help(setting: &Setting) -> String {
    let sentences = format!("{}. {} {}", setting.short, setting.long, allowed(setting.kind));
    let mut help = wrap(&sentences, HELP_COLUMNS - LONG_HELP_INDENT);
    if !setting.default.is_empty() {
        help.push_str(&format!("\n[default: {}]", setting.default));
    }
    let platform = setting.platform_variable.map(|name| format!(", {name}")).unwrap_or_default();
    help.push_str(&format!("\n[variable: {}{platform}]", setting.variable()));
    help
}

/// A sentence about what is allowed, where the name of the value does not say it.
fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Whole { .. }
        | Kind::Workers { .. }
        | Kind::Seconds(_)
        | Kind::Bytes { .. }
        | Kind::Addresses => {
            format!("Must be {kind}.")
        }
        _ => String::new(),
    }
}

/// Fills lines with words.
fn wrap(text: &str, columns: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 {
            let fits = column + 1 + word.len() <= columns;
            lines.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        lines.push_str(word);
        column += word.len();
    }
    lines
}

fn without_effect() -> String {
    let ignored = table::all().filter(|setting| matches!(setting.support, Support::Ignored { .. }));
    let flags: Vec<String> = ignored.filter_map(Setting::flag).collect();
    let flags = wrap(&flags.join(" "), HELP_COLUMNS);
    format!("Known from gunicorn, accepted with a warning, without effect:\n{flags}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{BIND, LIMIT_REQUEST_FIELD_SIZE, PRELOAD_APP, WORKERS};

    fn arguments(line: &str) -> Arguments {
        parse(line.split_whitespace().map(OsString::from), Origin::Flag).expect(line)
    }

    fn check(line: &str, setting: &Setting, texts: &[&str]) {
        let arguments = arguments(line);
        let given = arguments.wishes.get(setting).expect(line);
        assert_eq!(given.texts, texts, "{line}");
        assert_eq!(Some(&given.origin), setting.flag().map(Origin::Flag).as_ref());
    }

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_form_of_a_flag_is_read() {
        check("-w4", &WORKERS, &["4"]);
        check("-w 4", &WORKERS, &["4"]);
        check("--workers=4", &WORKERS, &["4"]);
        check("-w -3", &WORKERS, &["-3"]);
        check("-w 1 -w 2", &WORKERS, &["2"]);
        check("-b a:1 -b b:2", &BIND, &["a:1", "b:2"]);
        check("--preload", &PRELOAD_APP, &["true"]);
        check("--preload=false", &PRELOAD_APP, &["false"]);
        check("--no-sendfile", &table::SENDFILE, &["false"]);
        check("--limit-request-field_size 9", &LIMIT_REQUEST_FIELD_SIZE, &["9"]);
        check("--limit-request-field-size 9", &LIMIT_REQUEST_FIELD_SIZE, &["9"]);
        check("--worker-con 10", &table::WORKER_CONNECTIONS, &["10"]);
        check("--access-logfile -", &table::ACCESSLOG, &["-"]);
    }

    #[test]
    fn the_app_may_stand_anywhere() {
        assert_eq!(arguments("shop.wsgi -w 4").app.as_deref(), Some("shop.wsgi"));
        assert_eq!(arguments("--preload shop.wsgi").app.as_deref(), Some("shop.wsgi"));
        assert_eq!(arguments("-w 4").app, None);
    }

    #[test]
    fn every_flag_of_the_table_is_taken() {
        for setting in table::all() {
            let value = match setting.kind {
                Kind::Switch | Kind::OptionalChoice(_) => "",
                _ => " 1",
            };
            for flag in setting.flags {
                let line = format!("--{flag}{value}");
                assert!(arguments(&line).wishes.get(setting).is_some(), "{line}");
            }
            if let Some(short) = setting.short_flag {
                let line = format!("-{short}{value}");
                assert!(arguments(&line).wishes.get(setting).is_some(), "{line}");
            }
        }
    }
}
