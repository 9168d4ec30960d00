//! The journal for Python: the zygote's and the workers' own lines in the error log.

use std::sync::OnceLock;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use remuda_journal::{Journal, Level, Statsd, Syslog};

/// Writes lines in gunicorn's form: `[time] [pid] [LEVEL] message`.
#[pyclass(name = "Journal", module = "remuda._remuda", frozen)]
pub(crate) struct PyJournal {
    pub(crate) journal: Journal,
    /// Takes a level's number and a message, where Python's logging was set up by the user.
    logger: OnceLock<Py<PyAny>>,
    /// Opens the files of that logging again.
    reopener: OnceLock<Py<PyAny>>,
}

impl PyJournal {
    /// Logs a message of a worker: by the user's logging if there is any, else as a line of ours.
    pub(crate) fn say(&self, level: Level, message: &str) {
        let said = self.logger.get().is_some_and(|logger| {
            Python::attach(|py| logger.call1(py, (number_of(level), message)).is_ok())
        });
        if !said {
            self.journal.write(level, message);
        }
    }
}

impl PyJournal {
    /// Closes all files and opens them again by their names.
    pub(crate) fn reopen_all(&self) -> PyResult<()> {
        let ours = self.journal.reopen();
        if let Some(reopener) = self.reopener.get() {
            Python::attach(|py| reopener.call0(py))?;
        }
        Ok(ours?)
    }
}

/// As Python's logging counts them.
fn number_of(level: Level) -> u8 {
    match level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warning => 30,
        Level::Error => 40,
        Level::Critical => 50,
    }
}

fn level_of(number: u8) -> Level {
    match number {
        50.. => Level::Critical,
        40.. => Level::Error,
        30.. => Level::Warning,
        20.. => Level::Info,
        _ => Level::Debug,
    }
}

#[pymethods]
impl PyJournal {
    /// Opens `target` (`-` is standard error), for lines of at least `level`.
    #[new]
    fn new(target: &str, level: &str) -> PyResult<Self> {
        let journal = Journal::open(target, Level::parse(level))
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self { journal, logger: OnceLock::new(), reopener: OnceLock::new() })
    }

    /// A line of ours, whatever has become of Python's logging; `level` as that counts.
    fn write(&self, level: u8, message: &str) {
        self.journal.write(level_of(level), message);
    }

    fn debug(&self, message: &str) {
        self.say(Level::Debug, message);
    }

    fn info(&self, message: &str) {
        self.say(Level::Info, message);
    }

    fn warning(&self, message: &str) {
        self.say(Level::Warning, message);
    }

    fn error(&self, message: &str) {
        self.say(Level::Error, message);
    }

    fn critical(&self, message: &str) {
        self.say(Level::Critical, message);
    }

    /// Closes its file, and those of the user's logging, and opens them again by their names.
    fn reopen(&self) -> PyResult<()> {
        self.reopen_all()
    }

    /// From now on messages go to syslog as well.
    fn send_to(&self, address: &str, facility: &str, prefix: &str) -> PyResult<()> {
        let opened = Syslog::open(address, facility, prefix);
        self.journal.send_to(opened.map_err(|error| PyOSError::new_err(error.to_string()))?);
        Ok(())
    }

    /// From now on what zygote and workers have to say goes to `logger(level, message)`, whose files
    /// `reopener()` opens again.
    fn hand_to(&self, logger: Py<PyAny>, reopener: Py<PyAny>) {
        // Set once, before there are workers.
        let _ = self.logger.set(logger);
        let _ = self.reopener.set(reopener);
    }

    /// From now on warnings and errors are counted as metrics.
    fn measure(&self, host: &str, prefix: &str, tags: &str) -> PyResult<()> {
        self.journal.measure(Statsd::open(host, prefix, tags)?);
        Ok(())
    }

    /// From now on standard output and error go to its file as well, if it has one.
    fn capture_output(&self) -> PyResult<()> {
        Ok(self.journal.capture_output()?)
    }

    /// The descriptor that lines go to.
    fn fileno(&self) -> i32 {
        self.journal.fd()
    }
}
