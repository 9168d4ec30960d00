//! The `remuda` command: settings → plan → run.
//!
//! This is the composition root. It reads the user's wishes, says in the banner what will run,
//! binds, turns the settings into what each crate needs, and hands over to the runtime.

#![forbid(unsafe_code)]

mod banner;
mod check;
mod failure;
mod master_hooks;
mod python;
mod reading;

use std::process::ExitCode;
use std::sync::Arc;

use remuda_journal::{Journal, JournalLayer, Level, Statsd, exit, log};
use remuda_runtime::{Config, Herald, Identity, Listeners, Pidfile};
use remuda_settings::{Outcome, PythonFile, Settings, StatsdSettings, Warning};
use tracing_subscriber::layer::SubscriberExt;

use remuda::{limits, plan};

use crate::failure::Failure;
use crate::master_hooks::MasterHooks;
use crate::reading::{Again, Given, Read};

fn main() -> ExitCode {
    match run(&Given::of_this_process()) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("\nError: {failure}\n");
            ExitCode::from(exit::UNABLE.code)
        }
    }
}

fn run(given: &Given) -> Result<u8, Failure> {
    let Read { outcome, file, herald } = given.read()?;
    match outcome {
        Outcome::Run(settings, warnings) => {
            serve(given, &settings, &warnings, file.as_ref(), herald)
        }
        Outcome::Check { settings, warnings, page } => {
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
    herald: Option<Herald>,
) -> Result<u8, Failure> {
    let identity = plan::identity(settings)?;
    let identity = identity.as_ref();
    let python = python::find(settings.python.as_deref())?;
    let herald = if settings.daemon { go_to_background(settings, herald)? } else { herald };
    let journal = open_journal(settings, identity)?;
    banner::show(settings, warnings);
    let hooks = MasterHooks::prepare(settings, file, identity, herald, &python)?;
    log!(STARTING, version = env!("CARGO_PKG_VERSION"));
    let pidfile = settings.pidfile.as_deref().map(Pidfile::create).transpose()?;
    hooks.call("on_starting")?;
    let listeners = Listeners::bind(&plan::binding(settings, identity))?;
    let urls = listeners.urls(if settings.tls.is_some() { "https" } else { "http" });
    log!(LISTENING, addresses = urls, pid = std::process::id());
    log!(USING_WORKER, class = settings.worker_class.name());
    hooks.tell_bound(&urls)?;
    hooks.call("when_ready")?;
    let room = limits::Room::ask();
    let again = Again::new(given.clone(), settings.clone(), listeners.plans());
    let config = Config {
        plan: plan::for_supervisor(settings, room),
        total_of: limits::of_total(settings.memory.max_memory_total, room).1,
        worker_plan: plan::for_workers(settings, listeners.plans(), file, identity),
        listeners,
        python,
        journal,
        renewal: Box::new(again),
        herald: hooks.into_herald(),
        pidfile,
    };
    remuda_runtime::run(config).map_err(Failure::Kernel)
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
