//! What the operator reads: the log line in gunicorn's form.
//!
//! ```text
//! [2026-11-24 11:11:41 +0000] [16536] [INFO] Booting worker with pid: 16540
//! ```
//!
//! Every process writes its own lines, each by one `write(2)` to a file opened for appending, so
//! lines of several processes never mix. A log that cannot be written (a full disk, a reader
//! that is gone or stuck) never stops service: lost lines are counted, and the count is said once
//! writing works again.
//! The metrics that gunicorn's log sends to StatsD are here as well.

#![forbid(unsafe_code)]

mod access;
pub mod event;
pub mod exit;
mod layer;
mod level;
mod line;
#[cfg(test)]
mod page;
mod statsd;
mod syslog;
mod target;

pub use access::AccessLog;
pub use layer::{ALWAYS, CRITICAL, JournalLayer, emit};
pub use level::Level;
pub use line::Journal;
pub use statsd::Statsd;
pub use syslog::{Syslog, SyslogError};
pub use target::OpenError;
