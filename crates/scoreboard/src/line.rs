//! One line: its words, its writer, and what a reader makes of it.

use std::cell::{Cell, RefCell};

use crate::Board;
use crate::block::{self, HEAD_WORDS, RequestView};
use crate::in_flight::{InFlight, Ticket};
use crate::sync::{AtomicU64, Ordering, store};

/// 512 bytes: eight cache lines, so that two workers never share one.
pub(crate) const LINE_WORDS: usize = 64;

// Where each word stands.
pub(crate) const PID: usize = 0;
const STATE: usize = 1;
pub(crate) const LOOP_BEAT: usize = 2;
/// When the oldest request in flight began; 0 = none.
pub(crate) const OLDEST_START: usize = 3;
const IN_FLIGHT: usize = 4;
const SERVED: usize = 5;
/// Connections that the worker holds; [`NOT_IN_THE_CROWD`] when it takes none.
pub(crate) const CONNECTIONS: usize = 6;
/// From when the limits of the oldest request count, when the app has put them off; 0 = from its
/// start.
const OLDEST_FROM: usize = 7;
/// The latest such time among all requests in flight; 0 = none was put off.
const PUT_OFF_UNTIL: usize = 8;
/// The request that began last.
const LATEST: usize = 10;
/// The oldest one in flight, when it is not the one that began last.
const OLDEST: usize = LATEST + BLOCK_WORDS;
const BLOCK_WORDS: usize = (LINE_WORDS - LATEST) / 2;
const TEXT_WORDS: usize = BLOCK_WORDS - HEAD_WORDS;

type Words = [AtomicU64; LINE_WORDS];

fn latest(words: &Words) -> &[AtomicU64] {
    &words[LATEST..OLDEST]
}

fn oldest(words: &Words) -> &[AtomicU64] {
    &words[OLDEST..]
}

pub(crate) const NOT_IN_THE_CROWD: u64 = u64::MAX;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerState {
    /// Not ready yet, or a line that nobody has written.
    #[default]
    Booting,
    /// Ready, with nothing to do.
    Idle,
    /// Serving at least one request.
    Busy,
}

/// Writes one line; there is one for each worker process.
#[derive(Debug)]
pub struct LineWriter {
    board: Board,
    line: u16,
    in_flight: RefCell<InFlight<TEXT_WORDS>>,
    /// What stands in the block of the latest request.
    latest_start: Cell<u64>,
}

impl LineWriter {
    pub(crate) fn new(board: Board, line: u16) -> Self {
        Self { board, line, in_flight: RefCell::default(), latest_start: Cell::default() }
    }

    fn words(&self) -> &Words {
        self.board.words(self.line).expect("checked when the writer was made")
    }

    /// Says whose line it is, and that the worker is ready.
    pub fn claim(&self, pid: u32, now_ns: u64) {
        let words = self.words();
        store(&words[LOOP_BEAT], now_ns, Ordering::Relaxed);
        store(&words[STATE], 1, Ordering::Relaxed);
        store(&words[PID], u64::from(pid), Ordering::Release);
    }

    /// A request begins. Its ticket is to be given back when it ends.
    pub fn begin(&self, now_ns: u64, method: &str, path: &str) -> Ticket {
        let words = self.words();
        let mut in_flight = self.in_flight.borrow_mut();
        // The block of the latest request is about to be written over: if that is the oldest one,
        // too, it moves to where it stays.
        let moves = in_flight.oldest().filter(|(start, _)| *start == self.latest_start.get());
        if let Some((start_ns, text)) = moves {
            block::write(oldest(words), start_ns, text);
        }
        self.latest_start.set(now_ns);
        let is_alone = in_flight.is_empty();
        let (ticket, text) = in_flight.begin(now_ns);
        text.set(method, path);
        block::write(latest(words), now_ns, text);
        let count = words[IN_FLIGHT].load(Ordering::Relaxed);
        store(&words[IN_FLIGHT], count.wrapping_add(1), Ordering::Relaxed);
        if is_alone {
            store(&words[STATE], 2, Ordering::Relaxed);
            store(&words[OLDEST_START], now_ns, Ordering::Release);
        }
        ticket
    }

    /// A request has ended.
    pub fn end(&self, ticket: Ticket) {
        let words = self.words();
        let mut in_flight = self.in_flight.borrow_mut();
        let had_put_off = in_flight.has_put_off();
        let was_oldest = in_flight.end(ticket);
        if had_put_off {
            show_put_off(words, &in_flight);
        }
        let count = words[IN_FLIGHT].load(Ordering::Relaxed).saturating_sub(1);
        store(&words[IN_FLIGHT], count, Ordering::Relaxed);
        let served = words[SERVED].load(Ordering::Relaxed).wrapping_add(1);
        store(&words[SERVED], served, Ordering::Relaxed);
        match in_flight.oldest() {
            None => {
                store(&words[STATE], 1, Ordering::Relaxed);
                store(&words[OLDEST_START], 0, Ordering::Release);
            }
            Some((start_ns, text)) if was_oldest => {
                if start_ns != self.latest_start.get() {
                    block::write(oldest(words), start_ns, text);
                }
                store(&words[OLDEST_START], start_ns, Ordering::Release);
            }
            Some(_) => {}
        }
    }

    /// The limits of a request count from so much later than they did.
    pub fn put_off(&self, ticket: Ticket, length_ns: u64) {
        let mut in_flight = self.in_flight.borrow_mut();
        in_flight.put_off(ticket, length_ns);
        show_put_off(self.words(), &in_flight);
    }

    /// The loop has come round.
    pub fn beat(&self, now_ns: u64) {
        store(&self.words()[LOOP_BEAT], now_ns, Ordering::Release);
    }
}

#[cold]
fn show_put_off(words: &Words, in_flight: &InFlight<TEXT_WORDS>) {
    let (oldest, latest) = in_flight.put_off_until();
    store(&words[OLDEST_FROM], oldest, Ordering::Relaxed);
    store(&words[PUT_OFF_UNTIL], latest, Ordering::Relaxed);
}

/// What stands in a line, as far as it can be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineView {
    /// Process id of the writer; 0 before it is ready.
    pub pid: u64,
    /// What the worker is doing.
    pub state: WorkerState,
    /// When the loop last came round, nanoseconds of [`crate::now_ns`].
    pub loop_beat_ns: u64,
    /// When the oldest request in flight began, in the same clock; 0 when none is in flight.
    pub oldest_start_ns: u64,
    /// From when its limits of time count: later than its start when the app has put them off.
    pub oldest_since_ns: u64,
    /// No request in flight has limits that count from later; 0 when none is in flight.
    pub latest_since_ns: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests served.
    pub served: u64,
    /// The oldest request in flight: what a limit on one request is about.
    pub oldest: RequestView,
    /// The request that began last, if any is in flight: in a loop that stands still, most likely
    /// the one that holds it.
    pub latest: RequestView,
}

impl LineView {
    pub(crate) fn read(words: &Words) -> Self {
        let load = |word: usize| words[word].load(Ordering::Acquire);
        let oldest_start_ns = load(OLDEST_START);
        let (latest, oldest) = (block::read(latest(words)), block::read(oldest(words)));
        let is_oldest = |view: &&RequestView| view.start_ns == oldest_start_ns;
        let known = [&oldest, &latest].into_iter().find(is_oldest).cloned();
        let busy = oldest_start_ns > 0;
        let when_busy = |since: u64| if busy { since } else { 0 };
        Self {
            pid: load(PID),
            state: match load(STATE) {
                1 => WorkerState::Idle,
                2 => WorkerState::Busy,
                _ => WorkerState::Booting,
            },
            loop_beat_ns: load(LOOP_BEAT),
            oldest_start_ns,
            oldest_since_ns: when_busy(oldest_start_ns.max(load(OLDEST_FROM))),
            latest_since_ns: when_busy(latest.start_ns.max(load(PUT_OFF_UNTIL))),
            in_flight: load(IN_FLIGHT),
            served: load(SERVED),
            oldest: known.filter(|_| busy).unwrap_or_default(),
            latest: if busy { latest } else { RequestView::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::sync::pen;

    fn shown(view: &RequestView) -> (u64, &str, &str) {
        (view.start_ns, &view.method, &view.path)
    }

    #[test]
    fn a_reader_sees_the_oldest_and_the_latest_request_in_flight() {
        let (board, _fd) = Board::create(4).expect("board");
        let writer = board.writer(2).expect("line");
        writer.claim(77, 5);
        let a = writer.begin(10, "GET", "/a/b");
        let b = writer.begin(11, "POST", "/c");
        let c = writer.begin(12, "PUT", "/d");
        let view = board.read(2);
        assert_eq!((view.pid, view.state, view.in_flight), (77, WorkerState::Busy, 3));
        assert_eq!((view.loop_beat_ns, view.oldest_start_ns), (5, 10));
        assert_eq!(shown(&view.oldest), (10, "GET", "/a/b"));
        assert_eq!(shown(&view.latest), (12, "PUT", "/d"));

        writer.end(a);
        assert_eq!(shown(&board.read(2).oldest), (11, "POST", "/c"));
        writer.end(c);
        let view = board.read(2);
        assert_eq!((shown(&view.oldest), view.oldest_start_ns), ((11, "POST", "/c"), 11));
        writer.end(b);
        let view = board.read(2);
        assert_eq!((view.state, view.oldest_start_ns, view.served), (WorkerState::Idle, 0, 3));
        assert_eq!((view.oldest, view.latest), Default::default());
        assert_eq!(board.read(3), LineView::default(), "a neighbour's line is untouched");
    }

    #[test]
    fn a_request_that_stays_is_the_oldest_however_many_come_and_go() {
        let (board, _fd) = Board::create(1).expect("board");
        let writer = board.writer(0).expect("line");
        let stays = writer.begin(1, "GET", "/ws");
        for now in 2..10_000 {
            let ticket = writer.begin(now, "GET", "/quick");
            assert_eq!(shown(&board.read(0).oldest), (1, "GET", "/ws"));
            writer.end(ticket);
        }
        assert_eq!(board.read(0).in_flight, 1);
        writer.end(stays);
        assert_eq!(board.read(0).served, 9_999);
    }

    #[test]
    fn limits_that_were_put_off_count_from_later_as_long_as_the_request_is_in_flight() {
        let (board, _fd) = Board::create(1).expect("board");
        let writer = board.writer(0).expect("line");
        let since = || (board.read(0).oldest_since_ns, board.read(0).latest_since_ns);
        assert_eq!(since(), (0, 0));
        let a = writer.begin(10, "GET", "/a");
        let b = writer.begin(11, "GET", "/b");
        assert_eq!(since(), (10, 11));
        writer.put_off(b, 100);
        assert_eq!(since(), (10, 111));
        writer.put_off(a, 5);
        writer.put_off(a, 5);
        assert_eq!(since(), (20, 111));
        writer.end(a);
        assert_eq!(since(), (111, 111));
        let c = writer.begin(200, "GET", "/c");
        assert_eq!(since(), (111, 200));
        writer.end(b);
        assert_eq!(since(), (200, 200));
        writer.end(c);
        assert_eq!(since(), (0, 0));
        let d = writer.begin(300, "GET", "/d");
        assert_eq!(since(), (300, 300), "a slot that is used again has forgotten");
        writer.end(d);
    }

    #[test]
    fn another_mapping_of_the_same_memory_sees_it_too() {
        use std::os::fd::AsRawFd;
        let (board, fd) = Board::create(1).expect("board");
        let other = Board::attach(fd.as_raw_fd()).expect("attach");
        let _ticket = other.writer(0).expect("line").begin(1, "GET", "/");
        assert_eq!(board.read(0).latest.path, "/");
        board.clear(0);
        assert_eq!(other.read(0), LineView::default());
    }

    #[test]
    fn there_is_no_line_behind_the_last() {
        let (board, _fd) = Board::create(2).expect("board");
        assert!(board.writer(2).is_none());
        assert_eq!(board.read(9), LineView::default());
    }

    const NAMES: [&str; 6] = ["/a", "/b/bb", "/c/ccc/ccccccccccc", "/d", "/e/eeeee", "/f"];

    /// A worker's day: several requests, ending in another order than they began.
    fn work(writer: &LineWriter) {
        writer.claim(7, 1);
        let [a, b, c] = [0, 1, 2].map(|at| writer.begin(10 + at, "GET", NAMES[at as usize]));
        writer.end(a);
        let d = writer.begin(13, "GET", NAMES[3]);
        writer.beat(14);
        writer.end(c);
        writer.end(b);
        writer.end(d);
        let e = writer.begin(15, "GET", NAMES[4]);
        writer.end(e);
        let _f = writer.begin(16, "GET", NAMES[5]);
    }

    /// What is known of a request is true: its text belongs to its start.
    fn is_true(view: &RequestView) -> bool {
        let names: BTreeMap<u64, &str> = [(10, 0), (11, 1), (12, 2), (13, 3), (15, 4), (16, 5)]
            .map(|(s, n)| (s, NAMES[n]))
            .into();
        view.path.is_empty() && view.method.is_empty()
            || view.method == "GET" && names.get(&view.start_ns) == Some(&view.path.as_str())
    }

    #[test]
    fn a_writer_that_dies_after_any_store_leaves_a_line_that_tells_no_lies() {
        for stores in 0.. {
            let (board, _fd) = Board::create(1).expect("board");
            let writer = board.writer(0).expect("line");
            pen::fill(Some(stores));
            work(&writer);
            let all_were_written = pen::is_wet();
            pen::fill(None);
            let view = board.read(0);
            assert!(is_true(&view.oldest) && is_true(&view.latest), "{stores}: {view:?}");
            // And its successor in the line can write, whatever it finds there.
            board.clear(0);
            let successor = board.writer(0).expect("line");
            let _ticket = successor.begin(99, "GET", "/new");
            assert_eq!(shown(&board.read(0).oldest), (99, "GET", "/new"), "{stores}");
            if all_were_written {
                assert!(stores > 60, "the day has some stores: {stores}");
                return;
            }
        }
    }

    #[test]
    fn a_line_that_was_not_cleared_can_be_written_by_the_next_worker_all_the_same() {
        let (board, _fd) = Board::create(1).expect("board");
        for stores in 0..80 {
            pen::fill(Some(stores));
            work(&board.writer(0).expect("line"));
            pen::fill(None);
            let next = board.writer(0).expect("line");
            let ticket = next.begin(99, "GET", "/new");
            assert_eq!(shown(&board.read(0).latest), (99, "GET", "/new"), "{stores}");
            next.end(ticket);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(words in prop::collection::vec(any::<u64>(), LINE_WORDS)) {
            let (board, _fd) = Board::create(1).expect("board");
            for (word, garbage) in board.words(0).expect("line").iter().zip(words) {
                word.store(garbage, Ordering::Relaxed);
            }
            let view = board.read(0);
            prop_assert!(view.oldest.path.len() + view.latest.path.len() <= 6 * TEXT_WORDS * 8);
            // A writer takes over what it finds.
            let writer = board.writer(0).expect("line");
            let ticket = writer.begin(1, "GET", "/");
            writer.end(ticket);
        }

        #[test]
        fn any_path_is_cut_to_fit(method in "[A-Z]{0,40}", path in "\\PC{0,400}") {
            let (board, _fd) = Board::create(2).expect("board");
            let _ticket = board.writer(0).expect("line").begin(1, &method, &path);
            let view = board.read(0).oldest;
            prop_assert!(method.starts_with(&view.method));
            let whole = path.starts_with(&view.path);
            // A character that was cut in two is shown as one that cannot be read.
            prop_assert!(whole || view.path.ends_with(char::REPLACEMENT_CHARACTER));
            prop_assert_eq!(board.read(1), LineView::default());
        }
    }
}
