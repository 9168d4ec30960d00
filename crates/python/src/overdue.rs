//! Limits of time for single requests, applied by the worker itself whenever its loop comes round.
//!
//! A request that is slow has its stack logged once. One that is overdue is answered for its app,
//! and broken off: an exception in its greenlet or thread, a cancelled task. Who does not let itself
//! be broken off is the master's matter, and so is all of this in a `sync` worker, whose loop does
//! not come round meanwhile.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use remuda_channel::{WorkerClass, WorkerPlan};
use remuda_front::Exchange;
use remuda_front::http::{Method, Uri};
use remuda_journal::Level;
use remuda_scoreboard::{Ticket, now_ns};

use crate::serving::Serving;
use crate::wsgi::describe;

pyo3::create_exception!(
    remuda,
    RequestTimeout,
    pyo3::exceptions::PyBaseException,
    "Raised into a request that has run for longer than it may."
);

/// The time of one request.
pub(crate) struct Clock {
    ticket: Ticket,
    put_off_ns: Cell<u64>,
    /// The app is done with it.
    over: Cell<bool>,
    told_slow: Cell<bool>,
    broken_off: Cell<bool>,
}

impl Clock {
    pub(crate) fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            put_off_ns: Cell::default(),
            over: Cell::default(),
            told_slow: Cell::default(),
            broken_off: Cell::default(),
        }
    }

    /// Its limits count from so much later; in vain when it is over.
    fn put_off(&self, serving: &Serving, length_ns: u64) {
        if !self.over.get() {
            self.put_off_ns.set(self.put_off_ns.get().saturating_add(length_ns));
            serving.line.put_off(self.ticket, length_ns);
        }
    }

    /// What the app calls as `remuda.extend_timeout`.
    pub(crate) fn extend(&self, serving: &Serving, seconds: f64) -> PyResult<()> {
        let length = Duration::try_from_secs_f64(seconds).map_err(|_| {
            PyValueError::new_err(format!("seconds must be a number from 0 up, not {seconds}"))
        })?;
        if serving.flights.is_sync && !self.over.get() {
            serving.front.put_off(length);
        }
        self.put_off(serving, u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        Ok(())
    }

    pub(crate) fn end(&self) {
        self.over.set(true);
    }

    pub(crate) fn is_broken_off(&self) -> bool {
        self.broken_off.get()
    }

    fn age_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.ticket.start_ns().saturating_add(self.put_off_ns.get()))
    }
}

/// A request that limits apply to.
pub(crate) trait Flight {
    fn clock(&self) -> &Clock;
    fn name(&self) -> RequestName;
    /// Where its code is now, as a traceback.
    fn stack(&self, py: Python<'_>) -> PyResult<String>;
    /// The client has its whole response, and the app goes on by itself.
    fn is_answered(&self) -> bool;
    /// Answers for the app, and makes it stop; true when the worker should be replaced afterwards.
    fn break_off(&self, py: Python<'_>) -> PyResult<bool>;
}

/// `GET /path`, for the log.
#[derive(Clone)]
pub(crate) struct RequestName(Method, Uri);

impl RequestName {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        Self(exchange.head.method.clone(), exchange.head.uri.clone())
    }
}

impl std::fmt::Display for RequestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// The requests that limits apply to; none when there is no limit.
pub(crate) struct Flights {
    /// One request at a time, in a loop that does not come round meanwhile.
    is_sync: bool,
    request_timeout_ns: Option<u64>,
    slow_ns: Option<u64>,
    watched: RefCell<Vec<Option<Rc<dyn Flight>>>>,
    free: RefCell<Vec<usize>>,
    looked_ns: Cell<u64>,
}

/// A loop that comes round more seldom than this stood still, or the whole machine did.
const GAP_MAX_NS: u64 = 2_000_000_000;
/// Longer than any request.
const FOR_EVER_NS: u64 = u64::MAX / 4;

impl Flights {
    pub(crate) fn new(plan: &WorkerPlan) -> Self {
        let is_sync = plan.worker_class == WorkerClass::Sync;
        let limit = |seconds: f64| (seconds > 0.0 && !is_sync).then_some((seconds * 1e9) as u64);
        Self {
            is_sync,
            request_timeout_ns: limit(plan.request_timeout_s),
            slow_ns: limit(plan.slow_request_log_s),
            watched: RefCell::default(),
            free: RefCell::default(),
            looked_ns: Cell::new(now_ns()),
        }
    }

    /// Whether there is a limit to apply.
    pub(crate) fn are_watched(&self) -> bool {
        self.request_timeout_ns.is_some() || self.slow_ns.is_some()
    }

    /// Applies the limits to a request until it is forgotten.
    pub(crate) fn watch(&self, flight: Rc<dyn Flight>) -> usize {
        let mut watched = self.watched.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(place) => {
                watched[place] = Some(flight);
                place
            }
            None => {
                watched.push(Some(flight));
                watched.len() - 1
            }
        }
    }

    /// The request is over; its place is anybody's.
    pub(crate) fn forget(&self, place: usize) {
        let gone = self.watched.borrow_mut()[place].take();
        self.free.borrow_mut().push(place);
        // After the borrows have ended: it may be the last to hold objects of Python.
        drop(gone);
    }

    /// Applies the limits. No borrow is held while Python runs.
    pub(crate) fn look(&self, py: Python<'_>, serving: &Serving) {
        if !self.are_watched() {
            return;
        }
        let now = now_ns();
        let gap = now.saturating_sub(self.looked_ns.replace(now));
        let watched: Vec<_> = self.watched.borrow().iter().flatten().cloned().collect();
        for flight in watched {
            let clock = flight.clock();
            if gap > GAP_MAX_NS {
                // Who could not run shall not be blamed for it.
                clock.put_off(serving, gap.min(clock.age_ns(now)));
            }
            if !clock.over.get() {
                self.judge(py, serving, &*flight, clock.age_ns(now));
            }
        }
    }

    fn judge(&self, py: Python<'_>, serving: &Serving, flight: &dyn Flight, age_ns: u64) {
        let clock = flight.clock();
        let is_over = |limit: Option<u64>| limit.is_some_and(|limit| age_ns >= limit);
        if is_over(self.request_timeout_ns) && !clock.broken_off.get() {
            if flight.is_answered() {
                return clock.put_off(serving, FOR_EVER_NS);
            }
            clock.broken_off.set(true);
            tell(py, serving, Level::Error, "REQUEST TIMEOUT", flight, age_ns);
            match flight.break_off(py) {
                Ok(true) => serving.say(remuda_channel::FromWorker::Spent),
                Ok(false) => {}
                Err(error) => serving.report_failure(&flight.name(), &describe(py, &error)),
            }
        } else if is_over(self.slow_ns) && !clock.told_slow.replace(true) {
            tell(py, serving, Level::Warning, "Slow request", flight, age_ns);
        }
    }
}

fn tell(
    py: Python<'_>,
    serving: &Serving,
    level: Level,
    what: &str,
    flight: &dyn Flight,
    age_ns: u64,
) {
    let stack = flight.stack(py).unwrap_or_else(|error| describe(py, &error));
    let (pid, name, seconds) = (std::process::id(), flight.name(), age_ns as f64 / 1e9);
    serving.log(level, &format!("{what} (pid:{pid}) {name} for {seconds:.1}s\n{stack}"));
}
