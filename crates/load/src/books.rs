//! The books of a run: requests enter when they begin, and again with their fate.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::account::{Fate, Tally, histogram};
use crate::plan::Plan;
use crate::report::{Failure, Unread};

/// A request under way.
pub(crate) struct Flight {
    /// Index of what it asks for.
    pub(crate) target: usize,
    pub(crate) number: u64,
    /// Latency counts from here.
    pub(crate) due: Instant,
    /// A slow client's.
    pub(crate) slow: bool,
    pub(crate) sent: bool,
    pub(crate) sent_again: bool,
    /// On a connection that had brought a response before.
    pub(crate) kept: bool,
    /// Our end of the connection on which it has failed.
    pub(crate) port: Option<u16>,
}

/// What is counted.
pub(crate) struct Books {
    begun_at: Instant,
    /// No answer after this counts for the rate.
    end: Instant,
    pub(crate) fast: Tally,
    pub(crate) slow: Tally,
    /// By target; all zero when there is only one.
    pub(crate) targets: Vec<Tally>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) unread: Vec<Unread>,
    pub(crate) connections_opened: u64,
    pub(crate) closed_while_idle: u64,
    /// From due to sent, where a connection was free: what the client itself adds.
    pub(crate) lateness: Histogram<u64>,
    /// Answers that came before the end of the sending time.
    pub(crate) answered_in_time: u64,
}

impl Books {
    pub(crate) fn new(plan: &Plan, begun_at: Instant) -> Self {
        Self {
            begun_at,
            end: begun_at + plan.duration,
            fast: Tally::default(),
            slow: Tally::default(),
            targets: vec![Tally::default(); plan.targets.len()],
            failures: Vec::new(),
            unread: Vec::new(),
            connections_opened: 0,
            closed_while_idle: 0,
            lateness: histogram(),
            answered_in_time: 0,
        }
    }

    /// Requests begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.fast.begun + self.slow.begun
    }

    /// A new request for a target.
    pub(crate) fn begin(&mut self, target: usize, due: Instant, slow: bool) -> Flight {
        let number = self.begun();
        self.tallies(target, slow, |tally| tally.begun += 1);
        Flight {
            target,
            number,
            due,
            slow,
            sent: false,
            sent_again: false,
            kept: false,
            port: None,
        }
    }

    /// A request has met its fate.
    pub(crate) fn end(&mut self, plan: &Plan, flight: &Flight, fate: &Fate, now: Instant) {
        let latency = now.duration_since(flight.due);
        self.tallies(flight.target, flight.slow, |tally| {
            tally.sent += u64::from(flight.sent);
            tally.sent_again += u64::from(flight.sent_again);
            tally.end(fate, latency);
        });
        if matches!(fate, Fate::Answered(_)) {
            self.answered_in_time += u64::from(!flight.slow && now <= self.end);
        }
        if self.failures.len() < plan.failures_kept
            && let Some(what) = fate.failure()
        {
            self.failures.push(Failure {
                number: flight.number,
                path: plan.targets[flight.target].path.clone(),
                slow: flight.slow,
                kept: flight.kept,
                port: flight.port,
                due_s: flight.due.duration_since(self.begun_at).as_secs_f64(),
                ended_s: now.duration_since(self.begun_at).as_secs_f64(),
                what,
            });
        }
    }

    /// A request is about to be sent again.
    pub(crate) fn note_sent_again(&mut self, plan: &Plan, flight: &mut Flight) {
        let port = flight.port.take();
        if self.unread.len() < plan.failures_kept {
            let target = plan.targets[flight.target].path.clone();
            self.unread.push(Unread { number: flight.number, path: target, port });
        }
    }

    /// Every tally that a request belongs to.
    fn tallies(&mut self, target: usize, slow: bool, mut enter: impl FnMut(&mut Tally)) {
        if slow {
            return enter(&mut self.slow);
        }
        enter(&mut self.fast);
        if self.targets.len() > 1 {
            enter(&mut self.targets[target]);
        }
    }
}
