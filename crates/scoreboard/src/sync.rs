//! The atomics: the standard ones, loom's in its model, and in tests a pen that runs dry.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Every store of a writer goes through here.
#[inline(always)]
pub(crate) fn store(word: &AtomicU64, value: u64, ordering: Ordering) {
    #[cfg(all(test, not(loom)))]
    if !pen::writes() {
        return;
    }
    word.store(value, ordering);
}

/// A writer that dies after so many stores, as tests see it.
#[cfg(all(test, not(loom)))]
pub(crate) mod pen {
    use std::cell::Cell;

    thread_local! {
        static INK: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// From now on only so many stores of this thread take effect; `None` = all.
    pub(crate) fn fill(stores: Option<usize>) {
        INK.set(stores);
    }

    /// Whether some ink was left over.
    pub(crate) fn is_wet() -> bool {
        INK.get().is_none_or(|left| left > 0)
    }

    pub(super) fn writes() -> bool {
        match INK.get() {
            None => true,
            Some(0) => false,
            Some(left) => {
                INK.set(Some(left - 1));
                true
            }
        }
    }
}
