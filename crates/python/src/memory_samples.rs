//! What some requests do to a worker's memory: a line each for the log, and sums by route for the
//! master.

use std::cell::RefCell;
use std::fs;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{SysconfVar, sysconf};
use remuda_channel::Growths;
use remuda_scoreboard::Ticket;

/// Rates are given in millionths.
const ALL: u32 = 1_000_000;
/// Requests whose end is not told, as that of a WebSocket conversation, are forgotten then.
const UNDER_WAY_MAX: usize = 32;

/// The requests that were chosen, while they run, and what the master does not know of them.
pub(crate) struct MemorySamples {
    rate: u32,
    under_way: RefCell<Vec<(Ticket, String, Memory)>>,
    untold: RefCell<Growths>,
}

/// Of this process, in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    /// In RAM, shared or not.
    resident: u64,
    /// Of no file: what is allocated. A page that is shared with the zygote until it is written to
    /// counts before and after, so that the first requests of a worker do not look like leaks.
    anonymous: u64,
}

impl MemorySamples {
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate, under_way: RefCell::default(), untold: RefCell::default() }
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
            under_way.push((ticket, path.to_owned(), Memory::now()));
        }
    }

    /// A request ends; what the log says of it if it was one of those.
    pub(crate) fn end(&self, ticket: Ticket) -> Option<String> {
        let mut under_way = self.under_way.borrow_mut();
        let at = under_way.iter().position(|(known, ..)| *known == ticket)?;
        let (_, path, before) = under_way.swap_remove(at);
        let now = Memory::now();
        let grown = now.anonymous.cast_signed().wrapping_sub(before.anonymous.cast_signed());
        self.untold.borrow_mut().add(&path, grown);
        let (mib, grown) = (now.resident >> 20, grown / 1024);
        Some(format!("Memory: {mib}MB | Path: {path} | Grew: {grown}kB"))
    }

    /// Tells the master what it does not know; what it has no room for now is told the next time.
    pub(crate) fn tell(&self, channel: RawFd) {
        let mut untold = self.untold.borrow_mut();
        if untold.is_empty() {
            return;
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if send(channel, &untold.packet(), flags).is_ok() {
            *untold = Growths::default();
        }
    }
}

impl Memory {
    /// As the kernel counts it: about a millisecond for 100 MiB.
    fn now() -> Self {
        fs::read_to_string("/proc/self/smaps_rollup")
            .ok()
            .and_then(|text| Self::of_rollup(&text))
            .unwrap_or_else(Self::of_counters)
    }

    fn of_rollup(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
            Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
        };
        Some(Self { resident: field("Rss")?, anonymous: field("Anonymous")? })
    }

    /// Where there is no such file, as in some sandboxes; the kernel counts these less exactly.
    fn of_counters() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = statm.split(' ').map(|field| field.parse::<u64>().unwrap_or(0)).skip(1);
        let (resident, of_files) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        let bytes = page_bytes();
        Self { resident: resident * bytes, anonymous: resident.saturating_sub(of_files) * bytes }
    }
}

fn page_bytes() -> u64 {
    let known = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    known.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}
