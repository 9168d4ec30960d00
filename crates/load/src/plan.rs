//! What a run is to do: all units fixed, nothing optional left open.

use std::net::SocketAddr;
use std::time::Duration;

use crate::request::Request;
pub use crate::request::Shape;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A loopback address.
    pub address: SocketAddr,
    /// When requests are sent.
    pub pace: Pace,
    /// Connections at the same time, the slow ones included.
    pub connections: usize,
    /// Use a connection again.
    pub keep_alive: bool,
    /// What is asked for.
    pub targets: Vec<Target>,
    /// Clients that take their time.
    pub slow: Option<Slow>,
    /// No request begins after this.
    pub duration: Duration,
    /// No more requests than this begin.
    pub requests: u64,
    /// From the moment a request is due to the end of its response.
    pub timeout: Duration,
    /// What the body of each 2xx response is to have.
    pub expect_bytes: Option<u64>,
    /// Failures that the report describes one by one.
    pub failures_kept: usize,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as a connection has its answer.
    Closed,
    /// At a constant rate, whatever the server does.
    Open {
        /// Requests that fall due in a second.
        per_second: f64,
    },
}

/// One kind of request.
#[derive(Clone, Debug)]
pub struct Target {
    /// Path and query.
    pub path: String,
    /// Its share, against the weights of the others.
    pub weight: u32,
    pub(crate) request: Request,
}

impl Target {
    /// Requests of this shape for a path.
    #[must_use]
    pub fn new(path: &str, weight: u32, shape: &Shape) -> Self {
        Self { path: path.to_owned(), weight, request: Request::new(path, shape) }
    }
}

/// Clients that take their time, beside the others; each asks again and again.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    /// How many of the connections.
    pub connections: usize,
    /// Where they are slow.
    pub what: SlowWhat,
    /// Bytes that one of them sends or reads at a time.
    pub bytes: usize,
    /// The pause between two such steps.
    pub pause: Duration,
}

/// Where a slow client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SlowWhat {
    /// Sending: all of the request, from its first byte.
    Head,
    /// Sending the body; the head goes at once.
    Body,
    /// Reading the response.
    Read,
}

/// Takes targets in turn, each as often as its weight says, evenly mixed.
#[derive(Debug)]
pub(crate) struct Mix {
    weights: Vec<i64>,
    credit: Vec<i64>,
}

impl Mix {
    pub(crate) fn new(targets: &[Target]) -> Self {
        let weights: Vec<i64> = targets.iter().map(|target| i64::from(target.weight)).collect();
        Self { credit: vec![0; weights.len()], weights }
    }

    /// The index of the next target.
    pub(crate) fn next(&mut self) -> usize {
        if self.weights.len() == 1 {
            return 0;
        }
        let mut richest = 0;
        for (index, weight) in self.weights.iter().enumerate() {
            self.credit[index] += weight;
            if self.credit[index] > self.credit[richest] {
                richest = index;
            }
        }
        self.credit[richest] -= self.weights.iter().sum::<i64>();
        richest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_as_often_as_they_weigh_and_mixed() {
        let mut mix = Mix { weights: vec![3, 1], credit: vec![0, 0] };
        let order: Vec<usize> = (0..8).map(|_| mix.next()).collect();
        assert_eq!(order, [0, 0, 1, 0, 0, 0, 1, 0]);
    }
}
