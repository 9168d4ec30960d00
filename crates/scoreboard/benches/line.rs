//! What a request costs on the scoreboard: `cargo bench -p remuda-scoreboard`.
//!
//! Nanoseconds for one begin and one end, the clock not included, with so many other requests in
//! flight. Medians of interleaved rounds.

use std::hint::black_box;
use std::time::Instant;

#[cfg(not(loom))]
fn main() {
    use remuda_scoreboard::Board;

    const OTHERS: [u64; 4] = [0, 1, 10, 1000];
    const PAIRS: u32 = 200_000;
    const ROUNDS: usize = 21;

    let mut took = OTHERS.map(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for (others, took) in OTHERS.into_iter().zip(&mut took) {
            let (board, _fd) = Board::create(1).expect("board");
            let writer = board.writer(0).expect("line");
            let held: Vec<_> =
                (1..=others).map(|now| writer.begin(now, "GET", "/a/long/poll")).collect();
            let started = Instant::now();
            for now in 0..PAIRS {
                let path = black_box("/articles/2026/a-path-of-usual-length");
                writer.end(writer.begin(2_000 + u64::from(now), black_box("GET"), path));
            }
            took.push(started.elapsed().as_nanos() as f64 / f64::from(PAIRS));
            held.into_iter().for_each(|ticket| writer.end(ticket));
        }
    }
    for (others, took) in OTHERS.into_iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        let (median, least) = (took[ROUNDS / 2], took[0]);
        println!("{others:>5} others in flight: median {median:>5.1} ns, least {least:>5.1} ns");
    }
}

#[cfg(loom)]
fn main() {}
