//! What a worker's memory is after some of its requests, for the log.

use std::cell::RefCell;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use remuda_scoreboard::Ticket;

/// Rates are given in millionths.
const ALL: u32 = 1_000_000;
/// Requests whose end is not told, as that of a WebSocket conversation, are forgotten then.
const UNDER_WAY_MAX: usize = 32;

/// The requests that were chosen, while they run.
pub(crate) struct MemorySamples {
    rate: u32,
    under_way: RefCell<Vec<(Ticket, String, u64)>>,
}

impl MemorySamples {
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate, under_way: RefCell::default() }
    }

    /// A request begins; perhaps it is one of those.
    pub(crate) fn begin(&self, ticket: Ticket, path: &str) {
        if self.rate > 0 && fastrand::u32(..ALL) < self.rate {
            let mut under_way = self.under_way.borrow_mut();
            // Its number is free again, so its end was not told.
            under_way.retain(|(known, ..)| *known != ticket);
            if under_way.len() == UNDER_WAY_MAX {
                let _ = under_way.remove(0);
            }
            under_way.push((ticket, path.to_owned(), resident_bytes()));
        }
    }

    /// A request ends; what the log says of it if it was one of those.
    pub(crate) fn end(&self, ticket: Ticket) -> Option<String> {
        let mut under_way = self.under_way.borrow_mut();
        let at = under_way.iter().position(|(known, ..)| *known == ticket)?;
        let (_, path, before) = under_way.swap_remove(at);
        let now = resident_bytes();
        let (mib, grown) = (now >> 20, now.saturating_sub(before) >> 10);
        Some(format!("Memory: {mib}MB | Path: {path} | Grew: {grown}kB"))
    }
}

/// Pages of this process that are in RAM, shared ones included.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * page_bytes()
}

fn page_bytes() -> u64 {
    let known = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    known.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}
