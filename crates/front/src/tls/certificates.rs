//! Certificates, keys and authorities: from a wish to what handshakes are made with.
//!
//! Loaded once before there are workers, so that a mistake is one clear error; see
//! `renewal.rs` for what happens when the files change later.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::client_certificate::{outdated, pem as pem_of};
use super::error::{TlsError, other};
use super::served::{self, Choice};
use super::suites;
use super::wish::{ClientAuth, Stamp, TlsWish, Versions};

/// A session with the certificates that a client has shown.
const TICKET_BYTES_MAX: usize = 8192;

/// Certificates with their keys, and all else that a handshake needs.
#[derive(Debug)]
pub struct Certificates {
    wish: TlsWish,
    config: Arc<ServerConfig>,
    keys: Vec<Arc<CertifiedKey>>,
    server_pems: Vec<String>,
    warnings: Vec<String>,
    stamp: Stamp,
}

impl Certificates {
    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its file.
    pub fn load(wish: TlsWish) -> Result<Self, TlsError> {
        let stamp = wish.stamp(None);
        let provider = Arc::new(provider(&wish)?);
        let (mut keys, mut server_pems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for (pair, key) in served::load(&wish.pairs, &provider)? {
            let own = key.end_entity_cert().map_err(other)?;
            server_pems.push(pem_of(own));
            let path = pair.certificate.path.display();
            warnings.extend(outdated(own).map(|why| format!("The certificate in `{path}` {why}")));
            keys.push(key);
        }
        let config = Arc::new(config(&wish, provider, &keys)?);
        Ok(Self { wish, config, keys, server_pems, warnings, stamp })
    }

    /// Reads the files again. Sessions of before can be resumed, unless other authorities count now.
    pub(crate) fn load_again(&self) -> Result<Self, TlsError> {
        let mut new = Self::load(self.wish.clone().renewed())?;
        if new.stamp.has_same_authorities(&self.stamp)
            && let Some(config) = Arc::get_mut(&mut new.config)
        {
            config.ticketer = self.config.ticketer.clone();
            config.session_storage = self.config.session_storage.clone();
        }
        Ok(new)
    }

    /// What the operator should know of certificates that were loaded: their dates.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where the certificate was read from; with several, the first that was asked for.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.wish.pairs.first().map_or(Path::new(""), |pair| &pair.certificate.path)
    }

    pub(crate) fn has_changed(&self, stamp: &Stamp) -> bool {
        self.stamp != *stamp
    }

    pub(crate) fn stamp_now(&self) -> Stamp {
        self.wish.stamp(Some(&self.stamp))
    }

    /// What one connection is made with, and what chooses its certificate if there are several.
    pub(crate) fn for_connection(&self) -> (Arc<ServerConfig>, Option<Arc<Choice>>) {
        if self.keys.len() == 1 {
            return (self.config.clone(), None);
        }
        let choice = Arc::new(Choice::among(self.keys.clone()));
        let mut config = (*self.config).clone();
        config.cert_resolver = choice.clone();
        (Arc::new(config), Some(choice))
    }

    /// The server's certificate that a connection has got.
    pub(crate) fn server_pem(&self, choice: Option<&Choice>) -> &str {
        self.server_pems.get(choice.map_or(0, Choice::index)).map_or("", String::as_str)
    }
}

fn config(
    wish: &TlsWish,
    provider: Arc<CryptoProvider>,
    keys: &[Arc<CertifiedKey>],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&versions(wish.versions)).map_err(other)?;
    let builder = match wish.client {
        ClientAuth::None => builder.with_no_client_auth(),
        asked => builder.with_client_cert_verifier(verifier(wish, asked, provider)?),
    };
    let mut config = match keys {
        [key] => builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone()))),
        _ => builder.with_cert_resolver(Arc::new(Choice::among(keys.to_vec()))),
    };
    config.alpn_protocols = wish.protocols.iter().map(|name| name.as_bytes().into()).collect();
    config.ignore_client_order = wish.own_order;
    if wish.without_tickets {
        config.send_tls13_tickets = 0;
    } else {
        // Made before the workers are, so that a client can resume with any of them.
        config.ticketer = ring::Ticketer::new().map_err(other)?;
        // It takes no ticket longer than those that it has made, and a worker has made none yet.
        config.ticketer.encrypt(&[0; TICKET_BYTES_MAX]);
    }
    Ok(config)
}

fn provider(wish: &TlsWish) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    if !wish.suites.is_empty() {
        let named = wish.suites.iter().map(|name| {
            suites::named(name).ok_or_else(|| TlsError::Other(format!("no cipher suite `{name}`")))
        });
        provider.cipher_suites = named.collect::<Result<_, _>>()?;
    }
    if let Some(name) = &wish.curve {
        let no_curve = || TlsError::Other(format!("no curve `{name}`, but {}", suites::CURVES));
        provider.kx_groups = vec![suites::curve(name).ok_or_else(no_curve)?];
    }
    let spoken = versions(wish.versions);
    let is_spoken = |version: &&SupportedProtocolVersion| {
        provider.cipher_suites.iter().any(|suite| suite.version().version == version.version)
    };
    if let Some(mute) = spoken.iter().find(|version| spoken.len() == 1 && !is_spoken(version)) {
        let why = format!("no cipher suite is left for {:?}, the only version", mute.version);
        return Err(TlsError::Other(why));
    }
    Ok(provider)
}

fn versions(wish: Versions) -> Vec<&'static SupportedProtocolVersion> {
    match wish {
        Versions::All => vec![&TLS13, &TLS12],
        Versions::Only12 => vec![&TLS12],
        Versions::Only13 => vec![&TLS13],
    }
}

fn verifier(
    wish: &TlsWish,
    asked: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if wish.authorities.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    let mut roots = RootCertStore::empty();
    for file in &wish.authorities {
        let text = super::pem::read("authorities", file)?;
        for authority in super::pem::certificates("authority's certificate", file, &text)? {
            roots.add(authority).map_err(other)?;
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match asked {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::None | ClientAuth::Required => builder,
    };
    builder.build().map_err(|error| TlsError::Other(error.to_string()))
}
