//! Books: every request that began has one fate in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::response::Answer;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A whole response came, of any status.
    Answered(Answer),
    /// Nobody listened; nothing was sent.
    Refused,
    /// No connection in time; nothing was sent.
    ConnectTimedOut,
    /// Not sent, for a reason of our own: no descriptor, or no connection free in time.
    NotSent(String),
    /// The connection was reset.
    Reset {
        /// A part of the response had come.
        within: bool,
    },
    /// The connection was closed.
    ClosedEarly {
        /// A part of the response had come.
        within: bool,
    },
    /// No whole response in time.
    TimedOut,
    /// What came is no HTTP response, or more than one.
    Invalid(String),
    /// A whole response, but its body has not as many bytes as expected.
    WrongLength {
        /// What came.
        bytes: u64,
    },
    /// A slow client had not come to an end when the run was over.
    Unfinished,
}

impl Fate {
    /// Whether the server took the request and did not answer it.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Reset { .. }
            | Self::ClosedEarly { .. }
            | Self::TimedOut
            | Self::Invalid(_)
            | Self::WrongLength { .. } => true,
            Self::Answered(_)
            | Self::Refused
            | Self::ConnectTimedOut
            | Self::NotSent(_)
            | Self::Unfinished => false,
        }
    }

    /// In words, for the list of failures; `None` for a success.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let before_or_within = |within| if within { "within" } else { "before" };
        Some(match self {
            Self::Answered(answer) if answer.status < 500 => return None,
            Self::Answered(answer) => format!("answered {}", answer.status),
            Self::Refused => "connection refused".to_owned(),
            Self::ConnectTimedOut => "no connection in time".to_owned(),
            Self::NotSent(reason) => format!("not sent: {reason}"),
            Self::Reset { within } => format!("reset {} the response", before_or_within(*within)),
            Self::ClosedEarly { within } => {
                format!("closed {} the response", before_or_within(*within))
            }
            Self::TimedOut => "timed out".to_owned(),
            Self::Invalid(reason) => format!("invalid response: {reason}"),
            Self::WrongLength { bytes } => format!("wrong length: {bytes} bytes"),
            Self::Unfinished => return None,
        })
    }
}

/// Counts of one group of requests.
#[derive(Clone, Debug)]
pub struct Tally {
    pub(crate) begun: u64,
    pub(crate) sent: u64,
    pub(crate) sent_again: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) refused: u64,
    pub(crate) connect_timed_out: u64,
    pub(crate) not_sent: u64,
    pub(crate) reset: Broken,
    pub(crate) closed_early: Broken,
    pub(crate) timed_out: u64,
    pub(crate) invalid: u64,
    pub(crate) wrong_length: u64,
    pub(crate) unfinished: u64,
    pub(crate) lost: u64,
    pub(crate) latency: Histogram<u64>,
    /// The status seen last and its count, so that a run of equal ones needs no look-up.
    recent: (u16, u64),
}

/// How many responses broke off, by where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Broken {
    /// No byte of the response had come.
    pub before_response: u64,
    /// A part of the response had come.
    pub within_response: u64,
}

impl Broken {
    fn count(&mut self, within: bool) {
        *if within { &mut self.within_response } else { &mut self.before_response } += 1;
    }

    fn total(self) -> u64 {
        self.before_response + self.within_response
    }
}

/// A histogram of durations, kept in nanoseconds with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1_000, 100_000_000_000, 3)
        .expect("the bounds are constant and in order");
    histogram.auto(true);
    histogram
}

pub(crate) fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            begun: 0,
            sent: 0,
            sent_again: 0,
            statuses: BTreeMap::new(),
            refused: 0,
            connect_timed_out: 0,
            not_sent: 0,
            reset: Broken::default(),
            closed_early: Broken::default(),
            timed_out: 0,
            invalid: 0,
            wrong_length: 0,
            unfinished: 0,
            lost: 0,
            latency: histogram(),
            recent: (0, 0),
        }
    }
}

impl Tally {
    pub(crate) fn end(&mut self, fate: &Fate, latency: Duration) {
        self.lost += u64::from(fate.is_lost());
        match fate {
            Fate::Answered(answer) => {
                self.count_status(answer.status);
                record(&mut self.latency, latency);
            }
            Fate::Refused => self.refused += 1,
            Fate::ConnectTimedOut => self.connect_timed_out += 1,
            Fate::NotSent(_) => self.not_sent += 1,
            Fate::Reset { within } => self.reset.count(*within),
            Fate::ClosedEarly { within } => self.closed_early.count(*within),
            Fate::TimedOut => self.timed_out += 1,
            Fate::Invalid(_) => self.invalid += 1,
            Fate::WrongLength { .. } => self.wrong_length += 1,
            Fate::Unfinished => self.unfinished += 1,
        }
    }

    fn count_status(&mut self, status: u16) {
        if self.recent.0 != status {
            self.settle();
            self.recent.0 = status;
        }
        self.recent.1 += 1;
    }

    /// Moves what is held back into the counts.
    pub(crate) fn settle(&mut self) {
        let (status, count) = std::mem::take(&mut self.recent);
        if count > 0 {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    /// Whole responses; after [`Tally::settle`].
    pub(crate) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests with a fate; equal to those begun once a run is over.
    pub(crate) fn ended(&self) -> u64 {
        self.answered()
            + self.refused
            + self.connect_timed_out
            + self.not_sent
            + self.reset.total()
            + self.closed_early.total()
            + self.timed_out
            + self.invalid
            + self.wrong_length
            + self.unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Fate {
        Fate::Answered(Answer { status, body_bytes: 0, reusable: true })
    }

    fn every_fate() -> Vec<Fate> {
        vec![
            answered(200),
            answered(200),
            answered(503),
            answered(200),
            Fate::Refused,
            Fate::ConnectTimedOut,
            Fate::NotSent("no descriptor".into()),
            Fate::Reset { within: false },
            Fate::Reset { within: true },
            Fate::ClosedEarly { within: false },
            Fate::ClosedEarly { within: true },
            Fate::TimedOut,
            Fate::Invalid("bytes follow the response".into()),
            Fate::WrongLength { bytes: 3 },
            Fate::Unfinished,
        ]
    }

    #[test]
    fn fates_add_up_and_lost_are_those_that_a_server_took_and_did_not_answer() {
        let mut tally = Tally::default();
        for fate in every_fate() {
            tally.begun += 1;
            tally.end(&fate, Duration::from_millis(1));
        }
        tally.settle();
        assert_eq!(tally.ended(), tally.begun);
        assert_eq!(tally.statuses, BTreeMap::from([(200, 3), (503, 1)]));
        assert_eq!(tally.lost, 7);
        assert_eq!(tally.reset, Broken { before_response: 1, within_response: 1 });
        assert_eq!(tally.latency.len(), 4, "latencies of answers only");
    }

    #[test]
    fn whatever_is_lost_has_words_for_it() {
        for fate in every_fate() {
            assert!(!fate.is_lost() || fate.failure().is_some(), "{fate:?}");
        }
        assert_eq!(answered(404).failure(), None);
        assert_eq!(answered(502).failure().as_deref(), Some("answered 502"));
    }
}
