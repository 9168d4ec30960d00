//! The `remuda` command: settings → plan → run.
//!
//! This is the composition root. It reads the user's wishes, says in the banner what will run,
//! binds, turns the settings into what each crate needs, and hands over to the runtime.

#![forbid(unsafe_code)]

mod banner;
mod check;
mod control;
mod failure;
mod master_hooks;
mod python;
mod reading;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use remuda_journal::{Journal, JournalLayer, Level, Statsd, Syslog, exit, log};
use remuda_runtime::{
    Config, ControlSocket, Heirloom, Herald, HeraldError, Identity, Launch, Listeners, Notifier,
    Pidfile, Place, Signals,
};
use remuda_settings::{Outcome, PythonFile, Settings, StatsdSettings, SyslogSettings, Warning};
use tracing_subscriber::layer::SubscriberExt;

use remuda::{limits, plan, sizing};

use crate::failure::Failure;
use crate::master_hooks::MasterHooks;
use crate::reading::{Again, Given, Read};

fn main() -> ExitCode {
    let given = Given::of_this_process();
    if let Some(status) = control::run(given.arguments()) {
        return status;
    }
    match run(&given) {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Herald(halted @ HeraldError::Halted)) => {
            eprintln!("{halted}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("\nError: {failure}\n");
            ExitCode::from(exit::UNABLE.code)
        }
    }
}

fn run(given: &Given) -> Result<u8, Failure> {
    let heirloom = Heirloom::from_env(|name| env::var(name).ok());
    let signals = Signals::install().map_err(Failure::Kernel)?;
    let Read { outcome, file, herald } = given.read(&signals.halt())?;
    match outcome {
        Outcome::Run(settings, warnings) => {
            serve(given, &settings, &warnings, file.as_ref(), (herald, heirloom), signals)
        }
        Outcome::Check { settings, warnings, page } => {
            signals.let_go();
            print!("{page}");
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            check::run(&settings, file.as_ref(), &python::find(settings.python.as_deref())?)
        }
        Outcome::Print { text, status: 0 } => {
            print!("{text}");
            Ok(0)
        }
        Outcome::Print { text, .. } => {
            eprint!("{text}");
            Ok(exit::USAGE.code)
        }
        Outcome::Refused(refusal) => {
            eprintln!("{refusal}");
            Ok(exit::UNABLE.code)
        }
    }
}

/// Runs the service to its end; the exit status.
fn serve(
    given: &Given,
    settings: &Settings,
    warnings: &[Warning],
    file: Option<&PythonFile>,
    (herald, heirloom): (Option<Herald>, Option<Heirloom>),
    signals: Signals,
) -> Result<u8, Failure> {
    let is_heir = heirloom.is_some();
    let room = limits::Room::ask();
    let mut settings = settings.clone();
    let sizing = sizing::settle(&mut settings, room, remuda_runtime::cpus());
    let settings = &settings;
    let identity = plan::identity(settings)?;
    let identity = identity.as_ref();
    let python = python::find(settings.python.as_deref())?;
    // A new master is in the background already, as a child of the old one.
    let to_background = settings.daemon && !is_heir;
    let herald = if to_background { go_to_background(settings, herald)? } else { herald };
    let journal = open_journal(settings, identity)?;
    banner::show(settings, sizing.as_ref(), warnings);
    let hooks = MasterHooks::prepare(settings, file, identity, herald, (&python, &signals.halt()))?;
    log!(STARTING, version = env!("CARGO_PKG_VERSION"));
    let pidfile = settings.pidfile.as_deref().map(|path| Pidfile::create(path, is_heir));
    let pidfile = pidfile.transpose()?;
    hooks.call("on_starting")?;
    let listeners = Listeners::bind(&plan::binding(settings, identity, heirloom.as_ref()))?;
    let urls = listeners.urls(if settings.tls.is_some() { "https" } else { "http" });
    log!(LISTENING, addresses = urls, pid = std::process::id());
    log!(USING_WORKER, class = settings.worker_class.name());
    hooks.tell_bound(&urls)?;
    hooks.call("when_ready")?;
    let again = Again::new(given.clone(), settings.clone(), listeners.plans());
    let config = Config {
        plan: plan::for_supervisor(settings, room, is_heir),
        total_of: limits::of_total(settings.memory.max_memory_total, room).1,
        worker_plan: plan::for_workers(settings, listeners.plans(), file, identity),
        watching: plan::watching(settings),
        listeners,
        python,
        journal,
        renewal: Box::new(again),
        herald: hooks.into_herald(),
        pidfile,
        measures_backlog: settings.backlog_metric,
        notifier: Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref()),
        launch: Launch::of_this_process(),
        control: open_control(settings, is_heir),
        addresses: urls,
        heirloom,
    };
    remuda_runtime::run(config, signals).map_err(Failure::Kernel)
}

/// Opens the control socket. The service runs without it as well.
fn open_control(settings: &Settings, is_heir: bool) -> Option<ControlSocket> {
    let control = settings.control.as_ref()?;
    let place = control.path.clone().map_or(Place::OfThisProcess, Place::At);
    match ControlSocket::bind(&place, control.mode, is_heir) {
        Ok(socket) => {
            log!(CONTROL_LISTENING, path = socket.path().display());
            Some(socket)
        }
        // Nobody has asked for one; a read-only root is no reason for a warning.
        Err(error) if control.path.is_none() => {
            tracing::debug!("There is no control socket: {error}");
            None
        }
        Err(error) => {
            log!(CONTROL_UNAVAILABLE, error = error);
            None
        }
    }
}

/// The herald would not be the child of the process that is in the background: another one follows.
fn go_to_background(
    settings: &Settings,
    herald: Option<Herald>,
) -> Result<Option<Herald>, Failure> {
    if let Some(herald) = herald {
        herald.dismiss();
    }
    // What is wrong with the log must still be seen by whoever starts this.
    Journal::open(&settings.errorlog, Level::parse(&settings.loglevel))?;
    remuda_runtime::go_to_background(settings.keep_stdio).map_err(Failure::Background)?;
    Ok(None)
}

/// Opens the error log, and sends the master's events there.
fn open_journal(settings: &Settings, identity: Option<&Identity>) -> Result<Arc<Journal>, Failure> {
    let level = Level::parse(&settings.loglevel);
    let journal = Arc::new(Journal::open(&settings.errorlog, level)?);
    if let Some(identity) = identity.filter(|_| settings.errorlog != "-") {
        identity.give(settings.errorlog.as_ref())?;
    }
    if let Some(SyslogSettings { address, facility, prefix, .. }) = &settings.syslog {
        journal.send_to(Syslog::open(address, facility, prefix)?);
    }
    if let Some(StatsdSettings { host, prefix, tags }) = &settings.statsd {
        let statsd = Statsd::open(host, prefix, tags)
            .map_err(|source| Failure::Statsd { host: host.clone(), source })?;
        journal.measure(statsd);
    }
    let subscriber = tracing_subscriber::registry().with(JournalLayer(journal.clone()));
    // Set once, at the start of the process.
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Failure::LogTwice)?;
    Ok(journal)
}
