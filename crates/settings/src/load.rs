//! The order of sources, and what comes out of them.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;

use crate::environment::Environment;
use crate::flags::Arguments;
use crate::problem::{Problem, Refusal, Warning};
use crate::table::{CONFIG, PRINT_CONFIG, WSGI_APP};
use crate::wishes::{Given, Wishes};
use crate::{Origin, Settings, environment, file, flags, print, resolve, value};

/// What to do now.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Serve.
    Run(Box<Settings>, Vec<Warning>),
    /// Print a text and leave: on standard output if the status is 0, else on standard error.
    Print {
        /// Ends with a line break.
        text: String,
        /// Exit status: 0, or 2 for wrong usage.
        status: i32,
    },
    /// Print why not on standard error, and leave with status 1.
    Refused(Refusal),
}

/// Reads the user's wishes.
///
/// `arguments` are those after the program's name, `variables` the whole environment (names and
/// values that are not UTF-8 left out), `start` the absolute path of the start directory. Reads at
/// most one file from there, and looks whether `chdir` exists.
///
/// ```
/// use remuda_settings::{Outcome, load};
///
/// let variables = [("GUNICORN_WORKERS".to_owned(), "2".to_owned())];
/// let arguments = ["--timeout", "120", "shop.wsgi"];
/// match load(arguments.map(Into::into), variables, "/".as_ref()) {
///     Outcome::Run(settings, _) => assert_eq!(settings.workers, 2),
///     other => panic!("{other:?}"),
/// }
/// ```
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (String, String)>,
    start: &Path,
) -> Outcome {
    let Arguments { wishes: flags, app } = match flags::parse(arguments, Origin::Flag) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, ""),
    };
    let Environment { platform, prefixed, cmd_args, mut warnings } = environment::read(variables);
    let cmd_args = match words(cmd_args) {
        Ok(words) => words,
        Err(problem) => return refused(vec![problem]),
    };
    let cmd_args = match flags::parse(cmd_args, Origin::CmdArgs) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, "in GUNICORN_CMD_ARGS: "),
    };
    warnings.extend(app_without_effect(&cmd_args));

    let config = [&flags, &cmd_args.wishes, &prefixed].into_iter().find_map(|w| w.get(&CONFIG));
    let (file, problems) = match file::read(config, start) {
        Ok(wishes) => (wishes, Vec::new()),
        Err(problems) => (Wishes::default(), problems),
    };

    let mut wishes = platform;
    for stronger in [file, prefixed, cmd_args.wishes, flags] {
        wishes.overlay(stronger);
    }
    if let Some(app) = app {
        wishes.set(&WSGI_APP, Given::one(app, Origin::Argument));
    }
    conclude(&wishes, start, problems, warnings)
}

fn conclude(
    wishes: &Wishes,
    start: &Path,
    mut problems: Vec<Problem>,
    mut warnings: Vec<Warning>,
) -> Outcome {
    let resolved = resolve::resolve(wishes, start);
    problems.extend(resolved.problems);
    warnings.extend(resolved.warnings);
    let print_only = value::switch(&wishes.get_or_default(&PRINT_CONFIG).text()) == Ok(true);
    if resolved.settings.app.is_empty() && !print_only {
        let problem = Problem::new("No application module specified.")
            .hint("name it on the command line, `remuda proyecto.wsgi`, or in GUNICORN_WSGI_APP");
        problems.push(problem);
    }
    if !problems.is_empty() {
        return refused(problems);
    }
    if print_only {
        return Outcome::Print { text: print::config_page(wishes), status: 0 };
    }
    Outcome::Run(Box::new(resolved.settings), warnings)
}

/// Splits as a shell would.
fn words(cmd_args: Option<String>) -> Result<Vec<OsString>, Problem> {
    let cmd_args = cmd_args.unwrap_or_default();
    let words = shlex::split(&cmd_args).ok_or_else(|| {
        Problem::new("`GUNICORN_CMD_ARGS` cannot be split into words")
            .from(&Origin::Variable("GUNICORN_CMD_ARGS".to_owned()))
            .why("a quote is not closed, or the text ends with a backslash")
    })?;
    Ok(words.into_iter().map(OsString::from).collect())
}

/// gunicorn drops an app in `GUNICORN_CMD_ARGS` too, but without a word.
fn app_without_effect(cmd_args: &Arguments) -> Option<Warning> {
    let app = cmd_args.app.as_ref()?;
    Some(Warning(format!(
        "`{app}` in GUNICORN_CMD_ARGS is ignored: it takes flags only; \
         name the app on the command line or in GUNICORN_WSGI_APP"
    )))
}

fn refused(problems: Vec<Problem>) -> Outcome {
    Outcome::Refused(Refusal { problems })
}

fn usage(error: &clap::Error, prefix: &str) -> Outcome {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Outcome::Print { text, status: 0 },
        _ => Outcome::Print { text: format!("{prefix}{text}"), status: 2 },
    }
}
