//! The order of sources, and what comes out of them.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use crate::environment::Environment;
use crate::file::Choice;
use crate::flags::Arguments;
use crate::problem::{Problem, Refusal, Warning};
use crate::python_file::{PythonFile, PythonValue};
use crate::table::{CHECK_CONFIG, CONFIG, PRINT_CONFIG, WORKER_CLASS, WSGI_APP};
use crate::wishes::{Given, Wishes};
use crate::{
    ForeignWorker, Origin, Settings, environment, file, flags, migration, print, python_file,
    resolve, value, worker_class,
};

/// What to do now.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Serve.
    Run(Box<Settings>, Vec<Warning>),
    /// Print a text (it may be empty), see whether the app can be loaded, and leave.
    Check {
        /// What would be served.
        settings: Box<Settings>,
        /// What the user may not expect.
        warnings: Vec<Warning>,
        /// For standard output.
        page: String,
    },
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

/// The user's wishes as far as they can be read without Python.
///
/// ```
/// use remuda_settings::{Outcome, Sources};
///
/// let variables = [("GUNICORN_WORKERS".to_owned(), "2".to_owned())];
/// let arguments = ["--timeout", "120", "shop.wsgi"];
/// let sources = Sources::gather(arguments.map(Into::into), variables, "/".as_ref()).unwrap();
/// assert_eq!(sources.python_file(), None);
/// match sources.settle(&[]) {
///     Outcome::Run(settings, _) => assert_eq!(settings.workers, Some(2)),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Sources {
    start: PathBuf,
    asked: Asked,
    platform: Wishes,
    file: Choice,
    from_file: Wishes,
    stronger: Vec<Wishes>,
    worker: Option<ForeignWorker>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

/// What Python has to find out of a worker class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassQuestion {
    /// Its path, where it is not the file that names it.
    pub path: Option<String>,
    /// Where modules are looked for, beside what the file says.
    pub folders: Vec<PathBuf>,
}

/// What is wanted of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Serve,
    /// `config explain`.
    Explain,
    /// `check-migration`.
    Migration,
}

impl Sources {
    /// Reads command line, environment and, if there is one, the TOML file.
    ///
    /// `arguments` are those after the program's name, `variables` the whole environment (names and
    /// values that are not UTF-8 left out), `start` the absolute path of the start directory.
    ///
    /// # Errors
    ///
    /// When there is nothing more to read: help was asked for, or the words make no sense.
    pub fn gather(
        arguments: impl IntoIterator<Item = OsString>,
        variables: impl IntoIterator<Item = (String, String)>,
        start: &Path,
    ) -> Result<Self, Outcome> {
        let (asked, arguments) = asked(arguments);
        let Arguments { wishes: flags, app } =
            flags::parse(arguments, Origin::Flag).map_err(|error| usage(&error, ""))?;
        let Environment { platform, prefixed, cmd_args, mut warnings } =
            environment::read(variables);
        let cmd_args = words(cmd_args).map_err(|problem| refused(vec![problem]))?;
        let cmd_args = flags::parse(cmd_args, Origin::CmdArgs)
            .map_err(|error| usage(&error, "in GUNICORN_CMD_ARGS: "))?;
        warnings.extend(app_without_effect(&cmd_args));

        let config = [&flags, &cmd_args.wishes, &prefixed].into_iter().find_map(|w| w.get(&CONFIG));
        let (file, passed_over) = file::choose(config, start);
        warnings.extend(passed_over);
        let (from_file, problems) = match &file {
            Choice::Toml(path) => match file::read(path, config, start) {
                Ok(wishes) => (wishes, Vec::new()),
                Err(problems) => (Wishes::default(), problems),
            },
            Choice::None | Choice::Python(_) => (Wishes::default(), Vec::new()),
        };
        let mut argument = Wishes::default();
        if let Some(app) = app {
            argument.set(&WSGI_APP, Given::one(app, Origin::Argument));
        }
        let start = start.to_owned();
        let stronger = vec![prefixed, cmd_args.wishes, flags, argument];
        let worker = None;
        Ok(Self { start, asked, platform, file, from_file, stronger, worker, problems, warnings })
    }

    /// The file that Python has to run before [`Self::settle`].
    #[must_use]
    pub fn python_file(&self) -> Option<&PythonFile> {
        match &self.file {
            Choice::Python(file) => Some(file),
            Choice::None | Choice::Toml(_) => None,
        }
    }

    /// The interpreter that everything but the file asks for; see [`Settings::python`].
    #[must_use]
    pub fn python(&self) -> Option<PathBuf> {
        resolve::resolve(&self.laid_over(Wishes::default()), &self.start, None).settings.python
    }

    /// What has to be known of the worker class before [`Self::settle`], with or without a file.
    #[must_use]
    pub fn class_question(&self) -> ClassQuestion {
        let wishes = self.laid_over(self.from_file.clone());
        let path = wishes.get(&WORKER_CLASS).map(|given| given.text().trim().to_owned());
        let settings = resolve::resolve(&wishes, &self.start, None).settings;
        let folders = [settings.chdir].into_iter().chain(settings.pythonpath).collect();
        ClassQuestion { path: path.filter(|path| worker_class::is_foreign(path)), folders }
    }

    /// What Python has found of the worker class.
    #[must_use]
    pub fn with_worker(self, worker: Option<ForeignWorker>) -> Self {
        Self { worker, ..self }
    }

    /// Draws the conclusions. `python` is what the Python file holds.
    #[must_use]
    pub fn settle(mut self, python: &[PythonValue]) -> Outcome {
        if let Choice::Python(file) = &self.file {
            let read = python_file::read(file, python);
            self.from_file = read.wishes;
            self.problems.extend(read.problems);
            self.warnings.extend(read.warnings);
        }
        let mut wishes = self.laid_over(self.from_file.clone());
        let class = wishes.get_or_default(&WORKER_CLASS).text();
        self.worker = self.worker.filter(|worker| worker.path == class);
        if let Some(worker) = &self.worker {
            let stronger = std::mem::replace(&mut wishes, worker.wishes());
            wishes.overlay(stronger);
            self.warnings.extend(worker.warnings());
        }
        self.conclude(&wishes)
    }

    fn laid_over(&self, file: Wishes) -> Wishes {
        let mut wishes = self.platform.clone();
        wishes.overlay(file);
        for stronger in &self.stronger {
            wishes.overlay(stronger.clone());
        }
        wishes
    }

    fn conclude(self, wishes: &Wishes) -> Outcome {
        let Self { start, asked, worker, mut problems, mut warnings, .. } = self;
        let resolved = resolve::resolve(wishes, &start, worker.as_ref());
        problems.extend(resolved.problems);
        warnings.extend(resolved.warnings);
        match asked {
            Asked::Explain if problems.is_empty() => {
                let text = lines(&warnings) + &print::explain_page(wishes);
                return Outcome::Print { text, status: 0 };
            }
            // Also with settings that are refused: they are part of the answer.
            Asked::Migration => {
                let text = lines(&problems) + &lines(&warnings) + &migration::page(wishes);
                return Outcome::Print { text, status: 0 };
            }
            Asked::Explain | Asked::Serve => {}
        }
        let switch = |setting| value::switch(&wishes.get_or_default(setting).text()) == Ok(true);
        let prints = switch(&PRINT_CONFIG);
        let has_app = !resolved.settings.app.is_empty();
        if !has_app && !prints && asked == Asked::Serve {
            let problem = Problem::new("No application module specified.").hint(
                "name it on the command line, `remuda proyecto.wsgi`, or in GUNICORN_WSGI_APP",
            );
            problems.push(problem);
        }
        if !problems.is_empty() {
            return refused(problems);
        }
        let page = if prints { print::config_page(wishes) } else { String::new() };
        if !has_app {
            return Outcome::Print { text: page, status: 0 };
        }
        let settings = Box::new(resolved.settings);
        if prints || switch(&CHECK_CONFIG) {
            return Outcome::Check { settings, warnings, page };
        }
        Outcome::Run(settings, warnings)
    }
}

fn lines(said: &[impl Display]) -> String {
    said.iter().map(|line| format!("{line}\n")).collect()
}

/// Takes the command off the arguments, if they begin with one. `config` alone may be an app.
fn asked(arguments: impl IntoIterator<Item = OsString>) -> (Asked, Vec<OsString>) {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    match &arguments[..] {
        [first, second, ..] if first == "config" && second == "explain" => {
            (Asked::Explain, arguments.split_off(2))
        }
        [first, ..] if first == "check-migration" => (Asked::Migration, arguments.split_off(1)),
        _ => (Asked::Serve, arguments),
    }
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
