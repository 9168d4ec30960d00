//! The master's events by way of `tracing`: a layer that writes each as a line of the journal.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::{Journal, Level};

/// Events of this target are written whatever the level: the banner at the start.
pub const ALWAYS: &str = "remuda::always";
/// `tracing` has no level above error; events of this target are critical.
pub const CRITICAL: &str = "remuda::critical";

/// Writes events as lines of a journal.
#[derive(Debug)]
pub struct JournalLayer(pub Arc<Journal>);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = line.message + &line.fields;
        let metadata = event.metadata();
        match metadata.target() {
            ALWAYS => self.0.always(Level::Info, &text),
            CRITICAL => self.0.write(Level::Critical, &text),
            _ => self.0.write(level_of(*metadata.level()), &text),
        }
    }
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warning,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
    }
}

/// The message, and the other fields behind it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Sends an event of the list to the log.
#[macro_export]
macro_rules! log {
    ($event:ident $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::emit(&$crate::event::$event, &$crate::event::$event.fill(&[$((stringify!($name), &$value as &dyn ::std::fmt::Display)),*]))
    };
}

/// Sends a message with the level of its event through `tracing`.
pub fn emit(event: &crate::event::LogEvent, message: &str) {
    match event.level {
        Level::Debug => tracing::debug!("{message}"),
        Level::Info => tracing::info!("{message}"),
        Level::Warning => tracing::warn!("{message}"),
        Level::Error => tracing::error!("{message}"),
        Level::Critical => tracing::error!(target: CRITICAL, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn events_become_lines_of_their_level() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("error.log");
        let journal = Journal::open(path.to_str().expect("utf-8"), Level::Warning).expect("open");
        let subscriber = tracing_subscriber::registry().with(JournalLayer(Arc::new(journal)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: ALWAYS, "banner");
            log!(WORKER_FORKED, pid = 7);
            log!(WORKER_HUNG, pid = 7, request = "GET /", stood_s = 3);
            tracing::warn!(slot = 3, "with a field");
        });
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains("[INFO] banner\n"), "{text}");
        assert!(text.contains("[CRITICAL] WORKER TIMEOUT (pid:7) GET / for 3s\n"), "{text}");
        assert!(text.contains("[WARNING] with a field slot=3\n"), "{text}");
        assert!(!text.contains("Booting"), "{text}");
    }
}
