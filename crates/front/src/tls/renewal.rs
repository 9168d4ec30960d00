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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::tls::{Pair, PemFile, TlsWish};

    const FILES: [&str; 2] = ["cert", "key"];

    fn issue(folder: &Path) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("pair");
        fs::write(folder.join("cert"), pair.cert.pem()).expect("written");
        fs::write(folder.join("key"), pair.signing_key.serialize_pem()).expect("written");
    }

    fn remove(folder: &Path) {
        for name in FILES {
            fs::remove_file(folder.join(name)).expect("removed");
        }
    }

    /// With what stands in them now.
    fn wish(folder: &Path) -> TlsWish {
        let [certificate, key] = FILES.map(|name| {
            let path = folder.join(name);
            PemFile { text: Some(fs::read_to_string(&path).expect("text")), path }
        });
        let pair = Pair { certificate, key: Some(key), password: None };
        TlsWish { pairs: vec![pair], ..TlsWish::default() }
    }

    /// As when root has read them and the user of the workers cannot; or when a hook has removed them.
    #[test]
    fn files_that_cannot_be_seen_are_as_they_were_and_new_ones_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path();
        for is_gone_before in [true, false] {
            issue(path);
            let wish = wish(path);
            if is_gone_before {
                remove(path);
            }
            let renewal = Renewal::new(Arc::new(Certificates::load(wish).expect("loaded")));
            if !is_gone_before {
                remove(path);
            }
            let mut now = 0;
            let mut look = || {
                now += 2 * LOOK_EVERY.as_nanos() as u64;
                renewal.look(now)
            };
            assert!(look().is_none());
            fs::write(path.join("key"), "nonsense").expect("written");
            assert!(matches!(look(), Some(Notice::CertificateRefused(_))));
            issue(path);
            assert!(matches!(look(), Some(Notice::CertificateRenewed(_))));
            // What was there and is no more is no renewal.
            remove(path);
            assert!(matches!(look(), Some(Notice::CertificateRefused(_))));
        }
    }
}
