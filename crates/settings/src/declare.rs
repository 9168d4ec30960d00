//! What a setting is: the form in which the table declares each one.

use std::fmt;

/// A part of help and reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Where wishes come from.
    Configuration,
    /// What is served and by which Python.
    Application,
    /// Where clients connect.
    Listening,
    /// How many processes, and how they are replaced.
    Workers,
    /// What workers share, and how much they may take.
    Memory,
    /// How long something may last.
    TimeLimits,
    /// How large a request may be.
    RequestLimits,
    /// Who is believed about the client.
    Proxies,
    /// What is written where.
    Logging,
    /// The process as the operating system sees it.
    Process,
    /// Conveniences while one writes the app.
    Development,
    /// Functions of a Python configuration file.
    Hooks,
    /// Encryption.
    Tls,
    /// HTTP/2 and other protocols.
    Protocols,
    /// Apps of the ASGI kind.
    Asgi,
    /// gunicorn's processes for long jobs.
    Dirty,
}

impl Group {
    /// Every group, in the order of help and reference.
    pub const ALL: [Self; 16] = [
        Self::Configuration,
        Self::Application,
        Self::Listening,
        Self::Workers,
        Self::Memory,
        Self::TimeLimits,
        Self::RequestLimits,
        Self::Proxies,
        Self::Logging,
        Self::Process,
        Self::Development,
        Self::Hooks,
        Self::Tls,
        Self::Protocols,
        Self::Asgi,
        Self::Dirty,
    ];

    /// The heading over its settings.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Application => "Application",
            Self::Listening => "Listening",
            Self::Workers => "Workers",
            Self::Memory => "Memory",
            Self::TimeLimits => "Time limits",
            Self::RequestLimits => "Request limits",
            Self::Proxies => "Proxies",
            Self::Logging => "Logging",
            Self::Process => "Process",
            Self::Development => "Development",
            Self::Hooks => "Hooks",
            Self::Tls => "TLS",
            Self::Protocols => "Protocols",
            Self::Asgi => "ASGI",
            Self::Dirty => "Dirty workers",
        }
    }
}

/// What zero seconds mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// No limit at all.
    Never,
    /// At once.
    AtOnce,
    /// Not allowed.
    Refused,
}

/// What a value looks like: decides how it is read, and how help and errors describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; as a flag it needs no value.
    Switch,
    /// A whole number in a range, both ends included.
    Whole {
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// A whole number from 1, or `auto`.
    Workers {
        /// Most allowed.
        max: u64,
    },
    /// A length of time in seconds.
    Seconds(Zero),
    /// A number of bytes.
    Bytes {
        /// Most allowed.
        max: u64,
    },
    /// An amount of memory: bytes with a unit, or a share in percent.
    Memory,
    /// A share of all, from 0 to 1.
    Share,
    /// Any text.
    Text,
    /// The path of a file, or `-` for a standard stream.
    LogTarget {
        /// Whether `none` is allowed.
        or_none: bool,
    },
    /// The path of a file or folder.
    Path,
    /// A level of the log.
    Level,
    /// A worker class.
    WorkerClass,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts; a flag is given once for each.
    List,
    /// Files, or patterns that stand for files; a flag is given once for each.
    Files,
    /// Addresses to listen on; a flag is given once for each.
    Addresses,
    /// `NAME=value` pairs; a flag is given once for each.
    Pairs,
    /// Addresses or networks in one text, separated by commas, or `*`.
    Networks,
    /// Texts in one text, separated by commas; what they are, in the plural.
    CommaList(&'static str),
    /// A list of cipher suites as OpenSSL reads it.
    Ciphers,
    /// Some of these words in one text, separated by commas.
    CommaChoices(&'static [&'static str]),
    /// One of these words, or as a flag none at all, which means the last: `--flag`, `--flag word`.
    OptionalChoice(&'static [&'static str]),
    /// Bits of file permissions: octal with a leading zero.
    Mode,
    /// A table; has no flag.
    Python,
    /// A function of it, or the name of one as `module.function`; has no flag. It takes one of
    /// these numbers of arguments.
    Hook(&'static [u8]),
}

impl Kind {
    /// Whether more than one value may be given.
    #[must_use]
    pub fn is_many(self) -> bool {
        matches!(self, Self::List | Self::Files | Self::Addresses | Self::Pairs)
    }
}

/// What is allowed, fit to follow "must be".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Switch => f.write_str("true or false"),
            Self::Whole { min, max } if max >= i64::MAX as u64 => {
                write!(f, "a whole number, at least {min}")
            }
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Workers { max } => write!(f, "a whole number from 1 to {max}, or `auto`"),
            Self::Seconds(zero) => f.write_str(match zero {
                Zero::Never => "seconds such as `30`, `0.5`, `2m`, or 0 for no limit",
                Zero::AtOnce => "seconds such as `30`, `0.5`, `2m`, or 0",
                Zero::Refused => "seconds above 0, such as `30`, `0.5`, `2m`",
            }),
            Self::Bytes { max } => {
                write!(f, "bytes such as `65536`, `512k`, `1m`, at most {}m", max >> 20)
            }
            Self::Memory => {
                f.write_str("an amount such as `512M`, `1.5G` or `80%`, or 0 for no limit")
            }
            Self::Share => f.write_str("a share from 0 to 1, such as `0.01`"),
            Self::Text => f.write_str("a text"),
            Self::Ciphers => f.write_str("a list of cipher suites in OpenSSL's form"),
            Self::LogTarget { or_none: true } => f.write_str("the path of a file, `-` or `none`"),
            Self::LogTarget { or_none: false } => f.write_str("the path of a file or `-`"),
            Self::Path => f.write_str("a path"),
            Self::Level => f.write_str("debug, info, warning, error or critical"),
            Self::WorkerClass => f.write_str("sync, gthread, gevent or asgi"),
            Self::Choice([words @ .., last]) | Self::OptionalChoice([words @ .., last]) => {
                write!(f, "{} or {last}", words.join(", "))
            }
            Self::CommaChoices([words @ .., last]) => {
                write!(f, "one or more of {} and {last}, separated by commas", words.join(", "))
            }
            Self::Choice([]) | Self::OptionalChoice([]) | Self::CommaChoices([]) => {
                f.write_str("nothing")
            }
            Self::List => f.write_str("texts"),
            Self::Files => {
                f.write_str("files that exist, or patterns such as `templates/**/*.html`")
            }
            Self::Addresses => {
                f.write_str("`HOST:PORT`, `HOST`, `:PORT`, `[IPV6]:PORT`, `unix:PATH` or `fd://N`")
            }
            Self::Pairs => f.write_str("`NAME=value` pairs"),
            Self::Networks => {
                f.write_str("IP addresses or networks separated by commas, or `*` for everyone")
            }
            Self::CommaList(what) => write!(f, "{what} separated by commas"),
            Self::Mode => f.write_str("permission bits such as `0o022` or `0022`, at most 0o777"),
            Self::Python => f.write_str("a table"),
            Self::Hook(_) => {
                f.write_str("a function of a Python configuration file, or `module.function`")
            }
        }
    }
}

/// How far this version goes with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Does what its help says.
    Full,
    /// Accepted with a warning.
    Ignored {
        /// Why it has no effect, or what happens instead; fits after "has no effect: ".
        why: &'static str,
    },
}

/// One setting. Flag, variable, key of the file, help and reference all come from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Key of the file; in capitals after `GUNICORN_` the name of its variable.
    pub name: &'static str,
    /// Where help and reference show it.
    pub group: Group,
    /// What a value looks like.
    pub kind: Kind,
    /// The default as a text; empty for none.
    pub default: &'static str,
    /// Long flags without dashes; the first is the one that is shown.
    pub flags: &'static [&'static str],
    /// Short flag.
    pub short_flag: Option<char>,
    /// A platform's variable that stands below all other sources.
    pub platform_variable: Option<&'static str>,
    /// Whether gunicorn has it under this name.
    pub gunicorn: bool,
    /// One line, without full stop.
    pub short: &'static str,
    /// What else one has to know; may be empty.
    pub long: &'static str,
    /// How far this version goes with it.
    pub support: Support,
}

impl Setting {
    /// The variable that holds it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("GUNICORN_{}", self.name.to_ascii_uppercase())
    }

    /// Its long flag as one types it, if it has one.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        self.flags.first().map(|flag| format!("--{flag}"))
    }

    /// Whether it does what its help says.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.support == Support::Full
    }
}
