//! The `remuda` command: settings → plan → run.
//!
//! This is the composition root. It reads the user's wishes, says in the banner what will run,
//! binds, turns the settings into what each crate needs, and hands over to the runtime.

#![forbid(unsafe_code)]

mod banner;
mod failure;
mod plan;
mod python;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use remuda_journal::{Journal, JournalLayer, Level, exit, log};
use remuda_runtime::{Config, Listeners, Pidfile};
use remuda_settings::{Outcome, Settings, Warning};
use tracing_subscriber::layer::SubscriberExt;

use crate::failure::Failure;

fn main() -> ExitCode {
    let cwd = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    let args: Vec<_> = env::args_os().collect();
    match remuda_settings::load(&args, env::vars_os().filter_map(text), &cwd) {
        Outcome::Run(settings, warnings) => match serve(&settings, &warnings, &cwd) {
            Ok(status) => ExitCode::from(status),
            Err(failure) => refuse(&[failure.to_string()]),
        },
        Outcome::Print { text, status } => {
            if status == 0 { print!("{text}") } else { eprint!("{text}") }
            ExitCode::from(status)
        }
        Outcome::Refused(problems) => {
            refuse(&problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    }
}

fn refuse(reasons: &[String]) -> ExitCode {
    for reason in reasons {
        eprintln!("\nError: {reason}");
    }
    ExitCode::from(exit::UNABLE.code)
}

/// Runs the service to its end; the exit status.
fn serve(settings: &Settings, warnings: &[Warning], cwd: &Path) -> Result<u8, Failure> {
    let journal = open_journal(settings)?;
    banner::show(settings, warnings);
    let python = python::find(settings)?;
    log!(STARTING, version = env!("CARGO_PKG_VERSION"));
    let _pidfile = settings.pidfile.as_deref().map(Pidfile::create).transpose()?;
    let listeners = Listeners::bind(&plan::binding(settings))?;
    log!(LISTENING, addresses = listeners, pid = std::process::id());
    log!(USING_WORKER, class = settings.worker_class.name());
    let config = Config {
        plan: plan::for_supervisor(settings),
        worker_plan: plan::for_workers(settings, listeners.plans(), cwd),
        listeners,
        python,
        env: plan::environment(settings),
        journal,
    };
    remuda_runtime::run(config).map_err(Failure::Kernel)
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
