//! The life of one worker: what it is in, what happens to it, what is asked because of it.
//!
//! In: inputs from [`Supervisor`](crate::Supervisor), which knows the pool. Out: actions. Whether
//! a worker is *wanted* is never asked here; `pool` and `settle` know that. A deadline is part
//! of the state that waits for it, so nothing has ever to be cancelled.

use std::time::Duration;

use crate::memory::Weight;
use crate::{
    Action, Cause, Ending, Generation, Limits, Line, Notice, Order, Pid, Plan, Signal, SlotId,
    Stood, Tick, WorkerId,
};

/// Where a worker is in its life.
///
/// ```text
///             Forked            Ready             Drain               Exited
///   Forking ─────────▶ Booting ───────▶ Serving ────────▶ Draining ───────────▶ Gone
///      │                  │                │                │                    ▲
///      │ Cancel, deadline │                └─ Hung ─┐ ┌─────┘ Hung, deadline     │
///      ▼                  │                         ▼ ▼                          │
///   Unwanted              │ Cancel,              Dumping                         │
///      │                  │ deadline                │ deadline                   │
///      │ Forked           │                         ▼                            │
///      │                  │                      Aborting                        │
///      │                  │                         │ deadline                   │
///      └────────────────▶ Dying ◀───────────────────┘ ───────────────────────────┘
///                          ▲         Quit (any with a process)          Exited
///                          └──── deadline ──── Quitting ◀──
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// The zygote was asked and has not answered.
    Forking {
        /// The zygote must have answered by then.
        deadline: Tick,
    },
    /// Asked for, but no longer wanted: killed as soon as its process is known.
    Unwanted {
        /// The zygote must have answered by then; `None` = it was killed for not answering.
        deadline: Option<Tick>,
        /// Why it is no longer wanted.
        cause: Cause,
    },
    /// Forked, and takes no request before it is told to: until then it may be killed without loss.
    Booting {
        /// Its process.
        pid: Pid,
        /// It must be ready by then.
        deadline: Tick,
    },
    /// Was told to take requests.
    Serving {
        /// Its process.
        pid: Pid,
        /// Since when.
        ready_at: Tick,
    },
    /// Told to finish what it holds and to leave.
    Draining {
        /// Its process.
        pid: Pid,
        /// It is killed then.
        deadline: Tick,
        /// Why it has to leave.
        cause: Cause,
    },
    /// Hung, or not done with draining in time; it writes its stacks into the log.
    Dumping {
        /// Its process.
        pid: Pid,
        /// It gets SIGABRT then.
        deadline: Tick,
        /// Which of the two.
        cause: Cause,
    },
    /// Has got SIGABRT, which breaks off its requests where Python can.
    Aborting {
        /// Its process.
        pid: Pid,
        /// It is killed then.
        deadline: Tick,
        /// As before.
        cause: Cause,
    },
    /// Sent SIGQUIT: the whole service leaves at once.
    Quitting {
        /// Its process.
        pid: Pid,
        /// It is killed then.
        deadline: Tick,
    },
    /// Killed; only the report of its exit is left to wait for.
    Dying {
        /// Its process.
        pid: Pid,
        /// Why it was killed.
        cause: Cause,
    },
    /// Reaped, or never born. The pool forgets it.
    Gone,
}

/// What may happen to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The zygote says which process it is.
    Forked(Pid),
    /// It could not be forked, or its zygote died before the answer.
    ForkFailed,
    /// It could take requests, and waits for our word.
    Ready,
    /// It has served its requests, or is to be replaced for another reason.
    Spent(Cause),
    /// It has read that it shall drain, and accepts nothing more.
    Drains,
    /// It has stood still, or a request of its has run, for too long.
    Hung { what: Stood, stood: Duration },
    /// It has stood still for long enough to show its stacks, since then.
    Slow { since: Tick, stood: Duration },
    /// A request of its has run for too long, and others have not.
    Overdue { stood: Duration },
    /// The deadline of its state has passed.
    DeadlinePassed,
    /// Not wanted any more, unless it already serves.
    Cancel(Cause),
    /// Shall finish and leave, if it serves.
    Drain { order: Order, cause: Cause, deadline: Tick },
    /// Shall leave at once, requests or not.
    Quit,
    /// Has had all the time that it gets.
    Kill(Cause),
    /// Its process was reaped.
    Exited(Ending),
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) slot: SlotId,
    pub(crate) line: Line,
    pub(crate) generation: Generation,
    pub(crate) asked_at: Tick,
    /// Those that it was told. It gives signs of life as often as they ask for, so shorter ones of
    /// later settings are not for it.
    pub(crate) limits: Limits,
    /// It is to be replaced, and why; it serves on until its successor is ready.
    pub(crate) spent: Option<Cause>,
    /// It has said that it accepts nothing more.
    pub(crate) drains: bool,
    /// Time that it may serve; `None` = any.
    pub(crate) lifetime: Option<Duration>,
    /// Its memory, once it was measured while it served.
    pub(crate) weight: Option<Weight>,
    /// It leaves before its successor comes, for want of memory.
    pub(crate) makes_room: bool,
    /// It has shown its stacks for what has stood since then.
    pub(crate) slow_since: Option<Tick>,
    pub(crate) state: WorkerState,
}

impl Worker {
    /// Applies one input, and pushes what the runtime has to do because of it.
    ///
    /// A pair that is not named leaves the worker as it is: it lost a race that nobody can win
    /// for it. A worker may call itself ready or spent while it is being told to leave, and an
    /// operator may ask twice. The table in the tests shows all pairs.
    pub(crate) fn step(&mut self, input: Input, now: Tick, plan: &Plan, out: &mut Vec<Action>) {
        self.state = match input {
            Input::Exited(ending) => self.bury(ending, out),
            Input::Forked(pid) => self.on_forked(pid, now, plan, out),
            Input::ForkFailed => self.on_fork_failed(out),
            Input::Ready => self.on_ready(now, out),
            Input::Spent(cause) => {
                if self.is_under_way() || self.is_serving() {
                    self.spent.get_or_insert(cause);
                }
                self.state
            }
            Input::Drains => {
                // One that was not told so speaks nonsense.
                self.drains |= !self.is_serving() && !self.is_under_way();
                self.state
            }
            Input::Hung { what, stood } => self.on_hung((what, stood), now, plan, out),
            Input::Slow { since, stood } => self.on_slow(since, stood, out),
            Input::Overdue { stood } => self.on_overdue(stood, out),
            Input::DeadlinePassed => {
                if self.is_serving() {
                    self.spent.get_or_insert(Cause::Age);
                }
                self.on_deadline(now, plan, out)
            }
            Input::Cancel(_) | Input::Drain { .. } | Input::Quit | Input::Kill(_) => {
                self.on_order(input, now, plan, out)
            }
        };
    }

    fn on_forked(&self, pid: Pid, now: Tick, plan: &Plan, out: &mut Vec<Action>) -> WorkerState {
        match self.state {
            WorkerState::Forking { .. } => {
                out.push(self.forked(pid));
                WorkerState::Booting { pid, deadline: now + plan.boot_timeout }
            }
            WorkerState::Unwanted { cause, .. } => {
                out.push(self.forked(pid));
                kill(pid, cause, out)
            }
            state => {
                out.push(answered_twice());
                state
            }
        }
    }

    fn on_fork_failed(&self, out: &mut Vec<Action>) -> WorkerState {
        match self.state {
            WorkerState::Forking { .. } => {
                out.push(self.fork_failed());
                WorkerState::Gone
            }
            WorkerState::Unwanted { .. } => WorkerState::Gone,
            state => {
                out.push(answered_twice());
                state
            }
        }
    }

    fn on_ready(&self, now: Tick, out: &mut Vec<Action>) -> WorkerState {
        match self.state {
            WorkerState::Booting { pid, .. } => {
                let (worker, slot, took) = (self.id, self.slot, now.since(self.asked_at));
                out.push(Action::Report(Notice::WorkerReady { worker, slot, pid, took }));
                out.push(self.tell_to_serve());
                WorkerState::Serving { pid, ready_at: now }
            }
            // It has not heard us.
            WorkerState::Serving { .. } => {
                out.push(self.tell_to_serve());
                self.state
            }
            state => state,
        }
    }

    fn on_hung(
        &self,
        (what, stood): (Stood, Duration),
        now: Tick,
        plan: &Plan,
        out: &mut Vec<Action>,
    ) -> WorkerState {
        match self.state {
            WorkerState::Serving { pid, .. } | WorkerState::Draining { pid, .. } => {
                let (worker, slot) = (self.id, self.slot);
                let notice = Notice::WorkerHung { worker, slot, pid, what, stood };
                out.push(Action::Report(notice));
                self.dump(pid, Cause::Hang, now, plan, out)
            }
            state => state,
        }
    }

    fn dump(
        &self,
        pid: Pid,
        cause: Cause,
        now: Tick,
        plan: &Plan,
        out: &mut Vec<Action>,
    ) -> WorkerState {
        out.push(Action::DumpStacks { worker: self.id, pid });
        WorkerState::Dumping { pid, deadline: now + plan.dump_grace, cause }
    }

    /// Told once for what has stood since then.
    fn on_slow(&mut self, since: Tick, stood: Duration, out: &mut Vec<Action>) -> WorkerState {
        if let WorkerState::Serving { pid, .. } | WorkerState::Draining { pid, .. } = self.state
            && self.slow_since.replace(since) != Some(since)
        {
            let (worker, slot) = (self.id, self.slot);
            out.push(Action::Report(Notice::WorkerSlow { worker, slot, pid, stood }));
            out.push(Action::DumpStacks { worker, pid });
        }
        self.state
    }

    /// Replaced like one that has served its requests. One that drains has its deadline already.
    fn on_overdue(&mut self, stood: Duration, out: &mut Vec<Action>) -> WorkerState {
        if let WorkerState::Serving { pid, .. } = self.state
            && self.spent.is_none()
        {
            self.spent = Some(Cause::Recycle);
            let (worker, slot) = (self.id, self.slot);
            out.push(Action::Report(Notice::WorkerOverdue { worker, slot, pid, stood }));
        }
        self.state
    }

    /// The deadline of the state has passed.
    fn on_deadline(&self, now: Tick, plan: &Plan, out: &mut Vec<Action>) -> WorkerState {
        match self.state {
            // The zygote is killed for this (see `supervisor`); the line stays taken until its
            // exit, because a worker that was forked after all would write there.
            WorkerState::Forking { .. } => {
                out.push(self.fork_failed());
                WorkerState::Unwanted { deadline: None, cause: Cause::BootTimeout }
            }
            WorkerState::Unwanted { cause, .. } => WorkerState::Unwanted { deadline: None, cause },
            // A slow boot gets no grace: the worker holds no request yet, so killing it loses
            // nothing, while waiting keeps the slot empty for longer.
            WorkerState::Booting { pid, .. } => {
                out.push(self.boot_timed_out(pid));
                kill(pid, Cause::BootTimeout, out)
            }
            WorkerState::Draining { pid, .. } => {
                out.push(self.drain_timed_out(pid));
                self.dump(pid, Cause::DrainTimeout, now, plan, out)
            }
            WorkerState::Dumping { pid, cause, .. } => {
                out.push(Action::Send { pid, signal: Signal::Abort });
                WorkerState::Aborting { pid, deadline: now + plan.abort_grace, cause }
            }
            WorkerState::Aborting { pid, cause, .. } => kill(pid, cause, out),
            WorkerState::Quitting { pid, .. } => kill(pid, Cause::Stop, out),
            WorkerState::Serving { .. } | WorkerState::Dying { .. } | WorkerState::Gone => {
                self.state
            }
        }
    }

    /// The supervisor wants it to leave, in one of four tones.
    fn on_order(&self, order: Input, now: Tick, plan: &Plan, out: &mut Vec<Action>) -> WorkerState {
        use WorkerState::{
            Aborting, Booting, Draining, Dumping, Dying, Forking, Gone, Quitting, Serving, Unwanted,
        };

        match (self.state, order) {
            (Forking { deadline }, Input::Cancel(cause) | Input::Kill(cause)) => {
                Unwanted { deadline: Some(deadline), cause }
            }
            (Forking { deadline }, Input::Quit) => {
                Unwanted { deadline: Some(deadline), cause: Cause::Stop }
            }
            (Booting { pid, .. }, Input::Cancel(cause)) => kill(pid, cause, out),
            (Booting { pid, .. }, Input::Quit) => kill(pid, Cause::Stop, out),
            (Serving { pid, .. }, Input::Drain { order, cause, deadline }) => {
                out.push(Action::Tell { worker: self.id, order });
                out.push(self.draining(pid, cause));
                Draining { pid, deadline, cause }
            }
            // What it would hand over to others finds nobody any more when the service stops.
            (Draining { .. }, Input::Drain { order: order @ Order::DrainQueue, .. }) => {
                out.push(Action::Tell { worker: self.id, order });
                self.state
            }
            (
                Serving { pid, .. }
                | Draining { pid, .. }
                | Dumping { pid, .. }
                | Aborting { pid, .. },
                Input::Quit,
            ) => {
                out.push(Action::Send { pid, signal: Signal::Quit });
                Quitting { pid, deadline: now + plan.abort_grace }
            }
            (Unwanted { .. } | Dying { .. } | Gone, Input::Kill(_)) => self.state,
            (
                Booting { pid, .. }
                | Serving { pid, .. }
                | Draining { pid, .. }
                | Dumping { pid, .. }
                | Aborting { pid, .. }
                | Quitting { pid, .. },
                Input::Kill(cause),
            ) => kill(pid, cause, out),
            (state, _) => state,
        }
    }

    /// When this worker must be looked at again if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Tick> {
        match self.state {
            WorkerState::Forking { deadline, .. }
            | WorkerState::Booting { deadline, .. }
            | WorkerState::Draining { deadline, .. }
            | WorkerState::Dumping { deadline, .. }
            | WorkerState::Aborting { deadline, .. }
            | WorkerState::Quitting { deadline, .. } => Some(deadline),
            WorkerState::Unwanted { deadline, .. } => deadline,
            WorkerState::Serving { ready_at, .. } if self.spent.is_none() => {
                self.lifetime.map(|lifetime| ready_at + lifetime)
            }
            WorkerState::Serving { .. } | WorkerState::Dying { .. } | WorkerState::Gone => None,
        }
    }

    /// Its process, once it is known.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.state {
            WorkerState::Booting { pid, .. }
            | WorkerState::Serving { pid, .. }
            | WorkerState::Draining { pid, .. }
            | WorkerState::Dumping { pid, .. }
            | WorkerState::Aborting { pid, .. }
            | WorkerState::Quitting { pid, .. }
            | WorkerState::Dying { pid, .. } => Some(pid),
            WorkerState::Forking { .. } | WorkerState::Unwanted { .. } | WorkerState::Gone => None,
        }
    }

    /// The zygote owes us an answer about it.
    pub(crate) fn is_asked_for(&self) -> bool {
        matches!(self.state, WorkerState::Forking { .. } | WorkerState::Unwanted { .. })
    }

    /// On its way to serve.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.state, WorkerState::Forking { .. } | WorkerState::Booting { .. })
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serves_since().is_some()
    }

    /// It serves, or finishes what it holds.
    pub(crate) fn holds_requests(&self) -> bool {
        matches!(self.state, WorkerState::Serving { .. } | WorkerState::Draining { .. })
    }

    /// Since when it takes requests.
    pub(crate) fn serves_since(&self) -> Option<Tick> {
        match self.state {
            WorkerState::Serving { ready_at, .. } => Some(ready_at),
            _ => None,
        }
    }

    /// It may still take a new connection: it serves, or will, or has not read that it shall not.
    /// Whoever was killed, or will be, takes nothing.
    pub(crate) fn may_accept(&self) -> bool {
        let never_will = matches!(
            self.state,
            WorkerState::Unwanted { .. } | WorkerState::Dying { .. } | WorkerState::Gone
        );
        !self.drains && !never_will
    }

    /// Its successor serves while it still finishes: it takes room within `max_surge`.
    pub(crate) fn is_relieved(&self) -> bool {
        matches!(
            self.state,
            WorkerState::Draining {
                cause: Cause::Recycle | Cause::Memory | Cause::Age | Cause::Reload,
                ..
            }
        )
    }

    /// On its way out because of its memory.
    pub(crate) fn leaves_for_memory(&self) -> bool {
        self.cause() == Some(Cause::Memory) || self.spent == Some(Cause::Memory)
    }

    fn bury(&self, ending: Ending, out: &mut Vec<Action>) -> WorkerState {
        if let Some(pid) = self.pid() {
            let (worker, slot) = (self.id, self.slot);
            let cause = self.cause().filter(|_| self.is_ours(ending));
            out.push(Action::Report(Notice::WorkerExited { worker, slot, pid, ending, cause }));
        }
        WorkerState::Gone
    }

    /// Whether it may have ended so because of us: a signal that we have not sent was another's.
    fn is_ours(&self, ending: Ending) -> bool {
        let was_sent_one = matches!(
            self.state,
            WorkerState::Aborting { .. } | WorkerState::Quitting { .. } | WorkerState::Dying { .. }
        );
        was_sent_one || matches!(ending, Ending::Exited(_))
    }

    /// Why we end it; `None` = we do not.
    fn cause(&self) -> Option<Cause> {
        match self.state {
            WorkerState::Draining { cause, .. }
            | WorkerState::Dumping { cause, .. }
            | WorkerState::Aborting { cause, .. }
            | WorkerState::Unwanted { cause, .. }
            | WorkerState::Dying { cause, .. } => Some(cause),
            WorkerState::Quitting { .. } => Some(Cause::Stop),
            WorkerState::Forking { .. }
            | WorkerState::Booting { .. }
            | WorkerState::Serving { .. }
            | WorkerState::Gone => None,
        }
    }

    fn tell_to_serve(&self) -> Action {
        Action::Tell { worker: self.id, order: Order::Serve }
    }

    fn forked(&self, pid: Pid) -> Action {
        Action::Report(Notice::WorkerForked { worker: self.id, slot: self.slot, pid })
    }

    fn fork_failed(&self) -> Action {
        Action::Report(Notice::ForkFailed { worker: self.id, slot: self.slot })
    }

    fn boot_timed_out(&self, pid: Pid) -> Action {
        Action::Report(Notice::WorkerBootTimedOut { worker: self.id, slot: self.slot, pid })
    }

    fn draining(&self, pid: Pid, cause: Cause) -> Action {
        Action::Report(Notice::WorkerDraining { worker: self.id, slot: self.slot, pid, cause })
    }

    fn drain_timed_out(&self, pid: Pid) -> Action {
        Action::Report(Notice::WorkerDrainTimedOut { worker: self.id, slot: self.slot, pid })
    }
}

fn kill(pid: Pid, cause: Cause, out: &mut Vec<Action>) -> WorkerState {
    out.push(Action::Send { pid, signal: Signal::Kill });
    WorkerState::Dying { pid, cause }
}

fn answered_twice() -> Action {
    Action::Report(Notice::Surprise { what: "the zygote answered a fork twice" })
}
