//! The access log: complete lines, without a head of ours.

use std::io;

use crate::target::{OpenError, Target};

/// The access log of one process.
#[derive(Debug)]
pub struct AccessLog(Target);

impl AccessLog {
    /// Opens `target`; `-` is standard output.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending.
    pub fn open(target: &str) -> Result<Self, OpenError> {
        Ok(Self(match target {
            "-" => Target::stream(io::stdout(), "standard output")?,
            path => Target::file(path)?,
        }))
    }

    /// Writes complete lines at once, the last one with its line end.
    pub fn write(&self, lines: &str) {
        self.0.write(lines.as_bytes());
    }

    /// Closes the file and opens it again by its name; standard output stays as it is.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened; the old one is kept then.
    pub fn reopen(&self) -> io::Result<()> {
        self.0.reopen()
    }
}
