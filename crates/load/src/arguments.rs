//! The command line, and the plan that it means.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::plan::{Pace, Plan, Shape, Slow, SlowWhat, Target};

/// Puts load on an HTTP server on this machine, and says of every request what became of it.
///
/// Closed loop (the default): each connection asks again as soon as it has its answer. That shows
/// what a server can do; its latencies do not count, since nobody asks while the server stalls.
///
/// Open loop (--rate): requests fall due at a constant rate, whatever the server does, and latency
/// counts from the moment when a request was due, not from when a connection was free to send it
/// (no coordinated omission).
///
/// Prints one JSON object. Lost are requests that the server took and did not answer in full; the
/// head of crates/load/src/lib.rs says precisely what is counted as what. TERM or INT ends the run
/// early: what is under way is waited for, and the report is printed.
#[derive(Debug, Parser)]
#[command(name = "remuda-load", version, verbatim_doc_comment, args_override_self = true)]
pub struct Arguments {
    /// ADDRESS:PORT, loopback only
    address: SocketAddr,
    /// Path and query to ask for; with a weight in front, as in 3:/page, when there are several
    #[arg(default_value = "/")]
    paths: Vec<String>,
    /// Open loop: requests a second
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// Connections at the same time
    #[arg(short, long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Begin no request after so many seconds
    #[arg(short, long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// Begin no more requests than this
    #[arg(short = 'n', long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    requests: u64,
    /// One request a connection
    #[arg(long)]
    close: bool,
    /// Seconds from when a request is due to the end of its response
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,
    /// Method; GET, or POST when there is a body
    #[arg(long)]
    method: Option<String>,
    /// Another header, as in 'Accept: text/html'
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<String>,
    /// Give each request its number in this header
    #[arg(long, value_name = "NAME")]
    number_header: Option<String>,
    /// Bytes of the request body
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    body_bytes: u32,
    /// Send the body in chunks instead of with its length
    #[arg(long)]
    chunked: bool,
    /// What the body of each 2xx response must have
    #[arg(long)]
    expect_bytes: Option<u64>,
    /// Share of the connections that are slow clients; each sends one slow request after another
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    slow: f64,
    /// Where they are slow: sending from the first byte, sending the body, or reading
    #[arg(long, value_enum, default_value_t = SlowWhat::Head)]
    slow_what: SlowWhat,
    /// Bytes that a slow client sends or reads at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    slow_bytes: u32,
    /// Milliseconds between two such steps
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    slow_pause_ms: u32,
    /// Failures to describe one by one
    #[arg(long, default_value_t = 20)]
    failures: u32,
}

impl Arguments {
    /// The plan that they mean.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let has_body = self.body_bytes > 0 || self.chunked;
        let method = self.method.clone().unwrap_or(if has_body { "POST" } else { "GET" }.into());
        let shape = Shape {
            method,
            host: self.address.to_string(),
            headers: self.headers.clone(),
            body_bytes: self.body_bytes as usize,
            chunked: self.chunked,
            keep_alive: !self.close,
            number_header: self.number_header.clone(),
        };
        let connections = self.connections as usize;
        let slow = (connections as f64 * self.slow).round() as usize;
        Plan {
            address: self.address,
            pace: self.rate.map_or(Pace::Closed, |per_second| Pace::Open { per_second }),
            connections,
            keep_alive: !self.close,
            targets: self.paths.iter().map(|path| target(path, &shape)).collect(),
            slow: (slow > 0).then(|| Slow {
                connections: slow,
                what: self.slow_what,
                bytes: self.slow_bytes as usize,
                pause: Duration::from_millis(u64::from(self.slow_pause_ms)),
            }),
            duration: Duration::from_secs_f64(self.seconds),
            requests: self.requests,
            timeout: Duration::from_secs_f64(self.timeout),
            expect_bytes: self.expect_bytes,
            failures_kept: self.failures as usize,
        }
    }
}

/// `3:/page` or `/page`.
fn target(text: &str, shape: &Shape) -> Target {
    match text.split_once(':') {
        Some((weight, path))
            if path.starts_with('/') && weight.parse::<u16>().is_ok_and(|w| w > 0) =>
        {
            Target::new(path, weight.parse().unwrap_or(1), shape)
        }
        _ => Target::new(text, 1, shape),
    }
}

fn number_within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= least && value <= most => Ok(value),
        _ => Err(format!("a number from {least} to {most} is needed")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    number_within(text, 0.1, 1_000_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number_within(text, 0.05, 7200.0)
}

fn share(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1.0)
}

fn header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if !name.is_empty() && !text.contains(['\r', '\n']) => Ok(text.to_owned()),
        _ => Err("NAME: VALUE is needed, on one line".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn plan(arguments: &[&str]) -> Plan {
        let all = ["remuda-load", "127.0.0.1:8000"].iter().chain(arguments);
        Arguments::try_parse_from(all).expect("valid").plan()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_says_from_when_latency_counts() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("no coordinated omission"), "{help}");
    }

    #[test]
    fn paths_have_weights_and_may_contain_colons() {
        let targets = plan(&["3:/a", "/b?t=1:2", "/c:d"]).targets;
        let found: Vec<_> = targets.iter().map(|t| (t.path.as_str(), t.weight)).collect();
        assert_eq!(found, [("/a", 3), ("/b?t=1:2", 1), ("/c:d", 1)]);
    }

    #[test]
    fn a_share_of_slow_clients_is_a_number_of_connections() {
        let plan = plan(&["--connections", "20", "--slow", "0.1"]);
        assert_eq!(plan.slow.expect("slow clients").connections, 2);
        assert_eq!(plan.pace, Pace::Closed);
    }

    #[test]
    fn every_run_is_bounded() {
        let plan = plan(&[]);
        assert_eq!(plan.duration, Duration::from_secs(10));
        assert_eq!(plan.requests, 100_000_000);
        for wrong in [["--seconds", "0"], ["--seconds", "inf"], ["--rate", "0"], ["--slow", "2"]] {
            let all = ["remuda-load", "127.0.0.1:8000"].iter().chain(&wrong);
            assert!(Arguments::try_parse_from(all).is_err(), "{wrong:?}");
        }
    }
}
