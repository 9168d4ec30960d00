//! The first lines of the log: what a reader of a platform's log view looks for.

use std::time::Duration;

use remuda::sizing::Sizing;
use remuda_journal::ALWAYS;
use remuda_runtime::{MemoryLimit, memory_limit};
use remuda_settings::{Settings, Warning};
use tracing::{info, warn};

/// Says what will run, at any log level, each line as a message of its own.
pub(crate) fn show(settings: &Settings, sizing: Option<&Sizing>, warnings: &[Warning]) {
    for line in lines(settings, sizing, memory_limit()) {
        info!(target: ALWAYS, "{line}");
    }
    for warning in warnings {
        warn!("{warning}");
    }
}

fn lines(settings: &Settings, sizing: Option<&Sizing>, memory: MemoryLimit) -> Vec<String> {
    let binds: Vec<String> = settings.binds.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        "Gunicorn starting with config:".to_owned(),
        format!("  Workers: {}", workers(settings, sizing)),
        format!("  Timeout: {}", settings.timeout.map_or("none".to_owned(), seconds)),
        format!("  Worker class: {}", settings.worker_class.name()),
        format!("  Worker connections: {}", settings.worker_connections),
        format!("  Max requests: {}", max_requests(settings)),
        format!("  Bind: {}", binds.join(", ")),
        format!("  Memory limit: {memory}"),
    ];
    for changed in settings.changed() {
        lines.push(format!("  {} = {} ({})", changed.name, changed.text, changed.origin));
    }
    lines
}

fn workers(settings: &Settings, sizing: Option<&Sizing>) -> String {
    match sizing {
        Some(Sizing { workers, why }) => format!("{workers} (auto: {why})"),
        None => settings.workers.unwrap_or(1).to_string(),
    }
}

fn seconds(length: Duration) -> String {
    format!("{}s", length.as_secs_f64())
}

fn max_requests(settings: &Settings) -> String {
    match (settings.max_requests, settings.max_requests_jitter) {
        (0, _) => "unlimited".to_owned(),
        (most, jitter) => format!("{most} (jitter {jitter})"),
    }
}
