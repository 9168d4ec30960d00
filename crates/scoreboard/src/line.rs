//! One line: its words, its writer, and what a reader makes of it.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::Board;

/// 256 bytes: four cache lines, so that two workers never share one.
pub(crate) const LINE_WORDS: usize = 32;

// Where each word stands.
const PID: usize = 0;
const STATE: usize = 1;
const LOOP_BEAT: usize = 2;
const REQUEST_START: usize = 3;
const IN_FLIGHT: usize = 4;
const SERVED: usize = 5;
/// Odd while the text is being written.
const SEQUENCE: usize = 6;
/// Length of the method in the low byte, of the path in the next.
const TEXT_LENGTHS: usize = 7;
const TEXT: usize = 8;
const TEXT_BYTES: usize = (LINE_WORDS - TEXT) * 8;
const METHOD_BYTES_MAX: usize = 16;

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
}

impl LineWriter {
    pub(crate) fn new(board: Board, line: u16) -> Self {
        Self { board, line }
    }

    fn words(&self) -> &[AtomicU64; LINE_WORDS] {
        self.board.words(self.line).expect("checked when the writer was made")
    }

    /// Says whose line it is, and that the worker is ready.
    pub fn claim(&self, pid: u32, now_ns: u64) {
        let words = self.words();
        words[LOOP_BEAT].store(now_ns, Ordering::Relaxed);
        words[STATE].store(1, Ordering::Relaxed);
        words[PID].store(u64::from(pid), Ordering::Release);
    }

    /// A request begins: the latest one's method and path are kept.
    pub fn begin(&self, now_ns: u64, method: &str, path: &str) {
        let words = self.words();
        write_text(words, method, path);
        let in_flight = words[IN_FLIGHT].load(Ordering::Relaxed);
        if in_flight == 0 {
            words[STATE].store(2, Ordering::Relaxed);
        }
        words[IN_FLIGHT].store(in_flight + 1, Ordering::Relaxed);
        words[REQUEST_START].store(now_ns, Ordering::Release);
    }

    /// A request has ended.
    pub fn end(&self) {
        let words = self.words();
        let in_flight = words[IN_FLIGHT].load(Ordering::Relaxed).saturating_sub(1);
        words[IN_FLIGHT].store(in_flight, Ordering::Relaxed);
        words[SERVED].store(words[SERVED].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if in_flight == 0 {
            words[STATE].store(1, Ordering::Relaxed);
            words[REQUEST_START].store(0, Ordering::Release);
        }
    }

    /// The loop has come round.
    pub fn beat(&self, now_ns: u64) {
        self.words()[LOOP_BEAT].store(now_ns, Ordering::Release);
    }
}

/// The sequence is odd while the words change, so that a reader can tell that it read a mixture.
fn write_text(words: &[AtomicU64; LINE_WORDS], method: &str, path: &str) {
    let method = &method.as_bytes()[..method.len().min(METHOD_BYTES_MAX)];
    let path = &path.as_bytes()[..path.len().min(TEXT_BYTES - method.len())];
    let mut text = [0u8; TEXT_BYTES];
    text[..method.len()].copy_from_slice(method);
    text[method.len()..method.len() + path.len()].copy_from_slice(path);

    let sequence = words[SEQUENCE].load(Ordering::Relaxed);
    words[SEQUENCE].store(sequence | 1, Ordering::Relaxed);
    fence(Ordering::Release);
    words[TEXT_LENGTHS].store((method.len() | path.len() << 8) as u64, Ordering::Relaxed);
    let used = (method.len() + path.len()).div_ceil(8);
    for (word, bytes) in words[TEXT..].iter().zip(text.chunks_exact(8)).take(used) {
        let bytes = bytes.try_into().expect("chunks of eight");
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
    words[SEQUENCE].store((sequence | 1).wrapping_add(1), Ordering::Release);
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
    /// When the latest request began, in the same clock; 0 when none is in flight.
    pub request_start_ns: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests served.
    pub served: u64,
    /// Method of the latest request; empty when it was just being written.
    pub method: String,
    /// Its path, cut to fit.
    pub path: String,
}

/// Reads of a text that changes meanwhile, before it is given up.
const READS_MAX: usize = 4;

impl LineView {
    pub(crate) fn read(words: &[AtomicU64; LINE_WORDS]) -> Self {
        let load = |word: usize| words[word].load(Ordering::Acquire);
        let (method, path) = (0..READS_MAX).find_map(|_| read_text(words)).unwrap_or_default();
        Self {
            pid: load(PID),
            state: match load(STATE) {
                1 => WorkerState::Idle,
                2 => WorkerState::Busy,
                _ => WorkerState::Booting,
            },
            loop_beat_ns: load(LOOP_BEAT),
            request_start_ns: load(REQUEST_START),
            in_flight: load(IN_FLIGHT),
            served: load(SERVED),
            method,
            path,
        }
    }
}

fn read_text(words: &[AtomicU64; LINE_WORDS]) -> Option<(String, String)> {
    let before = words[SEQUENCE].load(Ordering::Acquire);
    if before % 2 == 1 {
        return None;
    }
    let lengths = words[TEXT_LENGTHS].load(Ordering::Relaxed);
    let mut text = [0u8; TEXT_BYTES];
    for (word, bytes) in words[TEXT..].iter().zip(text.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    fence(Ordering::Acquire);
    if words[SEQUENCE].load(Ordering::Relaxed) != before {
        return None;
    }
    let method = (lengths & 0xff) as usize;
    let path = (lengths >> 8 & 0xff) as usize;
    let decode = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    Some((decode(text.get(..method))?, decode(text.get(method..method + path))?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reader_sees_what_was_written() {
        let (board, _fd) = Board::create(4).expect("board");
        let writer = board.writer(2).expect("line");
        writer.claim(77, 5);
        writer.begin(10, "GET", "/a/b");
        writer.begin(11, "POST", "/c");
        let view = board.read(2);
        assert_eq!((view.pid, view.state, view.in_flight), (77, WorkerState::Busy, 2));
        assert_eq!((view.method.as_str(), view.path.as_str()), ("POST", "/c"));
        assert_eq!((view.loop_beat_ns, view.request_start_ns), (5, 11));

        writer.end();
        assert_eq!(board.read(2).request_start_ns, 11);
        writer.end();
        let view = board.read(2);
        assert_eq!((view.state, view.request_start_ns, view.served), (WorkerState::Idle, 0, 2));
        assert_eq!(board.read(3), LineView::default(), "a neighbour's line is untouched");
    }

    #[test]
    fn another_mapping_of_the_same_memory_sees_it_too() {
        use std::os::fd::AsRawFd;
        let (board, fd) = Board::create(1).expect("board");
        let other = Board::attach(fd.as_raw_fd()).expect("attach");
        other.writer(0).expect("line").begin(1, "GET", "/");
        assert_eq!(board.read(0).path, "/");
        board.clear(0);
        assert_eq!(other.read(0), LineView::default());
    }

    #[test]
    fn a_writer_that_dies_in_the_middle_leaves_a_line_without_text() {
        let (board, _fd) = Board::create(1).expect("board");
        board.writer(0).expect("line").begin(9, "GET", "/old");
        board.words(0).expect("line")[SEQUENCE].store(3, Ordering::Relaxed);
        let view = board.read(0);
        assert_eq!((view.method.as_str(), view.path.as_str(), view.request_start_ns), ("", "", 9));
        // And its successor in the line can write again.
        board.writer(0).expect("line").begin(10, "GET", "/new");
        assert_eq!(board.read(0).path, "/new");
    }

    #[test]
    fn there_is_no_line_behind_the_last() {
        let (board, _fd) = Board::create(2).expect("board");
        assert!(board.writer(2).is_none());
        assert_eq!(board.read(9), LineView::default());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(words in proptest::array::uniform32(any::<u64>())) {
            let (board, _fd) = Board::create(1).expect("board");
            for (word, garbage) in board.words(0).expect("line").iter().zip(words) {
                word.store(garbage, Ordering::Relaxed);
            }
            let view = board.read(0);
            prop_assert!(view.path.len() <= 3 * TEXT_BYTES);
        }

        #[test]
        fn any_path_is_cut_to_fit(method in "[A-Z]{0,40}", path in "\\PC{0,400}") {
            let (board, _fd) = Board::create(2).expect("board");
            board.writer(0).expect("line").begin(1, &method, &path);
            prop_assert!(method.starts_with(&board.read(0).method));
            prop_assert_eq!(board.read(1), LineView::default());
        }
    }
}
