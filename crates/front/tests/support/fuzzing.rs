//! Inputs by the million: made by a grammar, changed as no grammar would, and fed in pieces.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Bench, Outcome};

/// Looked at between two looks at the clock.
const CASES: u32 = 64;

/// Seconds that each search may take.
fn budget() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// A change that no grammar would think of.
pub(crate) fn mutate(bytes: &mut Vec<u8>, (kind, at, byte): (u8, prop::sample::Index, u8)) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match kind % 5 {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        _ => {
            let piece = bytes[at..bytes.len().min(at + usize::from(byte))].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

/// What a client sends, shown so that it can be read and pasted.
#[derive(Clone)]
pub(crate) struct Sent(pub(crate) Vec<u8>);

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// In however many pieces it came. Of two faults the one that comes in first may be refused first.
fn same(pieces: &Outcome, whole: &Outcome) -> Result<(), TestCaseError> {
    prop_assert_eq!(&pieces.requests, &whole.requests, "in pieces the executor got something else");
    prop_assert_eq!(pieces.responses.len(), whole.responses.len());
    let answered = whole.requests.len();
    prop_assert_eq!(&pieces.responses[..answered], &whole.responses[..answered]);
    Ok(())
}

/// Feeds each input in one piece, in single bytes, and in two parts, and checks what came of it.
pub(crate) fn whole(
    check: impl Fn(&[u8], &Outcome) -> Result<(), TestCaseError>,
) -> impl Fn(&Bench, &[u8], usize) -> Result<(), TestCaseError> {
    move |bench, bytes, cut| {
        let whole = bench.feed([bytes]);
        check(bytes, &whole)?;
        same(&bench.feed(bytes.chunks(1)), &whole)?;
        let (head, tail) = bytes.split_at(cut);
        same(&bench.feed([head, tail]), &whole)
    }
}

/// Tries inputs for as long as the budget lasts.
pub(crate) fn search(
    bench: &Bench,
    inputs: impl Strategy<Value = Sent>,
    check: impl Fn(&Bench, &[u8], usize) -> Result<(), TestCaseError>,
) {
    let cases = (inputs, any::<prop::sample::Index>());
    let deadline = Instant::now() + budget();
    let mut rounds = 0;
    while Instant::now() < deadline {
        // A runner counts its cases over all its runs.
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let outcome =
            runner.run(&cases, |(Sent(bytes), at)| check(bench, &bytes, at.index(bytes.len() + 1)));
        if let Err(error) = outcome {
            panic!("{error}");
        }
        rounds += 1;
    }
    assert!(rounds > 0, "no time to look at anything");
    eprintln!("{} connections", rounds * CASES * 3);
}
