//! Why the service cannot start, once its settings are valid.

use std::io;

use remuda_journal::{OpenError, SyslogError};
use remuda_runtime::{HeraldError, IdentityError, ListenError, PidfileError};

use crate::python::NoPython;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error("the log was set up twice; please report this")]
    LogTwice,
    #[error(transparent)]
    Python(#[from] NoPython),
    #[error(transparent)]
    Pidfile(#[from] PidfileError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("statsd_host: cannot send metrics to `{host}`: {source}")]
    Statsd { host: String, source: io::Error },
    #[error("syslog: {0}")]
    Syslog(#[from] SyslogError),
    #[error("cannot go to the background: {0}")]
    Background(#[source] io::Error),
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    Herald(#[from] HeraldError),
    #[error("the hook `{hook}` has failed\n{error}")]
    Hook { hook: &'static str, error: String },
    #[error("the address `{address}` cannot be found: {source}")]
    Address { address: String, source: io::Error },
    #[error("the kernel refuses what the master needs: {0}")]
    Kernel(#[source] io::Error),
}
