//! Certificate, key and authorities: from files to what handshakes are made with.
//!
//! Loaded once before there are workers, so that a mistake is one clear error; see
//! `renewal.rs` for what happens when the files change later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::client_certificate::{outdated, pem};
use super::suites;

/// A session with the certificates that a client has shown.
const TICKET_BYTES_MAX: usize = 8192;

/// What TLS shall be made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsWish {
    /// PEM: the server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM: its private key; `None` = in the same file.
    pub key: Option<PathBuf>,
    /// PEM: who may sign clients' certificates.
    pub authorities: Option<PathBuf>,
    /// Whether clients are asked for one.
    pub client: ClientAuth,
    /// Cipher suites by OpenSSL's names; none = all that there are.
    pub suites: Vec<String>,
    /// What ALPN offers, most wanted first: `h2`, `http/1.1`; none = ALPN is not spoken.
    pub protocols: Vec<String>,
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

/// Why TLS cannot be had from these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or may not be read.
    #[error("cannot read the {what} `{}`\n  why:  {why}", path.display())]
    Unreadable {
        /// certificate, private key or authorities.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        why: io::Error,
    },
    /// Nothing of the kind in it.
    #[error("there is no {what} in `{}`\n  why:  no `-----BEGIN {label}-----` was found\n  hint: {hint}", path.display())]
    Missing {
        /// certificate or private key.
        what: &'static str,
        /// What PEM calls it.
        label: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader can do.
        hint: &'static str,
    },
    /// Something that looked right at first.
    #[error("cannot use the {what} in `{}`, line {line}\n  why:  {why}", path.display())]
    Broken {
        /// certificate or private key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where it begins, counted from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// A key that needs a password.
    #[error("the private key in `{}`, line {line}, is encrypted\n  why:  there is nobody to type its password\n  hint: write it plainly, readable to remuda only: openssl pkey -in {} -out plain.key", path.display(), path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Where it begins, counted from 1.
        line: usize,
    },
    /// Key and certificate are of different pairs.
    #[error("the private key in `{}` does not belong to the certificate in `{}`\n  hint: the certificate of the server itself must be the first in its file", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Clients shall show certificates, but nobody is trusted to sign them.
    #[error(
        "clients shall show certificates, but there are no authorities for them\n  hint: name the file of those that may sign them in `ca_certs`"
    )]
    NoAuthorities,
    /// What remains are faults of these settings together.
    #[error("TLS cannot be set up\n  why:  {0}")]
    Other(String),
}

/// A certificate with its key, and all else that a handshake needs.
#[derive(Debug)]
pub struct Certificates {
    wish: TlsWish,
    config: Arc<ServerConfig>,
    server_pem: String,
    outdated: Option<String>,
    stamp: Stamp,
}

/// What tells that a file was changed or replaced: of certificate, key and authorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp([Option<(SystemTime, u64)>; 3]);

impl Stamp {
    fn of_authorities(self) -> Option<(SystemTime, u64)> {
        self.0[2]
    }
}

impl TlsWish {
    pub(crate) fn stamp(&self) -> Stamp {
        let files = [Some(&self.certificate), self.key.as_ref(), self.authorities.as_ref()];
        Stamp(files.map(|path| {
            // Links are followed: whoever renews certificates often exchanges a link.
            let facts = fs::metadata(path?).ok()?;
            Some((facts.modified().ok()?, facts.len()))
        }))
    }
}

impl Certificates {
    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its file.
    pub fn load(wish: TlsWish) -> Result<Self, TlsError> {
        let stamp = wish.stamp();
        let provider = Arc::new(provider(&wish.suites)?);
        let certificate = certified_key(&wish, &provider)?;
        let own = certificate.end_entity_cert().map_err(other)?;
        let (server_pem, outdated) = (pem(own), outdated(own));
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(other)?;
        let builder = match wish.client {
            ClientAuth::None => builder.with_no_client_auth(),
            asked => builder.with_client_cert_verifier(verifier(&wish, asked, provider)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        config.alpn_protocols = wish.protocols.iter().map(|name| name.as_bytes().into()).collect();
        // Made before the workers are, so that a client can resume with any of them.
        config.ticketer = ring::Ticketer::new().map_err(other)?;
        // It takes no ticket longer than those that it has made, and a worker has made none yet.
        config.ticketer.encrypt(&[0; TICKET_BYTES_MAX]);
        Ok(Self { wish, config: Arc::new(config), server_pem, outdated, stamp })
    }

    /// Reads the files again. Sessions of before can be resumed, unless other authorities count now.
    pub(crate) fn load_again(&self) -> Result<Self, TlsError> {
        let mut new = Self::load(self.wish.clone())?;
        if new.stamp.of_authorities() == self.stamp.of_authorities()
            && let Some(config) = Arc::get_mut(&mut new.config)
        {
            config.ticketer = self.config.ticketer.clone();
            config.session_storage = self.config.session_storage.clone();
        }
        Ok(new)
    }

    /// What the operator should know of a certificate that was loaded: its dates.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let why = self.outdated.as_ref()?;
        Some(format!("The certificate in `{}` {why}", self.wish.certificate.display()))
    }

    /// Where the certificate was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.wish.certificate
    }

    pub(crate) fn has_changed(&self, stamp: Stamp) -> bool {
        self.stamp != stamp
    }

    pub(crate) fn stamp_now(&self) -> Stamp {
        self.wish.stamp()
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    pub(crate) fn server_pem(&self) -> &str {
        &self.server_pem
    }
}

fn other(error: rustls::Error) -> TlsError {
    TlsError::Other(error.to_string())
}

fn provider(suites: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    if !suites.is_empty() {
        let named = suites.iter().map(|name| {
            suites::named(name).ok_or_else(|| TlsError::Other(format!("no cipher suite `{name}`")))
        });
        provider.cipher_suites = named.collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

fn certified_key(wish: &TlsWish, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let text = read("certificate", &wish.certificate)?;
    let certificates = certificates("certificate", &wish.certificate, &text)?;
    let key_path = wish.key.as_ref().unwrap_or(&wish.certificate);
    let key = match &wish.key {
        Some(path) => private_key(path, &read("private key", path)?),
        None => private_key(&wish.certificate, &text),
    }?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| TlsError::Broken {
        what: "private key",
        path: key_path.clone(),
        line: line_of_key(&text),
        why: error.to_string(),
    })?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let (key, certificate) = (key_path.clone(), wish.certificate.clone());
            Err(TlsError::Mismatch { key, certificate })
        }
        // Some kinds of keys cannot say; then the first handshake would.
        _ => Ok(certified),
    }
}

fn verifier(
    wish: &TlsWish,
    asked: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let path = wish.authorities.as_ref().ok_or(TlsError::NoAuthorities)?;
    let mut roots = RootCertStore::empty();
    let text = read("authorities", path)?;
    for authority in certificates("authority's certificate", path, &text)? {
        roots.add(authority).map_err(other)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match asked {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::None | ClientAuth::Required => builder,
    };
    builder.build().map_err(|error| TlsError::Other(error.to_string()))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|why| TlsError::Unreadable { what, path: path.to_owned(), why })
}

fn certificates(
    what: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let broken = |why: String| {
            let line = line_of(text, "CERTIFICATE-----", found.len());
            TlsError::Broken { what, path: path.to_owned(), line, why }
        };
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        ParsedCertificate::try_from(&certificate).map_err(|error| broken(error.to_string()))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(TlsError::Missing {
            what,
            label: "CERTIFICATE",
            path: path.to_owned(),
            hint: "the file must be PEM; from DER: openssl x509 -inform der -in FILE -out FILE.pem",
        });
    }
    Ok(found)
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let shown = String::from_utf8_lossy(text);
    if shown.contains("ENCRYPTED") {
        return Err(TlsError::Encrypted { path: path.to_owned(), line: line_of_key(text) });
    }
    if !shown.contains("PRIVATE KEY-----") {
        return Err(TlsError::Missing {
            what: "private key",
            label: "PRIVATE KEY",
            path: path.to_owned(),
            hint: "name the key's own file in `keyfile`",
        });
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| TlsError::Broken {
        what: "private key",
        path: path.to_owned(),
        line: line_of_key(text),
        why: error.to_string(),
    })
}

fn line_of_key(text: &[u8]) -> usize {
    line_of(text, "PRIVATE KEY-----", 0)
}

/// The line on which the nth section of a kind begins, counted from 1.
fn line_of(text: &[u8], kind: &str, nth: usize) -> usize {
    let text = String::from_utf8_lossy(text);
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(kind);
    let found = text.lines().enumerate().filter(|(_, line)| begins(line)).nth(nth);
    found.map_or(1, |(index, _)| index + 1)
}
