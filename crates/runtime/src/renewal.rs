//! Reading the settings again for a reload, and the herald's part in the master's loop.
//!
//! ```text
//!  HUP → zygote says hello → [herald runs the file] → settings settled → zygote is told what to load
//!                                  │ cannot be read          │ cannot be used
//!                                  └──────── reload given up ┴─ the old settings stay
//! ```

use std::io;
use std::time::Duration;

use remuda_channel::{ConfigValue, FromHerald, ToHerald, WorkerForm, WorkerPlan};
use remuda_journal::log;
use remuda_supervisor::{Event, Generation, Notice, Pid, Plan};
use tokio::sync::mpsc::UnboundedSender;

use crate::herald::{self, Herald};
use crate::memory::TotalOf;
use crate::perform::PreExec;
use crate::shell::{From, Shell};
use crate::signals::Halt;
use crate::sources::Watching;
use crate::wire::{Incoming, Wire};

/// Why settings cannot be read or used; for people.
pub struct Unreadable(pub String);

/// What settings have become.
pub struct Renewed {
    /// What is compared with the plan's `total_memory`.
    pub total_of: TotalOf,
    /// What the supervisor decides by.
    pub plan: Plan,
    /// What zygotes and workers are told.
    pub worker_plan: WorkerPlan,
    /// How the app's files are watched; `None` = they are not.
    pub watching: Option<Watching>,
    /// Whether there are hooks for the herald to call.
    pub has_herald_hooks: bool,
}

/// Reads the settings again.
pub trait Renewal {
    /// Looks at everything that needs no Python; the message with which the herald reads the rest.
    ///
    /// # Errors
    ///
    /// When the settings are wrong already.
    fn begin(&mut self) -> Result<Option<ToHerald>, Unreadable>;

    /// Draws the conclusions. `values` are those of the file, if there is one, and `worker` what had to
    /// be found out of the worker class.
    ///
    /// # Errors
    ///
    /// When the settings are wrong.
    fn settle(
        &mut self,
        values: Vec<ConfigValue>,
        worker: Option<WorkerForm>,
    ) -> Result<Renewed, Unreadable>;
}

/// What a reload has read so far.
#[derive(Default)]
pub(crate) enum Renewing {
    #[default]
    Nothing,
    /// The herald runs the file.
    Asked(Generation),
    /// To be adopted, if the generation comes to serve.
    Settled(Generation, Box<Renewed>),
}

/// A herald, seen from the loop.
pub(crate) struct Attached {
    pub(crate) pid: Pid,
    wire: Wire,
}

impl Attached {
    pub(crate) fn new(
        herald: Herald,
        inbox: &UnboundedSender<(From, Incoming)>,
    ) -> io::Result<Self> {
        let (pid, channel) = herald.into_parts();
        let wire = Wire::adopt(channel)?;
        wire.listen(From::Herald, inbox.clone());
        Ok(Self { pid, wire })
    }
}

/// Time that the last hook gets.
const ON_EXIT_PATIENCE: Duration = Duration::from_secs(10);

impl Shell {
    /// Reads the settings for a candidate, and then tells it what to load.
    pub(crate) fn renew(&mut self, generation: Generation) {
        let unread = matches!(self.renewing, Renewing::Asked(_));
        if unread && let Some(herald) = self.herald.take() {
            // It hangs in the file of the reload before.
            herald::kill(herald.pid);
        }
        self.renewing = Renewing::Nothing;
        match self.config.renewal.begin() {
            Ok(None) => self.settle_renewal(generation, Vec::new(), None),
            Ok(Some(read)) => match self.ask_herald(&read) {
                Ok(()) => self.renewing = Renewing::Asked(generation),
                Err(error) => self.refuse_renewal(generation, &error),
            },
            Err(Unreadable(text)) => self.refuse_renewal(generation, &text),
        }
    }

    fn ask_herald(&mut self, read: &ToHerald) -> Result<(), String> {
        if self.herald.is_none() {
            // The loop listens to signals; nobody waits for this one.
            let herald = Herald::start(&self.start.python, Halt::default())
                .map_err(|error| error.to_string())?;
            let attached = Attached::new(herald, &self.inbox).map_err(|error| error.to_string())?;
            self.herald = Some(attached);
        }
        self.tell_herald(read);
        Ok(())
    }

    fn settle_renewal(
        &mut self,
        generation: Generation,
        values: Vec<ConfigValue>,
        worker: Option<WorkerForm>,
    ) {
        match self.config.renewal.settle(values, worker) {
            Ok(renewed) => {
                if renewed.has_herald_hooks {
                    self.brief_herald(&renewed);
                } else {
                    // It leaves when it finds its channel closed, and is reaped like any stranger.
                    self.herald = None;
                }
                let plan = Box::new(renewed.plan.clone());
                self.renewing = Renewing::Settled(generation, Box::new(renewed));
                self.handle(Event::Replanned { generation, plan });
                self.boot(generation);
            }
            Err(Unreadable(text)) => self.refuse_renewal(generation, &text),
        }
    }

    fn brief_herald(&mut self, renewed: &Renewed) {
        let master = nix::unistd::Pid::this().as_raw();
        let plan = Box::new(renewed.worker_plan.clone());
        if let Err(error) = self.ask_herald(&ToHerald::Settled { master, plan }) {
            tracing::error!("The hooks of the master cannot be called: {error}");
            return;
        }
        // It may be a new one, which knows of nothing yet.
        let scheme = if renewed.worker_plan.protocols.tls.is_some() { "https" } else { "http" };
        let listeners = self.config.listeners.urls(scheme);
        let listeners = listeners.split(',').map(str::to_owned).collect();
        self.tell_herald(&ToHerald::Bound { listeners });
        for (worker, known) in &self.workers {
            if let Some(pid) = known.pid {
                let (worker, slot) = (worker.0, known.slot);
                self.tell_herald(&ToHerald::Forked { worker, slot, pid: pid.0 });
            }
        }
        self.tell_herald(&ToHerald::Call { hook: "on_reload".to_owned() });
    }

    fn refuse_renewal(&mut self, generation: Generation, text: &str) {
        self.renewing = Renewing::Nothing;
        self.give_up(generation, &format!("The settings cannot be used: {text}"));
        if let Some(zygote) = self.zygotes.get_mut(&generation) {
            // It waits for what to load, and leaves when nobody is there to tell it.
            zygote.wire = None;
        }
    }

    /// What a generation is told to load.
    pub(crate) fn worker_plan(&self, generation: Generation) -> &WorkerPlan {
        match &self.renewing {
            Renewing::Settled(of, renewed) if *of == generation => &renewed.worker_plan,
            _ => &self.config.worker_plan,
        }
    }

    /// The generation serves: what was read for it counts for everybody.
    pub(crate) fn adopt(&mut self, generation: Generation) {
        match std::mem::take(&mut self.renewing) {
            Renewing::Settled(of, renewed) if of == generation => {
                self.watched.set(renewed.watching, &renewed.worker_plan.chdir);
                self.config.plan = renewed.plan;
                self.config.total_of = renewed.total_of;
                self.config.worker_plan = renewed.worker_plan;
            }
            other => self.renewing = other,
        }
    }

    pub(crate) fn hear_herald(&mut self, message: FromHerald) {
        match (message, &self.renewing) {
            (FromHerald::Values { values, worker }, &Renewing::Asked(generation)) => {
                self.renewing = Renewing::Nothing;
                self.settle_renewal(generation, values, worker);
            }
            (FromHerald::Unreadable { text }, &Renewing::Asked(generation)) => {
                self.refuse_renewal(generation, &text);
            }
            (FromHerald::Called { hook, error }, _) => {
                let how = if error.is_some() { PreExec::Failed } else { PreExec::Done };
                if let Some(error) = error {
                    log!(HOOK_FAILED, hook = hook, error = error);
                }
                if hook == "pre_exec" {
                    self.start_upgrade_late(how);
                }
            }
            // Good news, or late ones.
            _ => {}
        }
    }

    /// Passes on what the herald has a hook for.
    pub(crate) fn tell_herald_of(&self, notice: &Notice) {
        match notice {
            Notice::WorkerExited { pid, .. } => {
                self.tell_herald(&ToHerald::Exited { pid: pid.0 });
            }
            Notice::Scaled { workers } => {
                self.tell_herald(&ToHerald::Scaled { workers: *workers });
            }
            _ => {}
        }
    }

    pub(crate) fn tell_herald(&self, message: &ToHerald) {
        let Some(herald) = &self.herald else { return };
        let sent = serde_json::to_vec(message)
            .map_err(io::Error::from)
            .and_then(|packet| herald.wire.send(&packet, None));
        if let Err(error) = sent {
            // A hook hangs, and its queue is full. The service does not wait for it.
            log!(HERALD_BEHIND, error = error);
        }
    }

    pub(crate) fn lose_herald(&mut self) {
        self.herald = None;
        log!(HERALD_LOST);
        self.start_upgrade_late(PreExec::Done);
        if let Renewing::Asked(generation) = self.renewing {
            self.refuse_renewal(generation, "the Python process that reads the file has ended");
        }
    }

    /// The end: the pidfile goes, then the last hook is called.
    pub(crate) async fn take_leave(&mut self) {
        self.config.pidfile = None;
        if self.herald.is_some() {
            self.tell_herald(&ToHerald::Call { hook: "on_exit".to_owned() });
            let heard = tokio::time::timeout(ON_EXIT_PATIENCE, self.hear_on_exit());
            if heard.await.is_err() {
                tracing::warn!("The hook on_exit takes too long: it is not waited for");
            }
        }
        if let Some(Attached { pid, wire }) = self.herald.take() {
            drop(wire);
            // The task that reads holds the channel open until the loop comes round.
            tokio::task::yield_now().await;
            herald::see_off(pid);
        }
    }

    async fn hear_on_exit(&mut self) {
        while let Some((from, incoming)) = self.letters.recv().await {
            let Incoming::Packet(packet) = incoming else {
                if matches!(from, From::Herald) { return } else { continue }
            };
            if let (From::Herald, Ok(FromHerald::Called { hook, error })) =
                (from, serde_json::from_slice(&packet))
            {
                let is_last = hook == "on_exit";
                self.hear_herald(FromHerald::Called { hook, error });
                if is_last {
                    return;
                }
            }
        }
    }
}
