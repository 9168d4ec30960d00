//! Many seeds, each a life of a service with faults; and what a seed promises.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use remuda_simulator::{Census, Script, run_seed, story};

/// Run in some seconds; `make simulate` runs as many as one likes.
const SEEDS: u64 = 5_000;

/// As many as `SEEDS` says, if it says anything: the mutation run takes fewer.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn every_invariant_holds_in_thousands_of_lives() {
    let (next, total) = (AtomicU64::new(0), Mutex::new(Census::default()));
    let count = seeds();
    let run_some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return;
            }
            match run_seed(seed) {
                Ok(census) => total.lock().expect("no seed panics").add(&census),
                Err(failure) => {
                    next.store(count, Ordering::Relaxed);
                    panic!("{failure}");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(run_some)));
    });
    let total = total.into_inner().expect("no seed panics");
    assert_eq!(total.seeds, count);
    assert_eq!(total.lost, 0, "requests");
    if count >= SEEDS {
        // A world in which nothing goes wrong would prove nothing.
        assert!(total.faults.len() >= 30, "{:?}", total.faults);
        assert!(total.reloads_done > 1_000 && total.reloads_given_up > 300, "{total}");
        assert!(total.answered > 100_000 && total.lost_by_crash > 0, "{total}");
    }
}

#[test]
fn a_seed_tells_the_same_story_each_time_and_another_seed_another() {
    let told = |seed| story(&Script::from_seed(seed));
    for seed in 0..40 {
        assert_eq!(told(seed), told(seed));
        assert!(told(seed).contains("StartZygote"));
    }
    assert_ne!(told(1), told(2));
}
