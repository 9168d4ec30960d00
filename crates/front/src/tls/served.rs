//! The server's certificates with their keys, and which of them a client gets.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};

use super::error::TlsError;
use super::pem;
use super::wish::Pair;

/// Reads them: one for each kind of key, those that are not RSA first, since they are quicker.
pub(super) fn load(
    pairs: &[Pair],
    provider: &CryptoProvider,
) -> Result<Vec<(Pair, Arc<CertifiedKey>)>, TlsError> {
    let mut loaded: Vec<(Pair, Arc<CertifiedKey>)> = Vec::new();
    for pair in pairs {
        let new = Arc::new(certified_key(pair, provider)?);
        // As in OpenSSL: a later one takes the place of one of its kind.
        loaded.retain(|(_, other)| other.key.algorithm() != new.key.algorithm());
        loaded.push((pair.clone(), new));
    }
    loaded.sort_by_key(|(_, key)| key.key.algorithm() == SignatureAlgorithm::RSA);
    if loaded.is_empty() {
        return Err(TlsError::Other("there is no certificate".to_owned()));
    }
    Ok(loaded)
}

fn certified_key(pair: &Pair, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let text = pem::read("certificate", &pair.certificate)?;
    let certificates = pem::certificates("certificate", &pair.certificate, &text)?;
    let key_text = match &pair.key {
        Some(file) => pem::read("private key", file)?,
        None => text,
    };
    let file = pair.key_file();
    let key = pem::private_key(file, &key_text, pair.password.as_deref())?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| TlsError::Broken {
        what: "private key",
        path: file.path.clone(),
        line: pem::line_of_key(&key_text),
        why: error.to_string(),
    })?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let (key, certificate) = (file.path.clone(), pair.certificate.path.clone());
            Err(TlsError::Mismatch { key, certificate })
        }
        // Some kinds of keys cannot say; then the first handshake would.
        _ => Ok(certified),
    }
}

/// Gives one client the first certificate that it can verify, and remembers which.
#[derive(Debug)]
pub(crate) struct Choice {
    keys: Vec<Arc<CertifiedKey>>,
    chosen: OnceLock<usize>,
}

impl Choice {
    pub(super) fn among(keys: Vec<Arc<CertifiedKey>>) -> Self {
        Self { keys, chosen: OnceLock::new() }
    }

    pub(super) fn index(&self) -> usize {
        self.chosen.get().copied().unwrap_or_default()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.signature_schemes();
        let index = self.keys.iter().position(|key| key.key.choose_scheme(offered).is_some())?;
        // A client may have to say hello twice; it cannot change its mind about this.
        let index = *self.chosen.get_or_init(|| index);
        self.keys.get(index).cloned()
    }
}
