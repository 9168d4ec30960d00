//! `remuda-load`: arguments in, one JSON object out.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use remuda_load::arguments::Arguments;
use signal_hook::consts::{SIGINT, SIGTERM};

fn main() -> ExitCode {
    let plan = Arguments::parse().plan();
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, stopping.clone()) {
            eprintln!("remuda-load: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    match remuda_load::run(&plan, &stopping) {
        Ok(report) => {
            println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("remuda-load: {error}");
            ExitCode::FAILURE
        }
    }
}
