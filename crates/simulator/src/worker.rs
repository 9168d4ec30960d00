//! What a worker does by itself: boot, accept, serve, say that it is spent, drain, leave.

use std::time::Duration;

use remuda_channel::{FromWorker, ToWorker};
use remuda_supervisor::{Ending, Tick, WorkerId};

use crate::dice::{Subject, between, millis_between};
use crate::fault::{Code, WorkerFault};
use crate::process::{Accepts, InFlight, Process, Serial, WorkerLife};
use crate::shell::Letter;
use crate::world::{BEGINNING, Deed, Happening, Master, World};

/// Requests that a loop runs at one time.
const LOOP_REQUESTS_MAX: usize = 4;
/// A worker tells of modules that it has imported late after so many requests: so many more than
/// those who lived before it.
const LEARNED_AFTER: u64 = 3;
const LEARNED_EACH: u32 = 4;
/// One that waits to be told to serve says so often that it is ready.
const ASKS_EVERY: Duration = Duration::from_secs(1);
/// Requests go on so long after the faults, then no more come.
const TRAFFIC_AFTER_CALM: Duration = Duration::from_secs(5);

impl<M: Master> World<'_, M> {
    pub(crate) fn worker_acts(&mut self, serial: Serial, deed: &Deed) {
        match deed {
            Deed::Boot => self.worker_has_booted(serial),
            Deed::AskToServe => self.ask_to_serve(serial),
            Deed::FinishRequest(request) => self.finish_request(serial, *request),
            Deed::Listen => self.listen(serial),
            Deed::Leave => self.leave_when_done(serial),
            _ => {}
        }
    }

    fn life(&mut self, serial: Serial) -> Option<&mut WorkerLife> {
        self.kernel.find_mut(serial)?.worker_mut()
    }

    fn worker_has_booted(&mut self, serial: Serial) {
        let Some(life) = self.life(serial) else { return };
        let id = life.id;
        // Nobody begins before the master knows its number, nor when it never will.
        match self.shell.links.get(&id).map(|link| link.pid) {
            None => return self.end(serial, Ending::Exited(0)),
            Some(None) => return self.wait_to_begin(serial),
            Some(Some(_)) => {}
        }
        let Some(life) = self.life(serial) else { return };
        let ends = life.faults.iter().find_map(|fault| match *fault {
            WorkerFault::BootEnds(ending) => Some(ending),
            _ => None,
        });
        match (life.code, ends) {
            (_, Some(ending)) | (Code::BootDies(ending), None) => return self.end(serial, ending),
            (Code::BootHangs, None) => return,
            _ if life.has(WorkerFault::BootHangs) => return,
            _ => {}
        }
        let code = life.code;
        let faults = life.faults.clone();
        let now = self.now;
        if let Some(life) = self.life(serial) {
            life.ready_at = Some(now);
        }
        for fault in faults {
            match fault {
                WorkerFault::Ends(after, ending) => self.act(serial, after, Deed::End(ending)),
                WorkerFault::Grandchildren(count) => self.adopt_strangers(count, Some(serial)),
                _ => {}
            }
        }
        if let Code::ServingDies(after, ending) = code {
            let mut rng = self.dice.of(Subject::Leave, id.0);
            let after = between(&mut rng, after / 2, after * 2);
            self.act(serial, after, Deed::End(ending));
        }
        self.ask_to_serve(serial);
        self.listen(serial);
    }

    /// Again and again: its word, or the answer, may be lost.
    fn ask_to_serve(&mut self, serial: Serial) {
        let Some(life) = self.life(serial) else { return };
        if life.accepts == Accepts::NotYet {
            let id = life.id;
            self.act(serial, ASKS_EVERY, Deed::AskToServe);
            self.say(serial, Letter::Worker(id, FromWorker::Ready.as_bytes().to_vec()));
        }
    }

    fn wait_to_begin(&mut self, serial: Serial) {
        if let Some(life) = self.life(serial) {
            life.waits = true;
        }
    }

    /// The master knows its number, or has closed its channel.
    pub(crate) fn begin(&mut self, id: WorkerId) {
        let Some(process) = self.kernel.worker_mut(id) else { return };
        let serial = process.serial;
        if process.worker_mut().is_some_and(|life| std::mem::take(&mut life.waits)) {
            self.act(serial, Duration::ZERO, Deed::Boot);
        }
    }

    /// Reads what the master said; the end of the channel is a word, too.
    pub(crate) fn listen(&mut self, serial: Serial) {
        let is_sync = self.is_sync();
        let Some(process) = self.kernel.find_mut(serial) else { return };
        let farewell = process.told.farewell.is_some();
        let Some(life) = process.worker_mut() else { return };
        if !life.is_awake(is_sync) {
            return;
        }
        let id = life.id;
        let ignores = life.has(WorkerFault::IgnoresDrain);
        let inbox = match self.shell.links.get_mut(&id) {
            Some(link) => std::mem::take(&mut link.inbox),
            None => std::collections::VecDeque::new(),
        };
        let Some(life) = self.life(serial) else { return };
        for word in inbox {
            let takes_none_yet = life.accepts == Accepts::NotYet;
            match ToWorker::try_from(&word[..]) {
                Ok(ToWorker::Serve) if takes_none_yet => life.accepts = Accepts::All,
                Ok(ToWorker::Drain | ToWorker::HandOver) if !ignores => {
                    life.accepts = Accepts::Nothing
                }
                Ok(ToWorker::DrainQueue)
                    if !ignores && (takes_none_yet || life.accepts == Accepts::All) =>
                {
                    life.accepts = Accepts::Queue;
                }
                _ => {}
            }
        }
        let is_told_to_drain =
            |life: &WorkerLife| matches!(life.accepts, Accepts::Queue | Accepts::Nothing);
        let obeys = is_told_to_drain(life);
        if farewell && !ignores {
            life.accepts = Accepts::Nothing;
        }
        let is_closed = is_told_to_drain(life);
        if obeys && !life.told_so {
            life.told_so = true;
            self.say(serial, Letter::Worker(id, FromWorker::Draining.as_bytes().to_vec()));
        }
        self.accept(serial);
        if is_closed {
            self.go_when_done(serial);
        }
    }

    /// Takes what waits, as far as it has room.
    pub(crate) fn accept(&mut self, serial: Serial) {
        let is_sync = self.is_sync();
        let room = if is_sync { 1 } else { LOOP_REQUESTS_MAX };
        loop {
            let now = self.now;
            let Some(process) = self.kernel.find(serial) else { return };
            let can = process.is_alive() && process.stopped_until <= now;
            let Some(life) = process.worker().filter(|_| can) else { return };
            let takes = matches!(life.accepts, Accepts::All | Accepts::Queue) && !life.leaving;
            if !takes || !life.is_awake(is_sync) || life.requests.len() >= room {
                return;
            }
            let Some(request) = self.queue.pop_front() else { return };
            self.begin_request(serial, request);
        }
    }

    fn begin_request(&mut self, serial: Serial, request: u64) {
        self.census.requests += 1;
        let (now, is_sync) = (self.now, self.is_sync());
        let Some(life) = self.life(serial) else { return };
        life.begun += 1;
        let nth = life.begun;
        let by_fault = life.faults.iter().find_map(|fault| match *fault {
            WorkerFault::Hangs { request, in_c } if request == nth => Some(in_c),
            _ => None,
        });
        let by_code = (life.code == Code::RequestsHang && nth.is_multiple_of(10)).then_some(false);
        let hangs = by_fault.or(by_code);
        life.requests.insert(request, InFlight { began: now, hangs });
        if hangs.is_some() {
            if !is_sync {
                life.loop_hung_since.get_or_insert(now);
            }
            return;
        }
        let mut rng = self.dice.of(Subject::Request, request);
        let typical = self.script.request;
        let takes = match rng.u8(..20) {
            0 => typical * 30,
            1..=3 => typical * 5,
            _ => between(&mut rng, typical / 5, typical * 3 / 2),
        };
        self.act(serial, takes, Deed::FinishRequest(request));
    }

    fn finish_request(&mut self, serial: Serial, request: u64) {
        let Some(life) = self.life(serial) else { return };
        if life.loop_hung_since.is_some() {
            life.stalled.push(request);
            return;
        }
        if life.requests.remove(&request).is_none() {
            return;
        }
        life.served += 1;
        let (id, served) = (life.id, life.served);
        let spent = served == life.max_requests;
        self.census.answered += 1;
        if served == LEARNED_AFTER {
            self.say(serial, Letter::Learned(id.0 as u32 * LEARNED_EACH));
        }
        if spent {
            self.say(serial, Letter::Worker(id, FromWorker::Spent.as_bytes().to_vec()));
        }
        self.listen(serial);
        self.accept(serial);
        self.go_when_done(serial);
    }

    fn go_when_done(&mut self, serial: Serial) {
        let queue_is_empty = self.queue.is_empty();
        let Some(life) = self.life(serial) else { return };
        let is_done = match life.accepts {
            Accepts::NotYet | Accepts::All => false,
            Accepts::Queue => queue_is_empty,
            Accepts::Nothing => true,
        };
        if is_done && life.requests.is_empty() && !life.leaving {
            life.leaving = true;
            let mut rng = self.dice.of(Subject::Leave, serial.0);
            let takes = millis_between(&mut rng, 0, 40);
            self.act(serial, takes, Deed::Leave);
        }
    }

    fn leave_when_done(&mut self, serial: Serial) {
        self.end(serial, Ending::Exited(0));
    }

    /// QUIT: out at once, whatever is in flight; not before the handlers are installed, and not
    /// out of C code.
    pub(crate) fn quit_worker(&mut self, serial: Serial) {
        let Some(life) = self.life(serial) else { return };
        let hangs_in_c = life.requests.values().any(|request| request.hangs == Some(true));
        if life.ready_at.is_some() && !hangs_in_c && !life.has(WorkerFault::IgnoresQuit) {
            self.act(serial, Duration::from_millis(2), Deed::End(Ending::Exited(0)));
        }
    }

    /// ABRT: breaks out of a hang in Python code, and drains.
    pub(crate) fn abort_worker(&mut self, serial: Serial) {
        let (is_sync, now) = (self.is_sync(), self.now);
        let Some(process) = self.kernel.find_mut(serial) else { return };
        if process.stopped_until > now {
            return;
        }
        let Some(life) = process.worker_mut() else { return };
        let hangs_in_c = life.requests.values().any(|request| request.hangs == Some(true));
        if life.ready_at.is_none() || hangs_in_c {
            return;
        }
        life.accepts = Accepts::Nothing;
        life.loop_hung_since = None;
        // A sync worker's request is broken off even if it only takes long.
        let broken: Vec<u64> = life
            .requests
            .iter()
            .filter(|(_, request)| is_sync || request.hangs.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in &broken {
            life.requests.remove(id);
        }
        let stalled = std::mem::take(&mut life.stalled);
        self.census.lost_by_force += broken.len() as u64;
        for request in stalled {
            self.act(serial, Duration::ZERO, Deed::FinishRequest(request));
        }
        self.go_when_done(serial);
    }

    /// A client sends a request; the next one follows.
    pub(crate) fn arrive(&mut self, nth: u64) {
        if self.handed_over {
            self.held_back = Some(nth);
            return;
        }
        if self.gate_closed || self.now >= BEGINNING + self.script.calm + TRAFFIC_AFTER_CALM {
            return;
        }
        self.queue.push_back(nth);
        let all: Vec<Serial> = self.kernel.living().filter_map(serial_of_worker).collect();
        let first = self.dice.of(Subject::Order, nth).usize(..all.len().max(1));
        for at in 0..all.len() {
            self.accept(all[(first + at) % all.len()]);
        }
        let mean = self.script.arrivals;
        let pause = between(&mut self.dice.of(Subject::Arrival, nth), mean / 4, mean * 7 / 4);
        self.put(self.now + pause, Happening::Arrival(nth + 1));
    }
}

fn serial_of_worker(process: &Process) -> Option<Serial> {
    process.worker().map(|_| process.serial)
}

impl WorkerLife {
    /// When the loop last came round: every `beat_period` since it was ready, or since the process
    /// went on after it had stood still.
    pub(crate) fn beat(&self, now: Tick) -> Tick {
        let ready = self.ready_at.unwrap_or(now);
        let (mut base, mut horizon) = (ready, self.loop_hung_since.unwrap_or(now));
        if let Some((from, until)) = self.thaw {
            if now < until {
                horizon = horizon.min(from);
            } else if horizon >= until {
                base = ready.max(until);
            } else if horizon > from {
                horizon = from;
            }
        }
        let period = u64::try_from(self.beat_period().as_nanos()).unwrap_or(u64::MAX).max(1);
        let rounds = horizon.0.saturating_sub(base.0) / period;
        Tick(base.0 + rounds * period)
    }
}
