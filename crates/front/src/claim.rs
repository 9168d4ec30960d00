//! Whose a connection is at a moment: the front's, or free for the lookout's thread to pass on.
//!
//! A connection that waits for its next request, with no byte of it read, is nothing but a
//! descriptor: any worker can serve it. So the front lets go of it then, and claims it again before
//! it reads. Both are one atomic step, since the lookout may reach for it at the same time.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use socket2::Socket;

#[derive(Debug)]
pub(crate) struct Claim {
    /// Closed when the front and the lookout have both let go of it.
    pub(crate) socket: Socket,
    pub(crate) listener: usize,
    holder: AtomicU8,
    /// Who answers the request that is with the app.
    answer: AtomicU8,
    /// It has come from a sibling, and has had no request here since.
    is_guest: AtomicBool,
}

/// The front works on it.
const FRONT: u8 = 0;
/// Nobody does, and it has had no request yet.
const NOBODY_FRESH: u8 = 1;
/// Nobody does; it has had requests.
const NOBODY: u8 = 2;
/// The lookout is about to pass it on.
const LOOKOUT: u8 = 3;
/// Another worker has it.
const GONE: u8 = 4;

/// No request is with the app.
const NO_REQUEST: u8 = 0;
/// The app has it; nobody has answered.
const AWAITED: u8 = 1;
/// The lookout has answered in place of an app that does not come back.
const BY_LOOKOUT: u8 = 2;

/// What the front may do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Work on it.
    Ours,
    /// Come back in a moment.
    NotNow,
    /// Forget it.
    Gone,
}

impl Claim {
    /// The front's own at first.
    pub(crate) fn new(socket: Socket, listener: usize) -> Self {
        Self {
            socket,
            listener,
            holder: AtomicU8::new(FRONT),
            answer: AtomicU8::new(NO_REQUEST),
            is_guest: AtomicBool::new(false),
        }
    }

    /// The front lets go. `served`: it has had requests.
    pub(crate) fn release(&self, served: bool) {
        self.holder.store(if served { NOBODY } else { NOBODY_FRESH }, Ordering::Release);
    }

    /// The front wants to work on it.
    pub(crate) fn claim(&self) -> Claimed {
        let free = |holder| matches!(holder, NOBODY | NOBODY_FRESH).then_some(FRONT);
        match self.holder.fetch_update(Ordering::AcqRel, Ordering::Acquire, free) {
            Ok(_) | Err(FRONT) => Claimed::Ours,
            Err(LOOKOUT) => Claimed::NotNow,
            Err(_) => Claimed::Gone,
        }
    }

    /// The lookout, or a front that leaves, reaches for it: whether it has had requests. `None` when
    /// the front works on it.
    pub(crate) fn take(&self) -> Option<bool> {
        let free = |holder| matches!(holder, NOBODY | NOBODY_FRESH).then_some(LOOKOUT);
        let before = self.holder.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        Some(before == NOBODY)
    }

    /// It was passed on after `take`.
    pub(crate) fn give_away(&self) {
        self.holder.store(GONE, Ordering::Release);
    }

    /// A request goes to the app.
    pub(crate) fn await_answer(&self) {
        self.answer.store(AWAITED, Ordering::Release);
    }

    /// The front is about to answer; false when the lookout was quicker, and nothing may follow.
    pub(crate) fn answer(&self) -> bool {
        self.answer.swap(NO_REQUEST, Ordering::AcqRel) != BY_LOOKOUT
    }

    /// The lookout is about to answer; true when that is still to be done.
    pub(crate) fn answer_instead(&self) -> bool {
        let swapped =
            self.answer.compare_exchange(AWAITED, BY_LOOKOUT, Ordering::AcqRel, Ordering::Acquire);
        swapped.is_ok()
    }

    /// It has come from a sibling, or it is served here after that.
    pub(crate) fn set_guest(&self, is_guest: bool) {
        self.is_guest.store(is_guest, Ordering::Relaxed);
    }

    /// Whether it has come from a sibling and still waits for its turn.
    pub(crate) fn is_guest(&self) -> bool {
        self.is_guest.load(Ordering::Relaxed)
    }

    /// Whether somebody could take it.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.holder.load(Ordering::Acquire), NOBODY | NOBODY_FRESH)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use socket2::{Domain, Type};

    use super::*;

    fn claim() -> Claim {
        Claim::new(Socket::new(Domain::UNIX, Type::STREAM, None).expect("socket"), 0)
    }

    #[test]
    fn what_the_front_works_on_cannot_be_taken() {
        let claim = claim();
        assert_eq!(claim.take(), None);
        claim.release(false);
        assert_eq!(claim.claim(), Claimed::Ours);
        assert_eq!(claim.take(), None);
    }

    #[test]
    fn what_was_taken_is_claimed_again_only_if_it_comes_back() {
        let claim = claim();
        claim.release(true);
        assert_eq!(claim.take(), Some(true));
        assert_eq!(claim.claim(), Claimed::NotNow);
        claim.release(true);
        assert_eq!(claim.claim(), Claimed::Ours);
        claim.release(false);
        assert_eq!(claim.take(), Some(false));
        claim.give_away();
        assert_eq!((claim.claim(), claim.take()), (Claimed::Gone, None));
    }

    #[test]
    fn a_request_is_answered_by_one_of_both() {
        let claim = claim();
        assert!(!claim.answer_instead(), "no request is with the app");
        claim.await_answer();
        assert!(claim.answer());
        assert!(!claim.answer_instead());
        claim.await_answer();
        assert!(claim.answer_instead());
        assert!(!claim.answer_instead(), "once");
        assert!(!claim.answer());
    }

    #[test]
    fn two_threads_never_hold_it_at_once() {
        let (claim, holders) = (Arc::new(claim()), Arc::new(AtomicU32::new(0)));
        claim.release(true);
        let works = |took: bool| {
            if took {
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                holders.fetch_sub(1, Ordering::SeqCst);
                claim.release(true);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100_000).for_each(|_| works(claim.take().is_some())));
            scope.spawn(|| (0..100_000).for_each(|_| works(claim.claim() == Claimed::Ours)));
        });
    }
}
