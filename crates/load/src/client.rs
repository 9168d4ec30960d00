//! The loop: who sends when, on which connection, and what became of it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::account::{Fate, record};
use crate::arrivals::Arrivals;
use crate::books::{Books, Flight};
use crate::connection::{Connection, Idle, Step};
use crate::plan::{Mix, Pace, Plan, Slow};
use crate::report::Report;

/// Why a run did not begin or broke off.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target is somewhere else.
    #[error("{0} is not a loopback address; load goes to this machine only")]
    NotLoopback(std::net::SocketAddr),
    /// The kernel refuses what the loop needs.
    #[error("cannot set up the event loop")]
    EventLoop(#[from] Errno),
}

/// A place for one connection.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    flight: Option<Flight>,
    /// Of the connection, so that an event for its predecessor is known as such.
    serial: u32,
}

struct Client<'a> {
    plan: &'a Plan,
    stopping: &'a AtomicBool,
    epoll: Epoll,
    timer: TimerFd,
    slots: Vec<Slot>,
    /// Slots from here on belong to slow clients.
    slow_from: usize,
    /// Slots without a request, longest idle first (open loop).
    free: VecDeque<usize>,
    /// Due, but all connections are busy (open loop).
    waiting: VecDeque<Flight>,
    /// Slots that met a refusal, until when (closed loop).
    resting: VecDeque<(Instant, usize)>,
    arrivals: Option<Arrivals>,
    mix: Mix,
    in_flight: usize,
    begun: Instant,
    /// No request begins after this.
    end: Instant,
    swept: Instant,
    slow_steps: u64,
    scratch: Vec<u8>,
    books: Books,
}

const TIMER: u64 = u64::MAX;
const SCRATCH_BYTES: usize = 256 * 1024;
/// Between two looks for requests that are out of time.
const SWEEP: Duration = Duration::from_millis(50);
/// A refused connection is tried again after this, in the closed loop.
const REST: Duration = Duration::from_millis(20);

/// Does what the plan says; returns earlier when `stopping` becomes true, with all requests ended.
///
/// # Errors
///
/// [`RunError`]; what the server does is no error but in the report.
pub fn run(plan: &Plan, stopping: &AtomicBool) -> Result<Report, RunError> {
    if !plan.address.ip().is_loopback() {
        return Err(RunError::NotLoopback(plan.address));
    }
    let mut client = Client::new(plan, stopping)?;
    client.start();
    while !client.is_done() {
        client.turn()?;
    }
    Ok(client.report())
}

impl<'a> Client<'a> {
    fn new(plan: &'a Plan, stopping: &'a AtomicBool) -> Result<Self, RunError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER);
        epoll.add(timer.as_fd(), event)?;
        let slow = plan.slow.map_or(0, |slow| slow.connections.min(plan.connections));
        let begun = Instant::now();
        let arrivals = match plan.pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(Arrivals::new(begun, per_second)),
        };
        Ok(Self {
            plan,
            stopping,
            epoll,
            timer,
            slots: (0..plan.connections).map(|_| Slot::default()).collect(),
            slow_from: plan.connections - slow,
            free: VecDeque::new(),
            waiting: VecDeque::new(),
            resting: VecDeque::new(),
            arrivals,
            mix: Mix::new(&plan.targets),
            in_flight: 0,
            begun,
            end: begun + plan.duration,
            swept: begun,
            slow_steps: 0,
            scratch: vec![0; SCRATCH_BYTES],
            books: Books::new(plan, begun),
        })
    }

    fn start(&mut self) {
        let now = self.begun;
        if self.arrivals.is_some() {
            self.free.extend(0..self.slow_from);
        } else {
            (0..self.slow_from).for_each(|slot| self.begin(slot, now));
        }
    }

    fn may_begin(&self, now: Instant) -> bool {
        now < self.end
            && self.books.begun() < self.plan.requests
            && !self.stopping.load(Ordering::Relaxed)
    }

    fn is_done(&self) -> bool {
        // Slow clients begin by their own clock, and are not waited for.
        self.in_flight == 0 && self.waiting.is_empty() && !self.may_begin(Instant::now())
    }

    fn turn(&mut self) -> Result<(), RunError> {
        let mut events = [EpollEvent::empty(); 256];
        let timeout = self.set_timer()?;
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() != TIMER {
                self.event(event.data());
            }
        }
        let now = Instant::now();
        self.release_arrivals(now);
        self.end_rests(now);
        self.step_slow_clients(now);
        if now.duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.expire(now);
        }
        Ok(())
    }

    /// epoll counts in milliseconds, which is too coarse for arrivals: a timer wakes us for those.
    fn set_timer(&self) -> Result<EpollTimeout, RunError> {
        let mut wake = None;
        if let Some(arrivals) = &self.arrivals
            && self.may_begin(arrivals.next_due())
        {
            wake = Some(arrivals.next_due());
        }
        if let Some(next) = self.next_slow_step() {
            wake = Some(wake.map_or(next, |wake| wake.min(next)));
        }
        let Some(wake) = wake else { return Ok(EpollTimeout::from(20_u8)) };
        let pause = wake.saturating_duration_since(Instant::now());
        if pause.is_zero() {
            return Ok(EpollTimeout::ZERO);
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(pause));
        self.timer.set(once, TimerSetTimeFlags::empty())?;
        Ok(EpollTimeout::from(20_u8))
    }

    // --- sending ---------------------------------------------------------------------------------

    /// A new request for a slot whose connection is free.
    fn begin(&mut self, slot: usize, due: Instant) {
        if self.may_begin(due) {
            let flight = self.books.begin(self.mix.next(), due, slot >= self.slow_from);
            self.launch(slot, flight);
        } else {
            self.slots[slot].connection = None;
        }
    }

    /// Sends a request on the slot's connection, or on a new one.
    fn launch(&mut self, slot: usize, flight: Flight) {
        self.in_flight += usize::from(!flight.slow);
        let target = &self.plan.targets[flight.target].request;
        let number = flight.number;
        self.slots[slot].flight = Some(flight);
        if self.slots[slot].connection.as_ref().is_some_and(Connection::has_ended) {
            self.slots[slot].connection = None;
            self.books.closed_while_idle += 1;
        }
        if self.slots[slot].connection.is_none()
            && let Err(fate) = self.open(slot)
        {
            return self.finish(slot, fate);
        }
        let place = &mut self.slots[slot];
        let Some(connection) = &mut place.connection else { return };
        connection.begin(target, number);
        if slot < self.slow_from {
            let step = connection.send(target, &mut self.scratch);
            self.apply(slot, step);
        }
    }

    fn open(&mut self, slot: usize) -> Result<(), Fate> {
        let slow = if slot < self.slow_from { None } else { self.plan.slow };
        let connection = Connection::open(self.plan.address, slow).map_err(|error| {
            if error.kind() == ErrorKind::ConnectionRefused {
                Fate::Refused
            } else {
                Fate::NotSent(error.to_string())
            }
        })?;
        let place = &mut self.slots[slot];
        place.serial = place.serial.wrapping_add(1);
        if slow.is_none() {
            let flags = EpollFlags::EPOLLIN
                | EpollFlags::EPOLLOUT
                | EpollFlags::EPOLLRDHUP
                | EpollFlags::EPOLLET;
            let event = EpollEvent::new(flags, u64::from(place.serial) << 32 | slot as u64);
            self.epoll
                .add(connection.stream.as_fd(), event)
                .map_err(|error| Fate::NotSent(io::Error::from(error).to_string()))?;
        }
        place.connection = Some(connection);
        self.books.connections_opened += 1;
        Ok(())
    }

    // --- receiving -------------------------------------------------------------------------------

    fn event(&mut self, data: u64) {
        let (slot, serial) = ((data & 0xffff_ffff) as usize, (data >> 32) as u32);
        let place = &mut self.slots[slot];
        let Some(connection) = place.connection.as_mut().filter(|_| place.serial == serial) else {
            return;
        };
        match &place.flight {
            Some(flight) => {
                let request = &self.plan.targets[flight.target].request;
                let step = connection.ready(request, &mut self.scratch);
                self.apply(slot, step);
            }
            None => {
                if let Idle::Closed = connection.idle(&mut self.scratch) {
                    place.connection = None;
                    self.books.closed_while_idle += 1;
                }
            }
        }
    }

    fn apply(&mut self, slot: usize, step: Step) {
        self.note_progress(slot);
        let place = &mut self.slots[slot];
        match step {
            Step::Waiting => {}
            Step::Answered(answer) => {
                let expected = self.plan.expect_bytes.filter(|_| answer.status / 100 == 2);
                let fate = match expected {
                    Some(bytes) if bytes != answer.body_bytes => {
                        Fate::WrongLength { bytes: answer.body_bytes }
                    }
                    _ => Fate::Answered(answer),
                };
                match &mut place.connection {
                    Some(connection) if answer.reusable && self.plan.keep_alive => {
                        connection.keep()
                    }
                    _ => place.connection = None,
                }
                self.finish(slot, fate);
            }
            Step::Unread => {
                note_port(place);
                place.connection = None;
                let Some(mut flight) = place.flight.take() else { return };
                self.in_flight -= usize::from(!flight.slow);
                flight.sent_again = true;
                self.books.note_sent_again(self.plan, &mut flight);
                self.launch(slot, flight);
            }
            Step::Failed(fate) => {
                note_port(place);
                place.connection = None;
                self.finish(slot, fate);
            }
        }
    }

    fn note_progress(&mut self, slot: usize) {
        let place = &mut self.slots[slot];
        if let (Some(connection), Some(flight)) = (&place.connection, &mut place.flight) {
            flight.sent |= connection.has_sent();
            flight.kept = connection.is_kept();
        }
    }

    /// The slot's request has met its fate; the slot is free.
    fn finish(&mut self, slot: usize, fate: Fate) {
        let now = Instant::now();
        let Some(flight) = self.slots[slot].flight.take() else { return };
        self.in_flight -= usize::from(!flight.slow);
        self.books.end(self.plan, &flight, &fate, now);
        if flight.slow {
            return;
        }
        if self.arrivals.is_some() {
            match self.waiting.pop_front() {
                Some(waiting) => self.launch(slot, waiting),
                None => self.free.push_back(slot),
            }
        } else if matches!(fate, Fate::Refused | Fate::ConnectTimedOut | Fate::NotSent(_)) {
            self.resting.push_back((now + REST, slot));
        } else {
            self.begin(slot, now);
        }
    }

    // --- time ------------------------------------------------------------------------------------

    fn release_arrivals(&mut self, now: Instant) {
        while let Some(arrivals) = &mut self.arrivals
            && let due = arrivals.next_due()
            && self.may_begin(due)
            && let Some(due) = self.arrivals.as_mut().and_then(|arrivals| arrivals.take(now))
        {
            let flight = self.books.begin(self.mix.next(), due, false);
            match self.free.pop_front() {
                Some(slot) => {
                    record(&mut self.books.lateness, Instant::now().duration_since(due));
                    self.launch(slot, flight);
                }
                None => self.waiting.push_back(flight),
            }
        }
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some(&(until, slot)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.begin(slot, now);
        }
    }

    /// Slow clients take their steps one after the other, spread over the pause.
    fn slow_step_at(&self, slow: Slow, step: u64) -> Instant {
        let clients = (self.slots.len() - self.slow_from).max(1);
        self.begun + slow.pause.mul_f64(step as f64 / clients as f64)
    }

    fn next_slow_step(&self) -> Option<Instant> {
        let slow = self.plan.slow.filter(|_| self.slow_from < self.slots.len())?;
        Some(self.slow_step_at(slow, self.slow_steps))
    }

    fn step_slow_clients(&mut self, now: Instant) {
        while let Some(next) = self.next_slow_step()
            && next <= now
            && let Some(slow) = self.plan.slow
        {
            let clients = self.slots.len() - self.slow_from;
            let slot = self.slow_from + (self.slow_steps % clients as u64) as usize;
            self.slow_steps += 1;
            if self.slots[slot].flight.is_none() {
                self.begin(slot, now);
            }
            let place = &mut self.slots[slot];
            if let (Some(connection), Some(flight)) = (&mut place.connection, &place.flight) {
                let request = &self.plan.targets[flight.target].request;
                let step = connection.step(request, slow, &mut self.scratch);
                self.apply(slot, step);
            }
        }
    }

    /// Ends what is out of time.
    fn expire(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let place = &mut self.slots[slot];
            if let Some(flight) = &place.flight
                && now.duration_since(flight.due) >= self.plan.timeout
            {
                let fate = if flight.sent { Fate::TimedOut } else { Fate::ConnectTimedOut };
                note_port(place);
                place.connection = None;
                self.finish(slot, fate);
            }
        }
        while let Some(flight) = self.waiting.front()
            && now.duration_since(flight.due) >= self.plan.timeout
            && let Some(flight) = self.waiting.pop_front()
        {
            let fate = Fate::NotSent("no connection was free in time".to_owned());
            self.books.end(self.plan, &flight, &fate, now);
        }
    }

    fn report(mut self) -> Report {
        let now = Instant::now();
        for slot in self.slow_from..self.slots.len() {
            if let Some(flight) = self.slots[slot].flight.take() {
                self.books.end(self.plan, &flight, &Fate::Unfinished, now);
            }
        }
        let sending = now.min(self.end).duration_since(self.begun);
        Report::new(self.plan, self.books, sending, now.duration_since(self.begun))
    }
}

/// Remembers which connection a request fails on, before that is gone.
fn note_port(place: &mut Slot) {
    if let (Some(connection), Some(flight)) = (&place.connection, &mut place.flight) {
        flight.port = connection.stream.local_addr().ok().map(|address| address.port());
    }
}
