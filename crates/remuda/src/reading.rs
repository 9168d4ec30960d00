//! Reading the settings, at the start and again at a reload: what Python has to run is run by the
//! herald.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use remuda_channel::{
    ClassQuestion, ConfigValue, FromHerald, ListenerPlan, ToHerald, ValueForm, WorkerForm,
};
use remuda_journal::log;
use remuda_runtime::{Halt, Herald, HeraldError, PRIVATE_VARIABLES, Renewal, Renewed, Unreadable};
use remuda_settings::{
    ForeignWorker, Kind, Outcome, PythonFile, PythonForm, PythonValue, Settings, Sources, Warning,
    known_paths, table,
};
use tracing::warn;

use remuda::{limits, plan, sizing};

use crate::failure::Failure;
use crate::python;

/// Time that a configuration file may take at the start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What never changes in the life of a master.
#[derive(Clone)]
pub(crate) struct Given {
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    start: PathBuf,
}

/// What was read at the start.
pub(crate) struct Read {
    pub(crate) outcome: Outcome,
    pub(crate) file: Option<PythonFile>,
    /// The process that has run the file.
    pub(crate) herald: Option<Herald>,
}

impl Given {
    /// What this process was started with.
    pub(crate) fn of_this_process() -> Self {
        let text = |(key, value): (OsString, OsString)| {
            let key =
                key.into_string().ok().filter(|key| !PRIVATE_VARIABLES.contains(&&key[..]))?;
            Some((key, value.into_string().ok()?))
        };
        Self {
            arguments: env::args_os().skip(1).collect(),
            variables: env::vars_os().filter_map(text).collect(),
            start: env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }

    /// Those after the program's name.
    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    fn sources(&self) -> Result<Sources, Outcome> {
        Sources::gather(self.arguments.clone(), self.variables.clone(), &self.start)
    }

    /// Reads everything.
    pub(crate) fn read(&self, halt: &Halt) -> Result<Read, Failure> {
        let sources = match self.sources() {
            Ok(sources) => sources,
            Err(outcome) => return Ok(Read { outcome, file: None, herald: None }),
        };
        let Some(question) = question_of(&sources) else {
            return Ok(Read { outcome: sources.settle(&[]), file: None, herald: None });
        };
        let file = sources.python_file().cloned();
        let herald = Herald::start(&python::find(sources.python().as_deref())?, halt.clone())?;
        let (values, worker) = match herald.ask(&question, PATIENCE)? {
            FromHerald::Values { values, worker } => (values, worker),
            FromHerald::Unreadable { text } => return Err(Failure::File(text)),
            FromHerald::Called { .. } => return Err(HeraldError::Gone.into()),
        };
        let sources = sources.with_worker(worker.map(foreign_worker));
        let outcome = sources.settle(&python_values(values));
        Ok(Read { outcome, file, herald: Some(herald) })
    }
}

/// What Python has to find out, if anything.
fn question_of(sources: &Sources) -> Option<ToHerald> {
    let class = sources.class_question();
    if sources.python_file().is_none() && class.path.is_none() {
        return None;
    }
    let folders = class.folders.iter().map(|folder| folder.display().to_string()).collect();
    let known = known_paths().map(str::to_owned).collect();
    let class = ClassQuestion { path: class.path, known, folders };
    Some(question(sources.python_file(), Some(class)))
}

/// The message with which the herald runs a file and looks at a class.
pub(crate) fn question(file: Option<&PythonFile>, worker_class: Option<ClassQuestion>) -> ToHerald {
    let known = table::all().map(|setting| {
        let arity = match setting.kind {
            Kind::Hook(arity) => arity.to_vec(),
            _ => Vec::new(),
        };
        (setting.name.to_owned(), arity)
    });
    ToHerald::Read { place: file.map(plan::place_of), known: known.collect(), worker_class }
}

fn foreign_worker(worker: WorkerForm) -> ForeignWorker {
    let WorkerForm { path, base, overrides, kwargs, error } = worker;
    ForeignWorker { path, base, overrides, kwargs, error }
}

fn python_values(values: Vec<ConfigValue>) -> Vec<PythonValue> {
    let value = |ConfigValue { name, line, form }| {
        let form = match form {
            ValueForm::Plain(value) => PythonForm::Plain(value),
            ValueForm::Callable(name) => PythonForm::Callable(name),
            ValueForm::Class(path) => PythonForm::Class(path),
            ValueForm::Other(kind) => PythonForm::Other(kind),
        };
        PythonValue { name, line, form }
    };
    values.into_iter().map(value).collect()
}

/// Reads the settings again for a reload.
pub(crate) struct Again {
    given: Given,
    /// As they were at the start.
    settings: Settings,
    listeners: Vec<ListenerPlan>,
    sources: Option<Sources>,
}

impl Again {
    pub(crate) fn new(given: Given, settings: Settings, listeners: Vec<ListenerPlan>) -> Self {
        Self { given, settings, listeners, sources: None }
    }

    /// What only a new master can change.
    fn without_effect(&self, new: &Settings) -> Vec<Warning> {
        let old = &self.settings;
        let pairs = [
            ("bind", old.binds == new.binds),
            ("backlog", old.backlog == new.backlog),
            ("pidfile", old.pidfile == new.pidfile),
            ("errorlog", old.errorlog == new.errorlog),
            ("python", old.python == new.python),
            ("daemon", old.daemon == new.daemon),
        ];
        let changed = pairs.into_iter().filter(|(_, same)| !same);
        changed
            .map(|(name, _)| {
                Warning(format!("`{name}` has changed, which counts from the next start on"))
            })
            .collect()
    }
}

impl Renewal for Again {
    fn begin(&mut self) -> Result<Option<ToHerald>, Unreadable> {
        let sources = self.given.sources().map_err(|outcome| unusable(&outcome))?;
        let question = question_of(&sources);
        self.sources = Some(sources);
        Ok(question)
    }

    fn settle(
        &mut self,
        values: Vec<ConfigValue>,
        worker: Option<WorkerForm>,
    ) -> Result<Renewed, Unreadable> {
        let missing = || Unreadable("nothing was read; please report this".to_owned());
        let sources = self.sources.take().ok_or_else(missing)?;
        let file = sources.python_file().cloned();
        let sources = sources.with_worker(worker.map(foreign_worker));
        let (mut settings, warnings) = match sources.settle(&python_values(values)) {
            Outcome::Run(settings, warnings) => (settings, warnings),
            outcome => return Err(unusable(&outcome)),
        };
        for warning in warnings.into_iter().chain(self.without_effect(&settings)) {
            warn!("{warning}");
        }
        let identity = plan::identity(&settings).map_err(|error| Unreadable(error.to_string()))?;
        let listeners = self.listeners.clone();
        let room = limits::Room::ask();
        if let Some(sizing) = sizing::settle(&mut settings, room, remuda_runtime::cpus()) {
            log!(WORKERS_COUNTED, workers = sizing.workers, why = sizing.why);
        }
        Ok(Renewed {
            plan: plan::for_supervisor(&settings, room, false),
            total_of: limits::of_total(settings.memory.max_memory_total, room).1,
            worker_plan: plan::for_workers(&settings, listeners, file.as_ref(), identity.as_ref()),
            watching: plan::watching(&settings),
            has_herald_hooks: plan::has_herald_hooks(&settings),
        })
    }
}

fn unusable(outcome: &Outcome) -> Unreadable {
    Unreadable(match outcome {
        Outcome::Refused(refusal) => refusal.to_string(),
        Outcome::Print { text, .. } => text.clone(),
        Outcome::Run(..) | Outcome::Check { .. } => {
            "they ask for a check, and not for a service".to_owned()
        }
    })
}
