//! The status as a table, and as JSON.
//!
//! What memory a worker takes is read here and not by the master: the kernel may let whoever reads
//! it wait for the worker.

use std::fs;

use remuda_channel::{Status, WorkerStatus};

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
    let head =
        ["SLOT", "PID", "STATE", "GEN", "AGE", "REQUESTS", "NOW", "PRIVATE", "PSS", "OLDEST"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(status.workers.iter().map(|worker| row(worker, memory_of)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    page.push('\n');
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        page += cells.collect::<Vec<_>>().join("  ").trim_end();
        page.push('\n');
    }
    page
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
    use remuda_channel::{RequestStatus, ZygoteStatus};

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
        }
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
