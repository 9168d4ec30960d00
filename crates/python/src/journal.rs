//! The journal for Python: the zygote's and the workers' own lines in the error log.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use remuda_journal::{Journal, Level, Statsd};

/// Writes lines in gunicorn's form: `[time] [pid] [LEVEL] message`.
#[pyclass(name = "Journal", module = "remuda._remuda", frozen)]
pub(crate) struct PyJournal(pub(crate) Journal);

#[pymethods]
impl PyJournal {
    /// Opens `target` (`-` is standard error), for lines of at least `level`.
    #[new]
    fn new(target: &str, level: &str) -> PyResult<Self> {
        let journal = Journal::open(target, Level::parse(level))
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self(journal))
    }

    fn debug(&self, message: &str) {
        self.0.write(Level::Debug, message);
    }

    fn info(&self, message: &str) {
        self.0.write(Level::Info, message);
    }

    fn warning(&self, message: &str) {
        self.0.write(Level::Warning, message);
    }

    fn error(&self, message: &str) {
        self.0.write(Level::Error, message);
    }

    fn critical(&self, message: &str) {
        self.0.write(Level::Critical, message);
    }

    /// Closes the file and opens it again by its name.
    fn reopen(&self) -> PyResult<()> {
        Ok(self.0.reopen()?)
    }

    /// From now on warnings and errors are counted as metrics.
    fn measure(&self, host: &str, prefix: &str, tags: &str) -> PyResult<()> {
        self.0.measure(Statsd::open(host, prefix, tags)?);
        Ok(())
    }

    /// From now on standard output and error go to its file as well, if it has one.
    fn capture_output(&self) -> PyResult<()> {
        Ok(self.0.capture_output()?)
    }

    /// The descriptor that lines go to.
    fn fileno(&self) -> i32 {
        self.0.fd()
    }
}
