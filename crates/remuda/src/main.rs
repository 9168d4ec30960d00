//! The `remuda` command: settings → plan → run.
//!
//! This is the composition root. It reads the user's wishes, says in the banner what will run,
//! binds, turns the settings into what each crate needs, and hands over to the runtime.

#![forbid(unsafe_code)]

mod banner;
mod control;
mod failure;
mod python;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use remuda_journal::{Journal, JournalLayer, Level, exit, log};
use remuda_runtime::{
    Config, ControlSocket, Heirloom, Launch, Listeners, Notifier, PRIVATE_VARIABLES, Pidfile,
    Place, Signals,
};
use remuda_settings::{Outcome, Settings, Warning};
use tracing_subscriber::layer::SubscriberExt;

use remuda::plan;

use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if let Some(status) = control::run(&arguments) {
        return status;
    }
    let cwd = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        let key = key.into_string().ok().filter(|key| !PRIVATE_VARIABLES.contains(&&key[..]))?;
        Some((key, value.into_string().ok()?))
    };
    let variables = env::vars_os().filter_map(text);
    match remuda_settings::load(arguments, variables, &cwd) {
        Outcome::Run(settings, warnings) => match serve(&settings, &warnings) {
            Ok(status) => ExitCode::from(status),
            Err(failure) => {
                eprintln!("\nError: {failure}\n");
                ExitCode::from(exit::UNABLE.code)
            }
        },
        Outcome::Print { text, status: 0 } => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Outcome::Print { text, .. } => {
            eprint!("{text}");
            ExitCode::from(exit::USAGE.code)
        }
        Outcome::Refused(refusal) => {
            eprintln!("{refusal}");
            ExitCode::from(exit::UNABLE.code)
        }
    }
}

/// Runs the service to its end; the exit status.
fn serve(settings: &Settings, warnings: &[Warning]) -> Result<u8, Failure> {
    let journal = open_journal(settings)?;
    let signals = Signals::install().map_err(Failure::Kernel)?;
    banner::show(settings, warnings);
    let python = python::find(settings)?;
    log!(STARTING, version = env!("CARGO_PKG_VERSION"));
    let heirloom = Heirloom::from_env(|name| env::var(name).ok());
    let is_heir = heirloom.is_some();
    let pidfile = settings.pidfile.as_deref().map(|path| Pidfile::create(path, is_heir));
    let pidfile = pidfile.transpose()?;
    let listeners = Listeners::bind(&plan::binding(settings, heirloom.as_ref()))?;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let addresses = listeners.urls(scheme);
    log!(LISTENING, addresses = addresses, pid = std::process::id());
    log!(USING_WORKER, class = settings.worker_class.name());
    let config = Config {
        plan: plan::for_supervisor(settings, is_heir),
        worker_plan: plan::for_workers(settings, listeners.plans()),
        listeners,
        python,
        env: plan::environment(settings),
        journal,
        pidfile,
        notifier: Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref()),
        launch: Launch::of_this_process(),
        control: open_control(settings, is_heir),
        addresses,
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

/// Opens the error log, and sends the master's events there.
fn open_journal(settings: &Settings) -> Result<Arc<Journal>, Failure> {
    let level = Level::parse(&settings.loglevel);
    let journal = Arc::new(Journal::open(&settings.errorlog, level)?);
    let subscriber = tracing_subscriber::registry().with(JournalLayer(journal.clone()));
    // Set once, at the start of the process.
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Failure::LogTwice)?;
    Ok(journal)
}
