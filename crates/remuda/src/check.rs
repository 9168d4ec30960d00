//! `--check-config`: everything that a start would do, except for binding and serving.

use std::net::ToSocketAddrs;
use std::path::Path;

use remuda_journal::{AccessLog, Journal, Level, Syslog};
use remuda_settings::{Address, PythonFile, Settings, SyslogSettings};

use remuda::plan;

use crate::failure::Failure;

/// Looks at what gunicorn finds only at the start, then imports the app; the exit status.
pub(crate) fn run(
    settings: &Settings,
    file: Option<&PythonFile>,
    python: &Path,
) -> Result<u8, Failure> {
    Journal::open(&settings.errorlog, Level::parse(&settings.loglevel))?;
    if let Some(accesslog) = &settings.accesslog {
        AccessLog::open(accesslog)?;
    }
    if let Some(SyslogSettings { address, facility, prefix, .. }) = &settings.syslog {
        Syslog::open(address, facility, prefix)?;
    }
    for address in &settings.binds {
        look_up(address)?;
    }
    let identity = plan::identity(settings)?;
    let plan = plan::for_workers(settings, Vec::new(), file, identity.as_ref());
    remuda_runtime::check_app(python, &plan).map_err(Failure::Kernel)
}

/// Whether the address is one of this machine cannot be told without binding it.
fn look_up(address: &Address) -> Result<(), Failure> {
    let Address::Tcp { host, port } = address else { return Ok(()) };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match (host, *port).to_socket_addrs() {
        Ok(_) => Ok(()),
        Err(source) => Err(Failure::Address { address: address.to_string(), source }),
    }
}
