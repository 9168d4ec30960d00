//! `workers = auto`: how many, from CPUs and memory, and why.

use remuda_runtime::{Cpus, CpusOf};
use remuda_settings::{Settings, WorkerClass};

use crate::limits::{self, Room};

/// What a scoreboard has room for.
const WORKERS_MAX: u64 = 512;
const MIB: u64 = 1 << 20;
/// Assumed, since nothing has run yet: master, zygote and what workers share.
const SHARED: u64 = 128 * MIB;
/// Assumed for what a worker takes of its own after a while, where no `max_memory` says it.
const EACH: u64 = 64 * MIB;
/// Of the machine's memory, in percent, where no container has a limit.
const MACHINE_SHARE: u64 = 85;

/// A number of workers, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// At least 1.
    pub workers: u16,
    /// For the log.
    pub why: String,
}

/// Memory to be divided up, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Of all processes.
    pub total: u64,
    /// Of one worker; `None` = nobody has said.
    pub each: Option<u64>,
}

impl Memory {
    fn of(settings: &Settings, room: Room) -> Option<Self> {
        let limit = limits::of_total(settings.memory.max_memory_total, room).0;
        let machine = room.machine.map(|bytes| bytes / 100 * MACHINE_SHARE);
        let total = limit.map(|limit| limit.soft).or(machine)?;
        let each = limits::of_worker(settings.memory.max_memory, room).map(|limit| limit.soft);
        Some(Self { total, each })
    }

    fn has_room_for(self) -> u64 {
        self.total.saturating_sub(SHARED) / self.each.unwrap_or(EACH).max(1)
    }

    fn words(self) -> String {
        let each = match self.each {
            Some(bytes) => format!("{} MiB each, max_memory", bytes / MIB),
            None => format!("{} MiB each, assumed", EACH / MIB),
        };
        let workers = self.has_room_for();
        let total = self.total / MIB;
        format!("{total} MiB have room for {workers} ({each}, beside {} MiB shared)", SHARED / MIB)
    }
}

/// Puts a number where `auto` was asked for; `None` where a number was given.
///
/// ```text
/// sync                  2 x CPUs + 1    it waits for the database most of the time
/// gthread gevent asgi   CPUs, but 2     it never waits; one that computes must not stop everything
/// ```
pub fn settle(settings: &mut Settings, room: Room, cpus: Cpus) -> Option<Sizing> {
    if settings.workers.is_some() {
        return None;
    }
    let sizing = size(settings.worker_class, cpus, Memory::of(settings, room));
    settings.workers = Some(sizing.workers);
    settings.cfg.insert("workers".to_owned(), sizing.workers.into());
    Some(sizing)
}

/// The rule.
#[must_use]
pub fn size(class: WorkerClass, cpus: Cpus, memory: Option<Memory>) -> Sizing {
    let count = u64::from(cpus.count.max(1));
    let (wanted, rule) = match class {
        WorkerClass::Sync => (2 * count + 1, " x 2 + 1"),
        _ if count < 2 => (2, ", and one more"),
        _ => (count, ""),
    };
    let has_room_for = memory.map_or(u64::MAX, Memory::has_room_for).max(1);
    let workers = wanted.min(has_room_for).min(WORKERS_MAX);
    let noun = if count == 1 { "CPU" } else { "CPUs" };
    let of = match cpus.of {
        CpusOf::Machine => "of the machine",
        CpusOf::Affinity => "of the affinity",
        CpusOf::Group => "of the control group",
    };
    let mut why = format!("{count} {noun} {of}{rule} for {}", class.name());
    if let Some(memory) = memory {
        why += if has_room_for < wanted { "; but " } else { "; " };
        why += &memory.words();
    }
    Sizing { workers: u16::try_from(workers).unwrap_or(1), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn cpus(count: u16) -> Cpus {
        Cpus { count, of: CpusOf::Group }
    }

    #[test]
    fn classes_want_different_numbers() {
        let plenty = Some(Memory { total: 64 * GIB, each: None });
        for (class, count, workers) in [
            (WorkerClass::Sync, 1, 3),
            (WorkerClass::Sync, 2, 5),
            (WorkerClass::Sync, 16, 33),
            (WorkerClass::Gthread, 1, 2),
            (WorkerClass::Gthread, 8, 8),
            (WorkerClass::Gevent, 1, 2),
            (WorkerClass::Gevent, 4, 4),
            (WorkerClass::Asgi, 2, 2),
            (WorkerClass::Sync, 0, 3),
            (WorkerClass::Sync, 1000, 512),
        ] {
            for memory in [plenty, None] {
                assert_eq!(size(class, cpus(count), memory).workers, workers, "{class:?} {count}");
            }
        }
    }

    #[test]
    fn memory_bounds_the_number_but_never_below_one() {
        for (total, each, workers) in [
            (GIB, None, 14),
            (512 * MIB, None, 6),
            (256 * MIB, None, 2),
            (192 * MIB, None, 1),
            (100 * MIB, None, 1),
            (0, None, 1),
            (GIB, Some(300 * MIB), 2),
            (GIB, Some(0), 33),
        ] {
            let memory = Some(Memory { total, each });
            assert_eq!(
                size(WorkerClass::Sync, cpus(16), memory).workers,
                workers,
                "{total} {each:?}"
            );
        }
    }

    #[test]
    fn the_reason_names_what_was_counted() {
        let why = |class, cpus, memory| size(class, cpus, memory).why;
        assert_eq!(
            why(WorkerClass::Sync, cpus(2), Some(Memory { total: GIB, each: None })),
            "2 CPUs of the control group x 2 + 1 for sync; 1024 MiB have room for 14 (64 MiB each, \
             assumed, beside 128 MiB shared)"
        );
        let machine = Cpus { count: 1, of: CpusOf::Machine };
        let small = Some(Memory { total: 400 * MIB, each: Some(200 * MIB) });
        assert_eq!(
            why(WorkerClass::Gevent, machine, small),
            "1 CPU of the machine, and one more for gevent; but 400 MiB have room for 1 (200 MiB each, \
             max_memory, beside 128 MiB shared)"
        );
        let pinned = Cpus { count: 3, of: CpusOf::Affinity };
        assert_eq!(why(WorkerClass::Asgi, pinned, None), "3 CPUs of the affinity for asgi");
    }
}
