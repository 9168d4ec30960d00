//! What a run has shown, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::account::{Broken, Tally};
use crate::books::Books;
use crate::plan::{Pace, Plan};

/// What a run has shown. Times in milliseconds unless their name says otherwise.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `closed` or `open`.
    pub pace: &'static str,
    /// The rate that was asked for (open loop).
    pub rate_wanted: Option<f64>,
    /// Connections at the same time.
    pub connections: usize,
    /// Sending time in seconds.
    pub seconds: f64,
    /// The same, with the time that the last requests took to end.
    pub seconds_with_rest: f64,
    /// Answers that came within the sending time, a second.
    pub requests_per_s: f64,
    /// All requests but those of slow clients.
    #[serde(flatten)]
    pub all: Group,
    /// Connections opened.
    pub connections_opened: u64,
    /// Connections that the server had closed before another request was written to them.
    pub closed_while_idle: u64,
    /// How late requests were sent although a connection was free (open loop): what the client and
    /// its machine add to the latencies.
    pub client_late_ms: Option<Quantiles>,
    /// Processor time of the client against the time that has passed: near 1, the client is the
    /// limit.
    pub client_busy: f64,
    /// By path, when there are several.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, Group>,
    /// Requests of slow clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Group>,
    /// The first failures, one by one.
    pub failures: Vec<Failure>,
    /// The first of those that were sent again, one by one.
    pub unread: Vec<Unread>,
}

/// Requests and their fates; see the head of the crate for what each count means.
#[derive(Debug, Serialize)]
pub struct Group {
    /// Requests begun; all of the following but `sent` and `sent_again` add up to it.
    pub requests: u64,
    /// Those of which at least one byte went out.
    pub sent: u64,
    /// Whole responses.
    pub answered: u64,
    /// Whole responses by status class.
    pub by_class: BTreeMap<String, u64>,
    /// Whole responses by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Nobody listened.
    pub refused: u64,
    /// No connection in time.
    pub connect_timed_out: u64,
    /// Not sent, for a reason of the client's own.
    pub not_sent: u64,
    /// Connection reset.
    pub reset: Broken,
    /// Connection closed.
    pub closed_early: Broken,
    /// No whole response in time.
    pub timed_out: u64,
    /// Not HTTP, or more than one response.
    pub invalid_response: u64,
    /// Another body length than expected.
    pub wrong_length: u64,
    /// Slow clients that were not at an end when the run was.
    pub unfinished: u64,
    /// Taken by the server and not answered: `reset`, `closed_early`, `timed_out`,
    /// `invalid_response` and `wrong_length`.
    pub lost: u64,
    /// Sent on a kept connection that was reset unread, and sent again on a new one.
    pub sent_again: u64,
    /// Of whole responses: from due (open loop) or begun (closed loop) to the last byte.
    pub latency_ms: Quantiles,
}

/// A distribution.
#[derive(Debug, Serialize)]
pub struct Quantiles {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their median.
    pub p50: f64,
    /// One in ten is above.
    pub p90: f64,
    /// One in a hundred is above.
    pub p99: f64,
    /// One in a thousand is above.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

/// One request that was not answered, or answered 5xx.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// Its number, as in the number header.
    pub number: u64,
    /// What it asked for.
    pub path: String,
    /// Whether a slow client asked.
    pub slow: bool,
    /// Whether its connection had brought a response before.
    pub kept: bool,
    /// The client's port, if there was a connection: tells which process of the server held it.
    pub port: Option<u16>,
    /// When it was due, in seconds from the beginning.
    pub due_s: f64,
    /// When it ended, likewise.
    pub ended_s: f64,
    /// What became of it.
    pub what: String,
}

/// One request that nobody had read when its kept connection was reset.
#[derive(Debug, Serialize)]
pub struct Unread {
    /// Its number, as in the number header.
    pub number: u64,
    /// What it asked for.
    pub path: String,
    /// The client's port on the connection that was reset.
    pub port: Option<u16>,
}

impl Report {
    pub(crate) fn new(plan: &Plan, books: Books, sending: Duration, whole: Duration) -> Self {
        let rate_wanted = match plan.pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(per_second),
        };
        let seconds = sending.as_secs_f64();
        let several = plan.targets.len() > 1;
        let mut paths: BTreeMap<String, Group> = BTreeMap::new();
        for (target, tally) in plan.targets.iter().zip(books.targets).filter(|_| several) {
            paths.insert(target.path.clone(), Group::new(tally));
        }
        Self {
            pace: if rate_wanted.is_some() { "open" } else { "closed" },
            rate_wanted,
            connections: plan.connections,
            seconds,
            seconds_with_rest: whole.as_secs_f64(),
            requests_per_s: books.answered_in_time as f64 / seconds.max(1e-9),
            all: Group::new(books.fast),
            connections_opened: books.connections_opened,
            closed_while_idle: books.closed_while_idle,
            client_late_ms: rate_wanted.map(|_| Quantiles::new(&books.lateness)),
            client_busy: processor_time().as_secs_f64() / whole.as_secs_f64().max(1e-9),
            paths,
            slow: plan.slow.map(|_| Group::new(books.slow)),
            failures: books.failures,
            unread: books.unread,
        }
    }
}

impl Group {
    fn new(mut tally: Tally) -> Self {
        tally.settle();
        debug_assert_eq!(tally.ended(), tally.begun);
        let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
        for (status, count) in &tally.statuses {
            *by_class.entry(format!("{}xx", status / 100)).or_default() += count;
        }
        Self {
            requests: tally.begun,
            sent: tally.sent,
            answered: tally.answered(),
            by_class,
            refused: tally.refused,
            connect_timed_out: tally.connect_timed_out,
            not_sent: tally.not_sent,
            reset: tally.reset,
            closed_early: tally.closed_early,
            timed_out: tally.timed_out,
            invalid_response: tally.invalid,
            wrong_length: tally.wrong_length,
            unfinished: tally.unfinished,
            lost: tally.lost,
            sent_again: tally.sent_again,
            latency_ms: Quantiles::new(&tally.latency),
            by_status: tally.statuses,
        }
    }
}

impl Quantiles {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e6,
        }
    }
}

/// Of this process so far.
fn processor_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    nix::time::clock_gettime(clock).map(Duration::from).unwrap_or_default()
}
