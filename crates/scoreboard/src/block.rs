//! A request in shared memory: when it began, its method and its path, behind a seqlock.
//!
//! The writer makes the sequence odd, writes, and makes it even again; a reader that finds it odd,
//! or changed after its reads, has seen a mixture and drops it. Nobody ever waits: a writer that
//! dies in between leaves a block that cannot be read, and the next writer goes on from there.

use crate::sync::{AtomicU64, Ordering, fence, store};

// Where each word stands.
const SEQUENCE: usize = 0;
const START: usize = 1;
/// Length of the method in the low byte, of the path in the next.
const LENGTHS: usize = 2;
const TEXT: usize = 3;
/// Words before the text.
pub(crate) const HEAD_WORDS: usize = TEXT;
const METHOD_BYTES_MAX: usize = 16;
/// Reads of a block that changes meanwhile, before it is given up.
const READS_MAX: usize = 4;

/// A request as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestView {
    /// When it began, nanoseconds of the monotonic clock; 0 when none is known.
    pub start_ns: u64,
    /// Its method; empty when none is known, or when it was just being written.
    pub method: String,
    /// Its path, cut to fit.
    pub path: String,
}

/// Method and path, cut to fit, as words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<const WORDS: usize> {
    lengths: u64,
    words: [[u8; 8]; WORDS],
}

impl<const WORDS: usize> Text<WORDS> {
    pub(crate) const EMPTY: Self = Self { lengths: 0, words: [[0; 8]; WORDS] };

    /// Writes over an old text; what is left of it behind the new one is never read.
    pub(crate) fn set(&mut self, method: &str, path: &str) {
        let method = &method.as_bytes()[..method.len().min(METHOD_BYTES_MAX)];
        let path = &path.as_bytes()[..path.len().min(WORDS * 8 - method.len())];
        self.lengths = (method.len() | path.len() << 8) as u64;
        let (first, rest) = self.words.as_flattened_mut().split_at_mut(method.len());
        first.copy_from_slice(method);
        rest[..path.len()].copy_from_slice(path);
    }

    fn used(&self) -> usize {
        ((self.lengths & 0xff) + (self.lengths >> 8 & 0xff)).div_ceil(8) as usize
    }
}

/// Writes a request into a block. There must be one writer.
pub(crate) fn write<const WORDS: usize>(block: &[AtomicU64], start_ns: u64, text: &Text<WORDS>) {
    let sequence = block[SEQUENCE].load(Ordering::Relaxed);
    store(&block[SEQUENCE], sequence | 1, Ordering::Relaxed);
    fence(Ordering::Release);
    store(&block[START], start_ns, Ordering::Relaxed);
    store(&block[LENGTHS], text.lengths, Ordering::Relaxed);
    for (word, value) in block[TEXT..].iter().zip(&text.words[..text.used().min(WORDS)]) {
        store(word, u64::from_ne_bytes(*value), Ordering::Relaxed);
    }
    store(&block[SEQUENCE], (sequence | 1).wrapping_add(1), Ordering::Release);
}

/// Reads a block; empty when it cannot be read, or is being written all the time.
pub(crate) fn read(block: &[AtomicU64]) -> RequestView {
    (0..READS_MAX).find_map(|_| read_once(block)).unwrap_or_default()
}

pub(crate) fn read_once(block: &[AtomicU64]) -> Option<RequestView> {
    let before = block[SEQUENCE].load(Ordering::Acquire);
    if before % 2 == 1 {
        return None;
    }
    let start_ns = block[START].load(Ordering::Relaxed);
    let lengths = block[LENGTHS].load(Ordering::Relaxed);
    let (method, path) = ((lengths & 0xff) as usize, (lengths >> 8 & 0xff) as usize);
    let used = (method + path).div_ceil(8);
    let words = block[TEXT..].iter().take(used);
    let bytes: Vec<u8> =
        words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    fence(Ordering::Acquire);
    if block[SEQUENCE].load(Ordering::Relaxed) != before {
        return None;
    }
    let decode = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    Some(RequestView {
        start_ns,
        method: decode(bytes.get(..method))?,
        path: decode(bytes.get(method..method + path))?,
    })
}

/// Every interleaving of a writer and a reader that the memory model allows.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    const WORDS: usize = 2;

    fn block() -> Arc<[AtomicU64; HEAD_WORDS + WORDS]> {
        Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn text(path: &str) -> Text<WORDS> {
        let mut text = Text::EMPTY;
        text.set("GET", path);
        text
    }

    #[test]
    fn a_reader_sees_one_request_or_none_and_never_a_mixture() {
        loom::model(|| {
            let block = block();
            let shared = block.clone();
            let writer = thread::spawn(move || {
                write(&shared[..], 1, &text("/a"));
                write(&shared[..], 2, &text("/bb/bb/bb"));
            });
            if let Some(view) = read_once(&block[..]) {
                let seen = (view.start_ns, view.path.as_str());
                assert!([(0, ""), (1, "/a"), (2, "/bb/bb/bb")].contains(&seen), "{seen:?}");
            }
            writer.join().unwrap();
            assert_eq!(read(&block[..]).path, "/bb/bb/bb");
        });
    }

    /// What the master does with it: the start of the oldest request is a word of its own, stored
    /// after the block.
    #[test]
    fn whoever_sees_the_word_behind_a_block_sees_the_block_or_a_newer_one() {
        loom::model(|| {
            let (block, oldest) = (block(), Arc::new(AtomicU64::new(0)));
            let (shared, word) = (block.clone(), oldest.clone());
            let writer = thread::spawn(move || {
                write(&shared[..], 1, &text("/a"));
                store(&word, 1, Ordering::Release);
                write(&shared[..], 2, &text("/b"));
            });
            if oldest.load(Ordering::Acquire) == 1
                && let Some(view) = read_once(&block[..])
            {
                assert!(view.start_ns >= 1, "{view:?}");
            }
            writer.join().unwrap();
        });
    }
}
