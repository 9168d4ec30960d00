//! Metrics for StatsD, by gunicorn's names: a datagram each, never waited for, lost without a word.

use std::fmt::Display;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Where metrics go.
#[derive(Debug)]
pub struct Statsd {
    socket: Datagrams,
    prefix: String,
    /// `|#tag:value,…`, or nothing.
    tags: String,
}

#[derive(Debug)]
enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Statsd {
    /// Prepares to send to `HOST[:PORT]` or `unix://PATH`. Nobody has to listen there yet.
    ///
    /// # Errors
    ///
    /// When the host cannot be looked up, or a socket cannot be had.
    pub fn open(address: &str, prefix: &str, tags: &str) -> io::Result<Self> {
        let socket = match address.strip_prefix("unix://") {
            Some(path) => Datagrams::Unix(unix(path)?),
            None => Datagrams::Udp(connected(address, PORT_DEFAULT)?),
        };
        let prefix = match prefix.trim_end_matches('.') {
            "" => String::new(),
            prefix => format!("{prefix}."),
        };
        let tags = if tags.is_empty() { String::new() } else { format!("|#{tags}") };
        Ok(Self { socket, prefix, tags })
    }

    /// One more of something.
    pub fn count(&self, name: &str) {
        self.send(name, "1|c|@1.0");
    }

    /// So many there are now.
    pub fn gauge(&self, name: &str, value: u64) {
        self.send(name, format_args!("{value}|g"));
    }

    /// So many there were at this moment, of many.
    pub fn histogram(&self, name: &str, value: u64) {
        self.send(name, format_args!("{value}|h"));
    }

    /// So long it took.
    pub fn timing(&self, name: &str, took: Duration) {
        self.send(name, format_args!("{}|ms", took.as_secs_f64() * 1e3));
    }

    /// How a request ended.
    pub fn request(&self, status: u16, took: Duration) {
        self.timing("gunicorn.request.duration", took);
        self.count("gunicorn.requests");
        self.count(&format!("gunicorn.request.status.{status}"));
    }

    fn send(&self, name: &str, value: impl Display) {
        let datagram = format!("{}{name}:{value}{}", self.prefix, self.tags);
        // Metrics are not worth a pause, nor a line in the log for each one that is lost.
        let _ = match &self.socket {
            Datagrams::Udp(socket) => socket.send(datagram.as_bytes()),
            Datagrams::Unix(socket) => socket.send(datagram.as_bytes()),
        };
    }
}

/// A socket for `HOST[:PORT]` that never blocks.
pub(crate) fn connected(address: &str, port: u16) -> io::Result<UdpSocket> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, digits)) => digits.parse().map_or((address, port), |port| (host, port)),
        None => (address, port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = (host, port).to_socket_addrs()?;
    let to = found.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    Ok(socket)
}

fn unix(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

const PORT_DEFAULT: u16 = 8125;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(server: &UdpSocket) -> String {
        let mut datagram = [0; 512];
        let length = server.recv(&mut datagram).expect("a datagram");
        String::from_utf8_lossy(&datagram[..length]).into_owned()
    }

    #[test]
    fn metrics_have_gunicorns_form() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let address = server.local_addr().expect("address").to_string();
        let statsd = Statsd::open(&address, "my.app", "a:b,c:d").expect("opened");
        statsd.count("gunicorn.requests");
        assert_eq!(received(&server), "my.app.gunicorn.requests:1|c|@1.0|#a:b,c:d");
        let statsd = Statsd::open(&address, "", "").expect("opened");
        statsd.gauge("gunicorn.workers", 3);
        assert_eq!(received(&server), "gunicorn.workers:3|g");
        statsd.histogram("gunicorn.backlog", 0);
        assert_eq!(received(&server), "gunicorn.backlog:0|h");
        statsd.request(200, Duration::from_micros(1500));
        assert_eq!(received(&server), "gunicorn.request.duration:1.5|ms");
        assert_eq!(received(&server), "gunicorn.requests:1|c|@1.0");
        assert_eq!(received(&server), "gunicorn.request.status.200:1|c|@1.0");
    }

    #[test]
    fn nobody_who_listens_is_no_error() {
        let gone = UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
        let statsd = Statsd::open(&gone.to_string(), "", "").expect("opened");
        for _ in 0..3 {
            statsd.count("gunicorn.requests");
        }
        assert!(Statsd::open("unix:///nowhere/statsd.sock", "", "").is_err());
    }
}
