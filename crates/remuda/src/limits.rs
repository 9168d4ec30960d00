//! From the wishes for memory, and what there is, to limits in bytes.

use remuda_runtime::{MemoryLimit, TotalOf};
use remuda_settings::MemorySize;
use remuda_supervisor::Limit;

/// Of the container's limit, in percent: where the largest worker is replaced, and where it is killed.
const GROUP_SOFT: u64 = 85;
const GROUP_HARD: u64 = 95;
/// Of a limit that was asked for, in percent: where a worker is killed.
const WORKER_HARD: u64 = 150;
const TOTAL_HARD: u64 = 120;

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The container's limit.
    pub group: MemoryLimit,
    /// The machine's memory, in bytes.
    pub machine: Option<u64>,
}

impl Room {
    /// Asks the kernel.
    #[must_use]
    pub fn ask() -> Self {
        Self { group: remuda_runtime::memory_limit(), machine: remuda_runtime::machine_memory() }
    }

    fn bytes(self, size: MemorySize) -> Option<u64> {
        let room = match self.group {
            MemoryLimit::Bytes(bytes) => Some(bytes),
            MemoryLimit::None => self.machine,
        };
        let bytes = match size {
            MemorySize::Bytes(bytes) => bytes,
            // Divided first: a machine's memory times ten thousand may not fit.
            MemorySize::Percent(hundredths) => room? / 10_000 * u64::from(hundredths),
        };
        (bytes > 0).then_some(bytes)
    }
}

/// The limit of one worker's own memory.
#[must_use]
pub fn of_worker(size: MemorySize, room: Room) -> Option<Limit> {
    room.bytes(size).map(|soft| Limit { soft, hard: share(soft, WORKER_HARD) })
}

/// The limit of all processes, and what is compared with it.
#[must_use]
pub fn of_total(size: Option<MemorySize>, room: Room) -> (Option<Limit>, TotalOf) {
    let Some(size) = size else {
        let MemoryLimit::Bytes(bytes) = room.group else { return (None, TotalOf::Processes) };
        let limit = Limit { soft: share(bytes, GROUP_SOFT), hard: share(bytes, GROUP_HARD) };
        return (Some(limit), TotalOf::Group);
    };
    let limit = room.bytes(size).map(|soft| {
        let hard = share(soft, TOTAL_HARD);
        match room.group {
            MemoryLimit::Bytes(bytes) => {
                Limit { soft, hard: hard.min(share(bytes, GROUP_HARD)).max(soft) }
            }
            MemoryLimit::None => Limit { soft, hard },
        }
    });
    (limit, TotalOf::Processes)
}

fn share(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const BARE: Room = Room { group: MemoryLimit::None, machine: Some(8 * GIB) };
    const BOXED: Room = Room { group: MemoryLimit::Bytes(GIB), machine: Some(8 * GIB) };

    fn mib(limit: Option<Limit>) -> Option<(u64, u64)> {
        limit.map(|limit| (limit.soft >> 20, limit.hard >> 20))
    }

    #[test]
    fn without_a_wish_the_containers_limit_counts_if_there_is_one() {
        let (limit, of) = of_total(None, BOXED);
        assert_eq!((mib(limit), of), (Some((870, 972)), TotalOf::Group));
        assert_eq!(of_total(None, BARE), (None, TotalOf::Processes));
        assert_eq!(of_total(Some(MemorySize::Bytes(0)), BOXED), (None, TotalOf::Processes));
    }

    #[test]
    fn a_wish_in_percent_is_of_the_container_or_else_of_the_machine() {
        let half = Some(MemorySize::Percent(5000));
        assert_eq!(mib(of_total(half, BOXED).0), Some((511, 614)));
        assert_eq!(mib(of_total(half, BARE).0), Some((4095, 4915)));
    }

    #[test]
    fn the_hard_limit_stays_below_the_containers() {
        let wish = Some(MemorySize::Bytes(900 << 20));
        assert_eq!(mib(of_total(wish, BOXED).0), Some((900, 972)));
    }

    #[test]
    fn a_worker_may_pass_its_limit_by_half() {
        assert_eq!(mib(of_worker(MemorySize::Bytes(200 << 20), BARE)), Some((200, 300)));
        assert_eq!(of_worker(MemorySize::default(), BARE), None);
    }
}
