//! Actions become system calls.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal as UnixSignal, kill, killpg};
use nix::unistd::Pid as UnixPid;
use remuda_channel::{ToHerald, ToWorker, ToZygote};
use remuda_journal::log;
use remuda_supervisor::{
    Action, Ending, Event, Generation, Notice, Order, Pid, Refusal, Signal, WorkerId,
};
use tokio::time::Instant;

use crate::control::ControlSocket;
use crate::pidfile::Pidfile;
use crate::shell::{From, Shell, Worker, now};
use crate::wire::Wire;
use crate::{identity, sample, sys, upgrade, words, zygote};

/// How the hook `pre_exec` has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreExec {
    Done,
    Failed,
    Late,
}

/// Time that the hook `pre_exec` may take.
const PRE_EXEC_PATIENCE: Duration = Duration::from_secs(10);

impl Shell {
    /// Performs one action; returns what is known of its outcome at once.
    pub(crate) fn perform(&mut self, action: Action) -> Option<Event> {
        tracing::trace!(?action);
        match action {
            Action::StartZygote { generation } => Some(self.start_zygote(generation)),
            Action::RetireZygote { generation } => {
                if let Some(zygote) = self.zygotes.get_mut(&generation) {
                    zygote.wire = None;
                }
                None
            }
            Action::Fork { .. } => self.fork(&action),
            Action::ForkDirty { generation, worker } => self.fork_dirty(generation, worker),
            Action::Tell { worker, order } => {
                let word = match order {
                    Order::Serve => ToWorker::Serve,
                    Order::Drain => ToWorker::Drain,
                    Order::DrainQueue => ToWorker::DrainQueue,
                    Order::HandOver => ToWorker::HandOver,
                    Order::Reopen => ToWorker::Reopen,
                };
                if let Some(worker) = self.workers.get(&worker) {
                    // Lost on a dead or stuck worker, whose deadline runs already.
                    let _ = worker.wire.send(word.as_bytes(), None);
                }
                None
            }
            Action::DumpStacks { pid, .. } => {
                log_failure("cannot ask for stacks", sys::ask_for_stacks(pid));
                None
            }
            Action::Send { pid, signal } => {
                for zygote in self.zygotes.values_mut().filter(|zygote| zygote.pid == pid) {
                    // That it ends without a word says nothing of the interpreter.
                    zygote.failed = true;
                }
                send(pid, signal);
                None
            }
            Action::CloseGate => {
                self.config.listeners.close_gate();
                None
            }
            Action::StartUpgrade => self.begin_upgrade(),
            Action::HandOver { to } => {
                self.hand_over(to);
                None
            }
            Action::TakeBack => {
                self.take_back();
                None
            }
            Action::Publish(standing) => {
                self.config.notifier.publish(standing, now());
                None
            }
            Action::FeedWatchdog => {
                self.config.notifier.feed();
                None
            }
            Action::ReopenLogs => {
                self.reopen_logs();
                None
            }
            Action::Adopt { generation } => {
                self.adopt(generation);
                None
            }
            Action::Report(notice) => {
                match notice {
                    Notice::ReloadStarted { .. } => {
                        self.last_failure.clear();
                        self.watched.load_begins();
                    }
                    Notice::Serving { .. }
                    | Notice::ReloadDone { .. }
                    | Notice::ReloadGivenUp { .. } => self.watched.load_ends(),
                    _ => {}
                }
                self.tickets.hear(&notice, &self.last_failure);
                self.report.hear(&notice);
                if matches!(notice, Notice::Serving { .. }) {
                    self.tell_predecessor();
                }
                self.tell_herald_of(&notice);
                let load = |generation| self.loads.get(&generation).copied().unwrap_or_default();
                let class = self.config.worker_plan.worker_class;
                let request = |worker, what| match self.workers.get(&worker) {
                    Some(worker) => {
                        sample::request_text(&self.board.read(worker.line.0), class, what)
                    }
                    None => String::new(),
                };
                match notice {
                    Notice::WorkerExited {
                        pid,
                        ending: Ending::Signaled(libc::SIGKILL),
                        cause: None,
                        ..
                    } if self.oom.has_struck(now()) => log!(WORKER_OOM_KILLED, pid = pid.0),
                    _ => words::say(&notice, &load, &request),
                }
                if matches!(notice, Notice::Stopping { .. }) {
                    self.report.say(now());
                }
                None
            }
            Action::Exit { status } => {
                self.exit = Some(status);
                None
            }
        }
    }

    fn reopen_logs(&self) {
        // Before anybody looks for them, us included: what root makes, the user cannot open.
        let made = identity::make_logs(&self.config.worker_plan);
        if let Err(error) = made.and_then(|()| self.config.journal.reopen()) {
            log!(LOG_NOT_REOPENED, error = error);
        }
        self.tell_herald(&ToHerald::Reopen);
        for &generation in self.zygotes.keys() {
            // One that is not ready has yet to open them, or reads this in its time.
            let _ = self.tell_zygote(generation, &ToZygote::Reopen, None);
        }
    }

    /// With a hook `pre_exec`, the new master is started when that is done.
    fn begin_upgrade(&mut self) -> Option<Event> {
        let is_hooked = self.config.worker_plan.hooks.contains_key("pre_exec");
        if !is_hooked || self.herald.is_none() {
            return Some(self.start_upgrade());
        }
        self.tell_herald(&ToHerald::Call { hook: "pre_exec".to_owned() });
        self.pre_exec = Some(Instant::now() + PRE_EXEC_PATIENCE);
        None
    }

    /// The hook is done, or will not be. One that has raised keeps the new master from starting, as
    /// in gunicorn.
    pub(crate) fn start_upgrade_late(&mut self, hook: PreExec) {
        if self.pre_exec.take().is_none() {
            return;
        }
        if hook == PreExec::Late {
            tracing::warn!("The hook pre_exec takes too long: it is not waited for");
        }
        let event = match hook {
            PreExec::Failed => Event::UpgradeSpawnFailed,
            // Whoever stops a service does not want another one.
            _ if !self.is_running() => Event::UpgradeSpawnFailed,
            PreExec::Done | PreExec::Late => self.start_upgrade(),
        };
        self.handle(event);
    }

    fn start_upgrade(&mut self) -> Event {
        match self.config.launch.again(&self.config.listeners, &self.shared.relay) {
            Ok((pid, wire)) => {
                wire.listen(From::Heir(pid), self.inbox.clone());
                self.heir = Some((pid, wire));
                Event::UpgradeSpawned { pid }
            }
            Err(error) => {
                log!(UPGRADE_NOT_STARTED, error = error);
                Event::UpgradeSpawnFailed
            }
        }
    }

    /// From now on nothing that we do may touch what the new master serves with.
    fn hand_over(&mut self, to: Pid) {
        self.config.listeners.give_away();
        if let Some((pid, wire)) = &self.heir
            && *pid == to
        {
            // Without the word it takes over when we are gone.
            log_failure("cannot tell the new master", wire.send(upgrade::YOURS, None));
        }
    }

    /// The new master has crashed: what it had from us is ours again.
    fn take_back(&mut self) {
        self.config.listeners.take_back();
        self.heir = None;
        if let Some(Err(error)) = self.config.pidfile.as_mut().map(Pidfile::take_back) {
            log!(PIDFILE_NOT_RENAMED, error = error);
        }
        let retaken = self.config.control.as_mut().map(ControlSocket::take_back);
        let retaken = match retaken {
            Some(Ok(Some(listener))) => self.listen_for_operators(listener),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => Ok(()),
        };
        if let Err(error) = retaken {
            log!(CONTROL_NOT_RENAMED, error = error);
        }
    }

    /// All our workers serve: the master before us can go.
    fn tell_predecessor(&self) {
        if let Some(wire) = &self.predecessor {
            log_failure("cannot tell the old master", wire.send(upgrade::READY, None));
        }
    }

    fn start_zygote(&mut self, generation: Generation) -> Event {
        match zygote::start(&self.start, &self.shared, &self.config.listeners) {
            Ok(zygote) => {
                let pid = zygote.pid;
                if let Some(wire) = &zygote.wire {
                    wire.listen(From::Zygote(generation), self.inbox.clone());
                }
                self.zygotes.insert(generation, zygote);
                Event::ZygoteSpawned { generation, pid }
            }
            Err(error) => {
                let python = self.start.python.display();
                let message = format!("The Python interpreter {python} cannot be run: {error}");
                log!(ZYGOTE_UNUSABLE, message = message);
                Event::ZygoteSpawnFailed { generation, refusal: refusal_of(&error) }
            }
        }
    }

    /// Tells a zygote that has greeted what to load.
    pub(crate) fn boot(&mut self, generation: Generation) {
        let dirty = match self.dirty_place(generation) {
            Ok(place) => place,
            Err(error) => {
                let folder = std::env::temp_dir();
                let message = format!(
                    "There is no place for the socket of dirty workers in {}: {error}\n  \
                     hint: TMPDIR names another folder",
                    folder.display()
                );
                return self.give_up(generation, &message);
            }
        };
        let boot = ToZygote::Boot {
            generation: generation.0,
            master: UnixPid::this().as_raw(),
            plan: Box::new(self.worker_plan(generation).clone()),
            prefetch: self.learned.tell(),
            dirty,
        };
        if let Err(error) = self.tell_zygote(generation, &boot, None) {
            tracing::error!("The zygote could not be told what to load: {error}");
        }
    }

    fn tell_zygote(
        &self,
        generation: Generation,
        message: &ToZygote,
        fd: Option<&std::os::fd::OwnedFd>,
    ) -> std::io::Result<()> {
        let wire = self.zygotes.get(&generation).and_then(|zygote| zygote.wire.as_ref());
        let gone = || std::io::Error::from(Errno::ECONNREFUSED);
        wire.ok_or_else(gone)?.send(&serde_json::to_vec(message)?, fd)
    }

    /// Asks a zygote for a process; our end of its channel, or what the supervisor has to hear.
    pub(crate) fn ask_for_fork(
        &self,
        what: &str,
        worker: WorkerId,
        generation: Generation,
        message: &ToZygote,
    ) -> Result<Wire, Event> {
        let failed = |error: &std::io::Error, refusal| {
            tracing::error!("The zygote could not be asked for a {what}: {error}");
            Event::ForkFailed { worker, refusal }
        };
        let (wire, theirs) = Wire::pair().map_err(|error| failed(&error, refusal_of(&error)))?;
        // Its channel is full or gone: that is the zygote's trouble, not the machine's.
        self.tell_zygote(generation, message, Some(&theirs))
            .map_err(|error| failed(&error, Refusal::Other))?;
        Ok(wire)
    }

    fn fork(&mut self, action: &Action) -> Option<Event> {
        let &Action::Fork { generation, worker, slot, line, max_requests } = action else {
            return None;
        };
        self.board.clear(line.0);
        let message = ToZygote::Fork { worker: worker.0, slot: slot.0, line: line.0, max_requests };
        let wire = match self.ask_for_fork("worker", worker, generation, &message) {
            Ok(wire) => wire,
            Err(failed) => return Some(failed),
        };
        wire.listen(From::Worker(worker), self.inbox.clone());
        self.workers.insert(worker, Worker { wire, line, slot: slot.0, pid: None });
        None
    }
}

/// Whether the kernel had no room, which may be otherwise soon.
fn refusal_of(error: &std::io::Error) -> Refusal {
    let shortages = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE];
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) if shortages.contains(&errno) => Refusal::Shortage,
        _ => Refusal::Other,
    }
}

/// Workers, zygotes and dirty arbiters lead process groups of their own. A group dies with all that
/// an app has started; a worker that was killed before it had made its group dies alone.
fn send(pid: Pid, signal: Signal) {
    let unix = UnixPid::from_raw(pid.0);
    let sent = match signal {
        Signal::Terminate => kill(unix, UnixSignal::SIGTERM),
        Signal::Quit => kill(unix, UnixSignal::SIGQUIT),
        Signal::Abort => kill(unix, UnixSignal::SIGABRT),
        Signal::Reopen => kill(unix, UnixSignal::SIGUSR1),
        Signal::Kill => {
            // No such group: it has not come that far.
            let _ = killpg(unix, UnixSignal::SIGKILL);
            kill(unix, UnixSignal::SIGKILL)
        }
    };
    log_failure("cannot send a signal", sent);
}

fn log_failure(what: &str, outcome: Result<(), impl std::fmt::Display>) {
    if let Err(error) = outcome {
        tracing::debug!("{what}: {error}");
    }
}
