//! Refused requests, gathered for the log: a flood of them must be no flood of lines.

use crate::Peer;
use crate::shared::Notice;

/// What was refused since somebody last looked: the first in words, the others in number.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    first: Option<(Peer, String)>,
    more: u64,
}

impl Refusals {
    pub(crate) fn add(&mut self, peer: Peer, reason: impl FnOnce() -> String) {
        match &self.first {
            Some(_) => self.more += 1,
            None => self.first = Some((peer, reason())),
        }
    }

    pub(crate) fn take(&mut self) -> Option<Notice> {
        let (peer, reason) = self.first.take()?;
        Some(Notice::InvalidRequest { peer, reason, more: std::mem::take(&mut self.more) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_one_notice_with_a_count() {
        let mut refusals = Refusals::default();
        assert!(refusals.take().is_none());
        for number in 0..1000 {
            refusals.add(Peer::Unix, || format!("reason {number}"));
        }
        let Some(Notice::InvalidRequest { reason, more, .. }) = refusals.take() else {
            panic!("nothing was noticed");
        };
        assert_eq!((reason.as_str(), more), ("reason 0", 999));
        assert!(refusals.take().is_none());
    }
}
