//! Certificates that are exchanged while we serve: whoever renews them writes new files, and new
//! connections get what stands there then.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::certificates::Certificates;
use super::wish::Stamp;
use crate::shared::Notice;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The certificates of a front.
pub(crate) struct Renewal {
    current: RefCell<Arc<Certificates>>,
    looked: Cell<Option<u64>>,
    /// Files that could not be used: looked at again when they have changed once more.
    refused: RefCell<Option<Stamp>>,
}

impl Renewal {
    pub(crate) fn new(certificates: Arc<Certificates>) -> Self {
        Self {
            current: RefCell::new(certificates),
            looked: Cell::new(None),
            refused: RefCell::new(None),
        }
    }

    /// What the next handshake is made with.
    pub(crate) fn current(&self) -> Arc<Certificates> {
        self.current.borrow().clone()
    }

    /// Looks at the files, if it is time. What cannot be used changes nothing but the log: often a
    /// certificate and its key are written one after the other.
    pub(crate) fn look(&self, now: u64) -> Option<Notice> {
        let is_early = |looked| Duration::from_nanos(now.saturating_sub(looked)) < LOOK_EVERY;
        if self.looked.get().is_some_and(is_early) {
            return None;
        }
        self.looked.set(Some(now));
        let current = self.current();
        let stamp = current.stamp_now();
        if !current.has_changed(&stamp) || self.refused.borrow().as_ref() == Some(&stamp) {
            return None;
        }
        match current.load_again() {
            Ok(new) => {
                let new = Arc::new(new);
                self.refused.replace(None);
                self.current.replace(new.clone());
                Some(Notice::CertificateRenewed(new))
            }
            Err(error) => {
                self.refused.replace(Some(stamp));
                Some(Notice::CertificateRefused(error))
            }
        }
    }
}
