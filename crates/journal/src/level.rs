//! How much a line matters.

/// gunicorn's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Why a decision was taken.
    Debug,
    /// A change of state of a process or of the service.
    Info,
    /// It will become an error, or a promise was broken once.
    Warning,
    /// Somebody must act.
    Error,
    /// Somebody must act now.
    Critical,
}

impl Level {
    /// Reads a level's name in any case; an unknown name is info, as in gunicorn.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name.trim().to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "warning" | "warn" => Self::Warning,
            "error" => Self::Error,
            "critical" | "fatal" => Self::Critical,
            _ => Self::Info,
        }
    }

    /// The name as it stands in a line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_gunicorn_does() {
        assert_eq!(Level::parse("WARNING"), Level::Warning);
        assert_eq!(Level::parse(" critical "), Level::Critical);
        assert_eq!(Level::parse("verbose"), Level::Info);
        assert!(Level::Debug < Level::Critical);
    }
}
