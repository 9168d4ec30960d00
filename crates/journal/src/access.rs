//! The access log: complete lines, without a head of ours.

use std::io;

use crate::target::{OpenError, Target};
use crate::{Level, Syslog};

/// The access log of one process: a file or stream, syslog, or both.
#[derive(Debug)]
pub struct AccessLog {
    target: Option<Target>,
    syslog: Option<Syslog>,
}

impl AccessLog {
    /// Opens `target`; `-` is standard output.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending.
    pub fn open(target: &str) -> Result<Self, OpenError> {
        let target = match target {
            "-" => Target::stream(io::stdout(), "standard output")?,
            path => Target::file(path)?,
        };
        Ok(Self { target: Some(target), syslog: None })
    }

    /// An access log for syslog alone.
    #[must_use]
    pub fn for_syslog(syslog: Syslog) -> Self {
        Self { target: None, syslog: Some(syslog) }
    }

    /// Sends lines to syslog as well.
    #[must_use]
    pub fn and_syslog(self, syslog: Syslog) -> Self {
        Self { syslog: Some(syslog), ..self }
    }

    /// Writes complete lines at once, the last one with its line end.
    pub fn write(&self, lines: &str) {
        if let Some(target) = &self.target {
            target.write(lines.as_bytes());
        }
        if let Some(syslog) = &self.syslog {
            lines.lines().for_each(|line| syslog.send("access", Level::Info, line));
        }
    }

    /// Closes the file and opens it again by its name; standard output stays as it is.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened; the old one is kept then.
    pub fn reopen(&self) -> io::Result<()> {
        self.target.as_ref().map_or(Ok(()), Target::reopen)
    }
}
