//! `make simulate`: many seeds on all cores, with progress and a summary; or one seed, told.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use remuda_simulator::{Census, Failure, Script, run_seed, story};

const USAGE: &str = "usage: simulate COUNT [FIRST]   run so many seeds
       simulate seed SEED       tell the story of one";
/// Failures that are told; one mistake often breaks many seeds.
const FAILURES_MAX: usize = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["seed", seed] => seed.parse().map_or_else(|_| usage(), tell),
        [count] => count.parse().map_or_else(|_| usage(), |count| simulate(count, 0)),
        [count, first] => match (count.parse(), first.parse()) {
            (Ok(count), Ok(first)) => simulate(count, first),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn tell(seed: u64) -> ExitCode {
    match run_seed(seed) {
        // Whoever reads may have seen enough before the end.
        Ok(census) => {
            let _ = write!(std::io::stdout(), "{}{census}", story(&Script::from_seed(seed)));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = write!(std::io::stdout(), "{failure:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(count: u64, first: u64) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let census = Mutex::new(Census::default());
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| run_some(&next, count, first, &census, &failures)))
            .collect();
        let progress = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_secs(5));
                let so_far = next.load(Ordering::Relaxed).min(count);
                eprint!("\r{so_far} of {count} seeds, {:.0} s", started.elapsed().as_secs_f64());
                let _ = std::io::stderr().flush();
            }
            eprintln!();
        });
        workers.into_iter().for_each(|worker| worker.join().expect("a seed does not panic"));
        done.store(true, Ordering::Relaxed);
        progress.thread().unpark();
    });
    let census = census.into_inner().expect("no thread panicked");
    let failures: Vec<Failure> = failures.into_inner().expect("no thread panicked");
    for failure in failures.iter().take(FAILURES_MAX) {
        println!("{failure}");
    }
    print!("{census}");
    println!("failures              {}", failures.len());
    println!("wall clock            {:.0} s", started.elapsed().as_secs_f64());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_some(
    next: &AtomicU64,
    count: u64,
    first: u64,
    census: &Mutex<Census>,
    failures: &Mutex<Vec<Failure>>,
) {
    let mut own = Census::default();
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= count {
            break;
        }
        match run_seed(first + at) {
            Ok(run) => own.add(&run),
            Err(failure) => {
                let mut failures = failures.lock().expect("no thread panicked");
                failures.push(*failure);
                if failures.len() >= FAILURES_MAX {
                    next.store(count, Ordering::Relaxed);
                }
            }
        }
    }
    census.lock().expect("no thread panicked").add(&own);
}
