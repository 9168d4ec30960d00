//! What a client's certificate says, in the forms that apps know from other servers.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::pem::{LineEnding, encode_string};

/// A certificate that a client has proved to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As PEM: its own certificate first, then those that it has shown for it.
    pub chain: Vec<String>,
    /// Whom it names, in the form of RFC 4514: `CN=client,O=Example`.
    pub subject: String,
    /// Who has signed it, in the same form.
    pub issuer: String,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
}

impl ClientCertificate {
    /// Reads a chain that rustls has verified.
    pub(crate) fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        let chain = chain.iter().map(|certificate| pem(certificate)).collect();
        let blank =
            Self { chain, subject: String::new(), issuer: String::new(), serial: String::new() };
        // Verified, so it can be read; should the two readers differ, the PEM still says it all.
        let Ok(own) = Certificate::from_der(own) else { return Some(blank) };
        let own = own.tbs_certificate();
        let serial = own.serial_number().as_bytes().iter().map(|byte| format!("{byte:02X}"));
        Some(Self {
            subject: own.subject().to_string(),
            issuer: own.issuer().to_string(),
            serial: serial.collect(),
            ..blank
        })
    }
}

/// A certificate as PEM.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    encode_string("CERTIFICATE", LineEnding::LF, certificate).unwrap_or_default()
}

/// Why a certificate should not be used now, if so.
pub(crate) fn outdated(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let now = SystemTime::now();
    if UNIX_EPOCH + validity.not_after.to_unix_duration() < now {
        return Some(format!("has expired on {}", validity.not_after));
    }
    if UNIX_EPOCH + validity.not_before.to_unix_duration() > now {
        return Some(format!("is not valid before {}", validity.not_before));
    }
    None
}
