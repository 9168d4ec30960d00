//! What operators and the master say to each other on the control socket.
//!
//! One line of JSON each way: `{"command":"reload"}`, then `{"ok":true,…}` or
//! `{"ok":false,"error":"…"}`. An answer comes when what was asked for has ended, well or not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Growth, PROFILE_SECONDS_MAX};

/// Longest request, in bytes, its line break included.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// What an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// How the service stands; answered at once.
    Status,
    /// Load the code again; answered when the new code serves, or does not.
    Reload,
    /// Hand over to a new master; answered when it serves, or does not.
    Upgrade,
    /// Drain and leave; answered at once, and the connection ends with the master.
    Stop,
    /// Leave at once; answered as `Stop`.
    Quit,
    /// Have a worker say in the log what its memory grows by; answered at once.
    MemoryProfile {
        /// The worker's place in the pool.
        slot: u16,
        /// For so long.
        seconds: u16,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Command {
    Status,
    Reload,
    Upgrade,
    Stop,
    Quit,
    MemoryProfile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    command: Command,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u16>,
}

/// Length of a profile when none is given, in seconds.
const PROFILE_SECONDS: u16 = 30;

impl Ask {
    /// Reads one line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in one short line.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        if line.len() > REQUEST_BYTES_MAX {
            return Err(format!("a request is at most {REQUEST_BYTES_MAX} bytes"));
        }
        let request: Request = serde_json::from_slice(line).map_err(|error| {
            format!(
                "a request is a line such as {{\"command\":\"status\"}}; this is none at column {}",
                error.column()
            )
        })?;
        let is_plain = request.slot.is_none() && request.seconds.is_none();
        Ok(match request.command {
            Command::MemoryProfile => {
                let seconds = request.seconds.unwrap_or(PROFILE_SECONDS);
                if !(1..=PROFILE_SECONDS_MAX).contains(&seconds) {
                    return Err(format!("seconds is between 1 and {PROFILE_SECONDS_MAX}"));
                }
                Self::MemoryProfile { slot: request.slot.unwrap_or(0), seconds }
            }
            _ if !is_plain => {
                return Err("slot and seconds are for memory-profile only".to_owned());
            }
            Command::Status => Self::Status,
            Command::Reload => Self::Reload,
            Command::Upgrade => Self::Upgrade,
            Command::Stop => Self::Stop,
            Command::Quit => Self::Quit,
        })
    }

    /// The line to send.
    #[must_use]
    pub fn line(self) -> String {
        let plain = |command| Request { command, slot: None, seconds: None };
        let request = match self {
            Self::Status => plain(Command::Status),
            Self::Reload => plain(Command::Reload),
            Self::Upgrade => plain(Command::Upgrade),
            Self::Stop => plain(Command::Stop),
            Self::Quit => plain(Command::Quit),
            Self::MemoryProfile { slot, seconds } => Request {
                command: Command::MemoryProfile,
                slot: Some(slot),
                seconds: Some(seconds),
            },
        };
        // Words and numbers have nothing that could fail.
        serde_json::to_string(&request).unwrap_or_default() + "\n"
    }
}

/// What the master answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether what was asked for has been done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What has been done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How the service stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
}

impl Answer {
    /// It has been done.
    #[must_use]
    pub fn done(message: impl Into<String>) -> Self {
        Self { ok: true, message: Some(message.into()), ..Self::default() }
    }

    /// It has not.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// How the service stands.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self { ok: true, status: Some(Box::new(status)), ..Self::default() }
    }
}

/// How the service stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the master.
    pub version: String,
    /// Of the master.
    pub pid: u32,
    /// starting, serving, reloading, stopping, or handed over.
    pub stage: String,
    /// Seconds since the master's start.
    pub uptime_s: f64,
    /// Module and attribute.
    pub app: String,
    /// Where it listens.
    pub addresses: String,
    /// Workers that shall serve.
    pub wanted: u16,
    /// Slots with a worker that serves.
    pub ready: usize,
    /// By slot, then by age.
    pub workers: Vec<WorkerStatus>,
    /// Oldest first.
    pub zygotes: Vec<ZygoteStatus>,
    /// Oldest first.
    #[serde(default)]
    pub dirty_arbiters: Vec<ZygoteStatus>,
    /// What was taken over time.
    #[serde(default)]
    pub memory: MemoryStatus,
}

/// What memory was taken over time, and where it grows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// Since the start, or since the last 24 hours were over.
    pub now: MemoryPeriod,
    /// The 24 hours before that.
    pub before: Option<MemoryPeriod>,
    /// Growth by route, the most first; what stands for all the others has no route. Of requests that
    /// were sampled (`memory_sample_rate`).
    pub growth: Vec<Growth>,
}

/// Some time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryPeriod {
    /// How long.
    pub seconds: f64,
    /// PSS of all processes; `None` = not measured yet.
    pub total: Option<MemoryRange>,
    /// By slot.
    pub slots: Vec<SlotMemory>,
    /// How many workers were replaced, by cause.
    pub replaced: BTreeMap<String, u64>,
}

/// What the workers of one slot took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotMemory {
    /// The slot.
    pub slot: u16,
    /// Memory that was theirs alone.
    pub private: MemoryRange,
    /// With their part of what they shared.
    pub pss: MemoryRange,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRange {
    /// The least that was measured.
    pub least: u64,
    /// On average.
    pub mean: u64,
    /// The most.
    pub most: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its place in the pool.
    pub slot: u16,
    /// Its process, once it is known.
    pub pid: Option<i32>,
    /// Where it is in its life.
    pub state: String,
    /// The code it runs: 1 is what was loaded first.
    pub generation: u32,
    /// Seconds since it was asked for.
    pub age_s: f64,
    /// Requests answered.
    pub requests: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// The request that has been in flight for longest.
    pub oldest: Option<RequestStatus>,
}

/// One request in flight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestStatus {
    /// GET, POST …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Seconds since it began.
    pub age_s: f64,
}

/// One zygote, or one dirty arbiter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ZygoteStatus {
    /// The code it has loaded; the first such, if a zygote was lost meanwhile.
    pub generation: u32,
    /// Its process, once it is known.
    pub pid: Option<i32>,
    /// Where it is in its life.
    pub state: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_request_survives_the_round_trip() {
        let profile = Ask::MemoryProfile { slot: 3, seconds: 60 };
        for ask in [Ask::Status, Ask::Reload, Ask::Upgrade, Ask::Stop, Ask::Quit, profile] {
            assert_eq!(Ask::parse(ask.line().as_bytes()), Ok(ask));
        }
        assert_eq!(Ask::Reload.line(), "{\"command\":\"reload\"}\n");
    }

    #[test]
    fn what_is_none_is_refused_and_not_guessed() {
        let bad = ["", "status", "{}", "[]", "{\"command\":\"stop\",\"x\":1}", "{\"command\":\"st"];
        for line in bad {
            let error = Ask::parse(line.as_bytes()).expect_err(line);
            assert!(error.starts_with("a request is a line such as"), "{error}");
        }
        let long = vec![b' '; REQUEST_BYTES_MAX + 1];
        assert_eq!(Ask::parse(&long), Err("a request is at most 4096 bytes".to_owned()));
    }

    #[test]
    fn a_profile_has_a_length_and_nothing_else_has() {
        let parse = |rest: &str| Ask::parse(format!("{{\"command\":{rest}}}").as_bytes());
        let profile = Ask::MemoryProfile { slot: 0, seconds: 30 };
        assert_eq!(parse("\"memory-profile\""), Ok(profile));
        for seconds in [0, 3601] {
            let error = parse(&format!("\"memory-profile\",\"seconds\":{seconds}"));
            assert_eq!(error, Err("seconds is between 1 and 3600".to_owned()));
        }
        let error = parse("\"stop\",\"slot\":1");
        assert_eq!(error, Err("slot and seconds are for memory-profile only".to_owned()));
        parse("\"memory-profile\",\"slot\":-1").expect_err("no slot");
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_request_or_a_short_error(bytes in prop::collection::vec(any::<u8>(), 0..8192)) {
            if let Err(error) = Ask::parse(&bytes) {
                prop_assert!(error.len() < 120);
            }
        }

        #[test]
        fn a_request_that_is_cut_or_changed_never_becomes_another(at in 0usize..22, byte in any::<u8>()) {
            let mut line = Ask::Status.line().into_bytes();
            let cut = Ask::parse(&line[..at.min(line.len() - 3)]);
            prop_assert!(cut.is_err());
            let at = at.min(line.len() - 1);
            line[at] = byte;
            prop_assert!(matches!(Ask::parse(&line), Err(_) | Ok(Ask::Status)));
        }
    }
}
