//! Counts of everything that happened, for the summary of a long run.

use std::collections::BTreeMap;
use std::fmt;

use remuda_supervisor::{Action, Notice};

/// Counts of everything that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Scripts run.
    pub seeds: u64,
    /// Events handed to the supervisor, each followed by all invariants.
    pub steps: u64,
    /// Virtual time.
    pub seconds: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Workers forked.
    pub workers: u64,
    /// Dirty arbiters forked.
    pub arbiters: u64,
    /// Zygotes started.
    pub zygotes: u64,
    /// Reloads that were done.
    pub reloads_done: u64,
    /// Reloads that were given up.
    pub reloads_given_up: u64,
    /// Upgrades after which another master served.
    pub upgrades_done: u64,
    /// Upgrades that were given up.
    pub upgrades_given_up: u64,
    /// Services that came back from a new master that crashed.
    pub taken_back: u64,
    /// Requests that reached a worker.
    pub requests: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests lost in processes that faults ended.
    pub lost_by_crash: u64,
    /// Requests lost in processes that the master killed after their whole grace, or that hung.
    pub lost_by_force: u64,
    /// Requests broken off because an operator said QUIT, or a stop ran out of time.
    pub lost_by_quit: u64,
    /// Requests that waited to be accepted when nobody was left to do it.
    pub unaccepted: u64,
    /// Requests lost otherwise. Any such is a failure of the run.
    pub lost: u64,
}

impl Census {
    pub(crate) fn count(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn count_ends(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Report(Notice::ReloadDone { .. }) => self.reloads_done += 1,
                Action::Report(Notice::ReloadGivenUp { .. }) => self.reloads_given_up += 1,
                Action::Report(Notice::HandedOver { .. }) => self.upgrades_done += 1,
                Action::Report(Notice::UpgradeGivenUp { .. }) => self.upgrades_given_up += 1,
                Action::TakeBack => self.taken_back += 1,
                _ => {}
            }
        }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.seconds += other.seconds;
        self.workers += other.workers;
        self.arbiters += other.arbiters;
        self.zygotes += other.zygotes;
        self.reloads_done += other.reloads_done;
        self.reloads_given_up += other.reloads_given_up;
        self.upgrades_done += other.upgrades_done;
        self.upgrades_given_up += other.upgrades_given_up;
        self.taken_back += other.taken_back;
        self.requests += other.requests;
        self.answered += other.answered;
        self.lost_by_crash += other.lost_by_crash;
        self.lost_by_force += other.lost_by_force;
        self.lost_by_quit += other.lost_by_quit;
        self.unaccepted += other.unaccepted;
        self.lost += other.lost;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seeds                 {}", self.seeds)?;
        writeln!(f, "steps                 {}", self.steps)?;
        writeln!(f, "virtual days          {:.1}", self.seconds as f64 / 86_400.0)?;
        writeln!(f, "workers forked        {}", self.workers)?;
        writeln!(f, "dirty arbiters        {}", self.arbiters)?;
        writeln!(f, "zygotes started       {}", self.zygotes)?;
        writeln!(f, "reloads done          {}", self.reloads_done)?;
        writeln!(f, "reloads given up      {}", self.reloads_given_up)?;
        writeln!(f, "upgrades done         {}", self.upgrades_done)?;
        writeln!(f, "upgrades given up     {}", self.upgrades_given_up)?;
        writeln!(f, "  taken back          {}", self.taken_back)?;
        writeln!(f, "requests              {}", self.requests)?;
        writeln!(f, "  answered            {}", self.answered)?;
        writeln!(f, "  lost in a crash     {}", self.lost_by_crash)?;
        writeln!(f, "  lost after grace    {}", self.lost_by_force)?;
        writeln!(f, "  broken off by QUIT  {}", self.lost_by_quit)?;
        writeln!(f, "  lost otherwise      {}", self.lost)?;
        writeln!(f, "never accepted        {}", self.unaccepted)?;
        writeln!(f, "faults injected       {}", self.faults.values().sum::<u64>())?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {kind:<40} {count}")?;
        }
        Ok(())
    }
}
