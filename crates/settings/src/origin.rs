//! Where a value came from.

use std::fmt;

/// Where a value came from; shown in errors, in the log and by `--print-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody asked for anything else.
    Default,
    /// A variable, by its full name.
    Variable(String),
    /// A file, by its name as the user knows it.
    File(String),
    /// A flag within `GUNICORN_CMD_ARGS`.
    CmdArgs(String),
    /// A flag of the command line.
    Flag(String),
    /// The command line's argument without a flag.
    Argument,
    /// A worker class of the user's, and what in it.
    WorkerClass(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File(name) => f.write_str(name),
            Self::CmdArgs(flag) => write!(f, "flag {flag} in GUNICORN_CMD_ARGS"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Argument => f.write_str("command line"),
            Self::WorkerClass(name) => write!(f, "worker class {name}"),
        }
    }
}
