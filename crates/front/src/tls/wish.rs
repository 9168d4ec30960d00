//! What TLS shall be made from: by settings, or by a context that a hook has made.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// What TLS shall be made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsWish {
    /// The server's certificates: at least one; of those with the same kind of key the last counts.
    pub pairs: Vec<Pair>,
    /// Who may sign clients' certificates.
    pub authorities: Vec<PemFile>,
    /// Whether clients are asked for one.
    pub client: ClientAuth,
    /// Cipher suites by OpenSSL's names; none = all that there are.
    pub suites: Vec<String>,
    /// Whether their order decides, and not the client's.
    pub own_order: bool,
    /// The only curve for the exchange of keys, by OpenSSL's name; `None` = all that there are.
    pub curve: Option<String>,
    /// Versions that are spoken.
    pub versions: Versions,
    /// Whether clients cannot resume their sessions.
    pub without_tickets: bool,
    /// What ALPN offers, most wanted first: `h2`, `http/1.1`; none = ALPN is not spoken.
    pub protocols: Vec<String>,
}

/// A certificate with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The server's certificate, then those that lead to its authority.
    pub certificate: PemFile,
    /// Its private key; `None` = in the same file.
    pub key: Option<PemFile>,
    /// What the key is encrypted with.
    pub password: Option<Vec<u8>>,
}

impl Pair {
    /// A certificate whose key needs no password.
    #[must_use]
    pub fn plain(certificate: impl Into<PathBuf>, key: Option<PathBuf>) -> Self {
        let key = key.map(PemFile::at);
        Self { certificate: PemFile::at(certificate), key, password: None }
    }

    pub(crate) fn key_file(&self) -> &PemFile {
        self.key.as_ref().unwrap_or(&self.certificate)
    }
}

/// A file in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Where it is, or what to call it.
    pub path: PathBuf,
    /// What stood in it, for when it cannot be read any more.
    pub text: Option<String>,
}

impl PemFile {
    /// A file that stays where it is.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), text: None }
    }

    fn stamp(&self) -> FileStamp {
        // Links are followed: whoever renews certificates often exchanges a link.
        let facts = fs::metadata(&self.path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    }
}

/// Without what stands in them, which may be a key.
impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, key, password: _ } = self;
        f.debug_struct("Pair").field("certificate", certificate).field("key", key).finish()
    }
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not.
    #[default]
    None,
    /// They may show one, which then must be right.
    Optional,
    /// Who has none is turned away.
    Required,
}

/// Versions of TLS that are spoken; older ones never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    All,
    /// 1.2 and not 1.3.
    Only12,
    /// 1.3 and not 1.2.
    Only13,
}

/// When a file was written, and its length; `None` = it is not there for us.
type FileStamp = Option<(SystemTime, u64)>;

/// What tells that a file was changed or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    keys: Vec<FileStamp>,
    authorities: Vec<FileStamp>,
}

impl Stamp {
    pub(crate) fn has_same_authorities(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }
}

impl TlsWish {
    /// Certificates and their keys.
    fn key_files(&self) -> impl Iterator<Item = &PemFile> {
        self.pairs.iter().flat_map(|pair| [&pair.certificate, pair.key_file()])
    }

    /// How the files are now. One that we cannot see, but whose text we have, is as it was.
    pub(crate) fn stamp(&self, before: Option<&Stamp>) -> Stamp {
        let of = |(index, file): (usize, &PemFile), before: Option<&Vec<FileStamp>>| {
            let now = file.stamp();
            let known = before.filter(|_| now.is_none() && file.text.is_some());
            known.map_or(now, |known| known.get(index).copied().flatten())
        };
        let (keys, authorities) = (before.map(|b| &b.keys), before.map(|b| &b.authorities));
        Stamp {
            keys: self.key_files().enumerate().map(|file| of(file, keys)).collect(),
            authorities: self.authorities.iter().enumerate().map(|f| of(f, authorities)).collect(),
        }
    }

    /// Without texts of files that are there: what has changed is read, or it is an error.
    pub(crate) fn renewed(mut self) -> Self {
        let pairs = self.pairs.iter_mut();
        let keys = pairs.flat_map(|pair| [Some(&mut pair.certificate), pair.key.as_mut()]);
        for file in keys.flatten().chain(&mut self.authorities) {
            if file.stamp().is_some() {
                file.text = None;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_passwords_nor_keys_are_shown() {
        let key = Some(PemFile { path: "key".into(), text: Some("secret".to_owned()) });
        let pair = Pair { key, password: Some(b"secret".to_vec()), ..Pair::plain("cert", None) };
        let shown = format!("{:?}", TlsWish { pairs: vec![pair], ..TlsWish::default() });
        assert!(shown.contains("\"key\"") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"secret")), "{shown}");
    }
}
