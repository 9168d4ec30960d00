//! The status as a table, and as JSON.
//!
//! What memory a worker takes is read here and not by the master: the kernel may let whoever reads
//! it wait for the worker.

use std::fs;

use remuda_channel::{Growth, MemoryPeriod, MemoryRange, MemoryStatus, Status, WorkerStatus};

/// Memory of one process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    /// Nobody else's.
    private: u64,
    /// Private, and its part of what several share.
    proportional: u64,
}

pub(super) fn json(status: &Status) -> String {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    for worker in value["workers"].as_array_mut().into_iter().flatten() {
        let pid = worker["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let memory = pid.and_then(memory_of);
        worker["private_bytes"] = memory.map(|memory| memory.private).into();
        worker["pss_bytes"] = memory.map(|memory| memory.proportional).into();
    }
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

pub(super) fn table(status: &Status) -> String {
    page(status, &memory_of)
}

fn page(status: &Status, memory_of: &dyn Fn(i32) -> Option<Memory>) -> String {
    let mut page = format!(
        "remuda {}, master {}: {}, {} of {} workers ready, up {}\n{} on {}\n",
        status.version,
        status.pid,
        status.stage,
        status.ready,
        status.wanted,
        length(status.uptime_s),
        status.app,
        status.addresses,
    );
    for zygote in &status.zygotes {
        let pid = zygote.pid.map_or("-".to_owned(), |pid| pid.to_string());
        page += &format!("zygote {pid}: {}, generation {}\n", zygote.state, zygote.generation);
    }
    for arbiter in &status.dirty_arbiters {
        let pid = arbiter.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let (state, generation) = (&arbiter.state, arbiter.generation);
        page += &format!("dirty arbiter {pid}: {state}, generation {generation}\n");
    }
    let head =
        ["SLOT", "PID", "STATE", "GEN", "AGE", "REQUESTS", "NOW", "PRIVATE", "PSS", "OLDEST"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(status.workers.iter().map(|worker| row(worker, memory_of)));
    page + "\n" + &aligned(&rows) + &memory_page(&status.memory)
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// What was taken over time, and the routes that have grown: what has nothing to say is left out.
fn memory_page(memory: &MemoryStatus) -> String {
    let mut page = String::new();
    if let Some(total) = memory.now.total {
        let replaced = replaced(&memory.now);
        let time = length(memory.now.seconds);
        page += &format!("\nIn {time}, least/mean/most; workers replaced: {replaced}\n");
        let mut rows = vec![["MEMORY", "PRIVATE", "PSS"].map(str::to_owned)];
        rows.push(["all".into(), "-".into(), range(total)]);
        rows.extend(
            memory
                .now
                .slots
                .iter()
                .map(|slot| [format!("slot {}", slot.slot), range(slot.private), range(slot.pss)]),
        );
        page += &aligned(&rows);
    }
    if let Some(before) = &memory.before
        && let Some(total) = before.total
    {
        let (time, replaced) = (length(before.seconds), replaced(before));
        page += &format!("The {time} before: all {}; replaced: {replaced}\n", range(total));
    }
    let grown: Vec<_> = memory.growth.iter().filter(|growth| growth.bytes > 0).collect();
    if !grown.is_empty() {
        let head = ["GROWTH", "SAMPLES", "EACH", "PATH"].map(str::to_owned);
        let rows = grown.iter().take(GROWN_MAX).map(|growth| growth_row(growth));
        page += &format!("\n{}", aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>()));
    }
    page
}

/// So many routes are shown; JSON has all.
const GROWN_MAX: usize = 10;

fn growth_row(growth: &Growth) -> [String; 4] {
    let requests = i64::try_from(growth.requests.max(1)).unwrap_or(i64::MAX);
    [
        format!("{} kB", growth.bytes >> 10),
        growth.requests.to_string(),
        format!("{} kB", (growth.bytes / requests) >> 10),
        if growth.route.is_empty() { "(others)".into() } else { shown(&growth.route) },
    ]
}

fn range(range: MemoryRange) -> String {
    format!("{}/{}/{} MiB", range.least >> 20, range.mean >> 20, range.most >> 20)
}

fn replaced(period: &MemoryPeriod) -> String {
    let by_cause = period.replaced.iter().map(|(cause, count)| format!("{count} by {cause}"));
    let text = by_cause.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

fn row(worker: &WorkerStatus, memory_of: &dyn Fn(i32) -> Option<Memory>) -> [String; 10] {
    let memory = worker.pid.and_then(memory_of);
    let mib = |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| format!("{} MiB", bytes >> 20));
    let oldest = worker.oldest.as_ref().map(|request| {
        format!("{} {} ({})", request.method, shown(&request.path), length(request.age_s))
    });
    [
        worker.slot.to_string(),
        worker.pid.map_or("-".into(), |pid| pid.to_string()),
        worker.state.clone(),
        worker.generation.to_string(),
        length(worker.age_s),
        worker.requests.to_string(),
        worker.in_flight.to_string(),
        mib(memory.map(|memory| memory.private)),
        mib(memory.map(|memory| memory.proportional)),
        oldest.unwrap_or_else(|| "-".into()),
    ]
}

/// A client has chosen the path: nothing of it may move a terminal's cursor.
fn shown(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '?' } else { c }).take(60).collect()
}

/// `2.5s`, `3m 12s`, `5h 2m`, `4d 1h`.
fn length(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{:.1}s", seconds.max(0.0)),
        10..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
    }
}

fn memory_of(pid: i32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let sum = |names: &[&str]| {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let of = fields.filter(|(name, _)| names.contains(name));
        of.filter_map(|(_, rest)| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    };
    Some(Memory { private: sum(&["Private_Clean", "Private_Dirty"]), proportional: sum(&["Pss"]) })
}

#[cfg(test)]
mod tests {
    use remuda_channel::{RequestStatus, SlotMemory, ZygoteStatus};

    use super::*;

    fn status() -> Status {
        let busy = WorkerStatus {
            slot: 0,
            pid: Some(101),
            state: "serving".into(),
            generation: 2,
            age_s: 192.0,
            requests: 1234,
            in_flight: 1,
            oldest: Some(RequestStatus {
                method: "GET".into(),
                path: "/slow\u{1b}[2J".into(),
                age_s: 2.34,
            }),
        };
        let fresh =
            WorkerStatus { slot: 1, state: "forking".into(), generation: 2, ..busy.clone() };
        let fresh = WorkerStatus { pid: None, requests: 0, in_flight: 0, oldest: None, ..fresh };
        let zygote = ZygoteStatus { generation: 2, pid: Some(100), state: "ready".into() };
        let arbiter = ZygoteStatus { generation: 2, pid: Some(98), state: "running".into() };
        Status {
            version: "1.2.3".into(),
            pid: 99,
            stage: "serving".into(),
            uptime_s: 93_784.0,
            app: "proyecto.wsgi".into(),
            addresses: "http://127.0.0.1:8000".into(),
            wanted: 2,
            ready: 1,
            workers: vec![busy, fresh],
            zygotes: vec![zygote],
            dirty_arbiters: vec![arbiter],
            memory: MemoryStatus::default(),
        }
    }

    fn memory() -> MemoryStatus {
        let range = |least: u64, mean: u64, most: u64| MemoryRange {
            least: least << 20,
            mean: mean << 20,
            most: most << 20,
        };
        let slot = |slot| SlotMemory { slot, private: range(14, 20, 31), pss: range(30, 36, 47) };
        let replaced = [("max_requests".to_owned(), 10), ("memory".to_owned(), 2)].into();
        let total = Some(range(150, 160, 183));
        let now =
            MemoryPeriod { seconds: 18_125.0, total, slots: vec![slot(0), slot(1)], replaced };
        let before = MemoryPeriod { seconds: 86_400.0, total, ..MemoryPeriod::default() };
        let growth = |route: &str, requests, bytes| Growth { route: route.into(), requests, bytes };
        let growth = vec![
            growth("/leak/:id", 1000, 1000 * (41 << 10)),
            growth("/\u{1b}[2J", 3, 12 << 10),
            growth("/even", 9, -4096),
            growth("", 40, 8 << 10),
        ];
        MemoryStatus { now, before: Some(before), growth }
    }

    #[test]
    fn memory_over_time_and_the_paths_that_leak_can_be_read() {
        insta::assert_snapshot!(memory_page(&memory()));
    }

    #[test]
    fn the_table_can_be_read() {
        let memory = Memory { private: 23 << 20, proportional: 41 << 20 };
        insta::assert_snapshot!(page(&status(), &|_| Some(memory)));
    }

    #[test]
    fn lengths_are_short() {
        let shown = [0.0, 9.96, 59.0, 61.0, 7_265.0, 90_000.0].map(length);
        assert_eq!(shown, ["0.0s", "10.0s", "59s", "1m 1s", "2h 1m", "1d 1h"]);
    }

    #[test]
    fn json_has_the_memory_that_can_be_seen() {
        let mut status = status();
        status.workers[0].pid = i32::try_from(std::process::id()).ok();
        let value: serde_json::Value = serde_json::from_str(&json(&status)).expect("JSON");
        assert!(value["workers"][0]["private_bytes"].as_u64().expect("our own") > 0);
        assert!(value["workers"][1]["pss_bytes"].is_null());
        assert_eq!(value["stage"], "serving");
    }
}
