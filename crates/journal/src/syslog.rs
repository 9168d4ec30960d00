//! Lines for syslog, in gunicorn's form: `gunicorn.PREFIX.error: [pid] message`, a datagram each,
//! never waited for, lost without a word.

use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use crate::Level;
use crate::statsd::connected;

/// Where lines go, beside the log's own file.
#[derive(Debug)]
pub struct Syslog {
    socket: Datagrams,
    /// The facility's number.
    facility: u8,
    prefix: String,
}

#[derive(Debug)]
enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// By the numbers of RFC 5424, under gunicorn's names.
const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("security", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Why nothing can be sent there.
#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    /// There is no such facility.
    #[error("unknown facility name: {0}")]
    Facility(String),
    /// It is none of the known forms.
    #[error("invalid syslog address `{0}`: give `udp://HOST[:PORT]` or `unix://PATH`")]
    Address(String),
    /// It cannot be reached.
    #[error("cannot send lines to `{address}`: {source}")]
    Unreachable {
        /// As it was given.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Syslog {
    /// Prepares to send to `udp://HOST[:PORT]` or `unix://PATH`, which may end in `#dgram`.
    ///
    /// # Errors
    ///
    /// When there is no such facility, or no way to the address.
    pub fn open(address: &str, facility: &str, prefix: &str) -> Result<Self, SyslogError> {
        let name = facility.strip_prefix("LOG_").unwrap_or(facility).to_ascii_lowercase();
        let found = FACILITIES.iter().find(|(known, _)| *known == name);
        let (_, facility) = found.ok_or_else(|| SyslogError::Facility(facility.to_owned()))?;
        let opened = if let Some(path) = address.strip_prefix("unix://") {
            unix(path.strip_suffix("#dgram").unwrap_or(path)).map(Datagrams::Unix)
        } else if let Some(host) = address.strip_prefix("udp://") {
            connected(host, PORT_DEFAULT).map(Datagrams::Udp)
        } else {
            return Err(SyslogError::Address(address.to_owned()));
        };
        let socket = opened
            .map_err(|source| SyslogError::Unreachable { address: address.to_owned(), source })?;
        Ok(Self { socket, facility: *facility, prefix: prefix.to_owned() })
    }

    /// Sends a message of the log named `error` or `access`.
    pub fn send(&self, log: &str, level: Level, message: &str) {
        let priority = self.facility << 3 | severity(level);
        let (prefix, pid) = (&self.prefix, std::process::id());
        // The byte at the end is what Python's handler sends, too.
        let line = format!("<{priority}>gunicorn.{prefix}.{log}: [{pid}] {message}\0");
        // A daemon that is gone, or behind, must not stop the service.
        let _ = match &self.socket {
            Datagrams::Udp(socket) => socket.send(line.as_bytes()),
            Datagrams::Unix(socket) => socket.send(line.as_bytes()),
        };
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

const PORT_DEFAULT: u16 = 514;

fn unix(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_gunicorns_form() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let daemon = UnixDatagram::bind(&path).expect("bound");
        let address = format!("unix://{}#dgram", path.display());
        let syslog = Syslog::open(&address, "LOG_LOCAL0", "shop").expect("opened");
        syslog.send("error", Level::Warning, "hot");
        let mut line = [0; 128];
        let length = daemon.recv(&mut line).expect("a line");
        let pid = std::process::id();
        let expected = format!("<132>gunicorn.shop.error: [{pid}] hot\0");
        assert_eq!(String::from_utf8_lossy(&line[..length]), expected);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let open = |address, facility| {
            Syslog::open(address, facility, "x").expect_err("refused").to_string()
        };
        assert_eq!(open("udp://localhost", "loud"), "unknown facility name: loud");
        assert!(open("tcp://localhost:514", "user").starts_with("invalid syslog address `tcp:"));
        assert!(open("unix:///nowhere", "user").starts_with("cannot send lines to `unix:"));
    }
}
