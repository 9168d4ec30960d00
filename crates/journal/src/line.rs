//! The error log, one line at a time.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use chrono::Local;

use crate::target::{OpenError, Target};
use crate::{Level, Statsd, Syslog};

/// The error log. All processes of one service hold one each, on the same file.
#[derive(Debug)]
pub struct Journal {
    target: Target,
    level: Level,
    /// Is told how many warnings and errors there are.
    statsd: OnceLock<Statsd>,
    /// Gets each message as well.
    syslog: OnceLock<Syslog>,
}

impl Journal {
    /// Opens `target` (`-` is standard error) for lines of at least `level`.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending.
    pub fn open(target: &str, level: Level) -> Result<Self, OpenError> {
        let target = match target {
            "-" => Target::stream(io::stderr(), "standard error")?,
            path => Target::file(path)?,
        };
        Ok(Self { target, level, statsd: OnceLock::new(), syslog: OnceLock::new() })
    }

    /// The least level that is written.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// From now on standard output and error go to its file as well, if it has one.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn capture_output(&self) -> io::Result<()> {
        self.target.capture()
    }

    /// From now on warnings and errors are counted as metrics.
    pub fn measure(&self, statsd: Statsd) {
        // Once is enough: the settings of a process do not change.
        let _ = self.statsd.set(statsd);
    }

    /// From now on messages go to syslog as well.
    pub fn send_to(&self, syslog: Syslog) {
        let _ = self.syslog.set(syslog);
    }

    /// Where metrics go, if anywhere.
    #[must_use]
    pub fn statsd(&self) -> Option<&Statsd> {
        self.statsd.get()
    }

    /// Writes a message of one or more lines, if its level is high enough.
    pub fn write(&self, level: Level, message: &str) {
        if let Some(statsd) = self.statsd.get()
            && let Some(metric) = metric_of(level, message)
        {
            statsd.count(metric);
        }
        if level >= self.level {
            self.always(level, message);
        }
    }

    /// Writes a message whatever its level.
    pub fn always(&self, level: Level, message: &str) {
        if let Some(syslog) = self.syslog.get() {
            syslog.send("error", level, message);
        }
        let lost = self.target.write(line(level, message).as_bytes());
        if lost > 0 {
            let message = format!("{lost} log lines were lost: the log could not be written");
            self.target.write(line(Level::Warning, &message).as_bytes());
        }
    }

    /// Closes the file and opens it again by its name; standard error stays as it is.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened; the old one is kept then.
    pub fn reopen(&self) -> io::Result<()> {
        self.target.reopen()
    }

    /// The descriptor that lines go to; the same after [`Journal::reopen`].
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.target.fd()
    }
}

/// The process id is read for each line: a journal outlives the forks of its process.
/// gunicorn counts what its log is called with, also below the least level.
fn metric_of(level: Level, message: &str) -> Option<&'static str> {
    match level {
        Level::Critical => Some("gunicorn.log.critical"),
        Level::Error if message.contains("\nTraceback (most") => Some("gunicorn.log.exception"),
        Level::Error => Some("gunicorn.log.error"),
        Level::Warning => Some("gunicorn.log.warning"),
        Level::Info | Level::Debug => None,
    }
}

fn line(level: Level, message: &str) -> String {
    let time = Local::now().format("%Y-%m-%d %H:%M:%S %z");
    format!("[{time}] [{}] [{}] {message}\n", std::process::id(), level.name())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_has_gunicorns_form() {
        let text = line(Level::Info, "Booting worker with pid: 7");
        let (time, rest) = text.split_at("[2026-11-24 11:11:41 +0000]".len());
        assert!(time.starts_with("[20") && time.ends_with(']'), "{text}");
        let pid = std::process::id();
        assert_eq!(rest, format!(" [{pid}] [INFO] Booting worker with pid: 7\n"));
    }

    #[test]
    fn low_levels_are_left_out_unless_always_asked_for() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("error.log");
        let journal = Journal::open(path.to_str().expect("utf-8"), Level::Warning).expect("open");
        journal.write(Level::Info, "quiet");
        journal.write(Level::Error, "loud");
        journal.always(Level::Info, "banner");
        let text = fs::read_to_string(&path).expect("read");
        assert!(!text.contains("quiet") && text.contains("loud") && text.contains("banner"));
    }

    #[test]
    fn reopening_follows_the_name_and_keeps_the_descriptor() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("error.log");
        let journal = Journal::open(path.to_str().expect("utf-8"), Level::Info).expect("open");
        journal.write(Level::Info, "before");
        let fd = journal.fd();
        fs::rename(&path, folder.path().join("error.log.1")).expect("rotate");
        journal.reopen().expect("reopen");
        journal.write(Level::Info, "after");
        assert_eq!(journal.fd(), fd);
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Journal::open("/nonexistent/error.log", Level::Info).expect_err("no folder");
        assert!(error.to_string().starts_with("cannot open the log file /nonexistent/error.log:"));
    }

    #[test]
    fn lines_that_a_full_disk_swallowed_are_counted() {
        // /dev/full answers every write with ENOSPC.
        let journal = Journal::open("/dev/full", Level::Info).expect("open");
        journal.write(Level::Info, "one");
        journal.write(Level::Info, "two");
        assert_eq!(journal.target.lost(), 2);
    }
}
