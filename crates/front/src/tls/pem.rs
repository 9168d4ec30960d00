//! PEM: from files to certificates and keys.

use std::borrow::Cow;
use std::fs;

use pkcs8::der::SecretDocument;
use pkcs8::{EncryptedPrivateKeyInfoRef, Error};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;

use super::error::TlsError;
use super::wish::PemFile;

const KEY_ENDS: &str = "PRIVATE KEY-----";
const ENCRYPTED_BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

pub(super) fn read<'a>(what: &'static str, file: &'a PemFile) -> Result<Cow<'a, [u8]>, TlsError> {
    match (fs::read(&file.path), &file.text) {
        (Ok(bytes), _) => Ok(bytes.into()),
        (Err(_), Some(text)) => Ok(text.as_bytes().into()),
        (Err(why), None) => Err(TlsError::Unreadable { what, path: file.path.clone(), why }),
    }
}

pub(super) fn certificates(
    what: &'static str,
    file: &PemFile,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let broken = |why: String| {
            let line = line_of(text, "CERTIFICATE-----", found.len());
            TlsError::Broken { what, path: file.path.clone(), line, why }
        };
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        ParsedCertificate::try_from(&certificate).map_err(|error| broken(error.to_string()))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(TlsError::Missing {
            what,
            label: "CERTIFICATE",
            path: file.path.clone(),
            hint: "the file must be PEM; from DER: openssl x509 -inform der -in FILE -out FILE.pem",
        });
    }
    Ok(found)
}

pub(super) fn private_key(
    file: &PemFile,
    text: &[u8],
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let shown = String::from_utf8_lossy(text);
    let (path, line) = (file.path.clone(), line_of_key(text));
    if shown.contains("ENCRYPTED") {
        let Some(password) = password else { return Err(TlsError::Encrypted { path, line }) };
        return decrypt(&shown, password).map_err(|why| TlsError::Undecipherable {
            path,
            line,
            why,
        });
    }
    if !shown.contains(KEY_ENDS) {
        return Err(TlsError::Missing {
            what: "private key",
            label: "PRIVATE KEY",
            path,
            hint: "name the key's own file in `keyfile`",
        });
    }
    let broken = |why: String| TlsError::Broken { what: "private key", path, line, why };
    PrivateKeyDer::from_pem_slice(text).map_err(|error| broken(error.to_string()))
}

fn decrypt(text: &str, password: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let (_, section) = text.split_once(ENCRYPTED_BEGIN).ok_or("it has the form of OpenSSL 0.9")?;
    let (body, _) = section.split_once(ENCRYPTED_END).ok_or("its end is missing")?;
    let section = format!("{ENCRYPTED_BEGIN}{body}{ENCRYPTED_END}\n");
    let plain = || {
        let (_, encrypted) = SecretDocument::from_pem(&section)?;
        EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes())?.decrypt(password)
    };
    let plain = plain().map_err(|error: Error| error.to_string())?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}

pub(super) fn line_of_key(text: &[u8]) -> usize {
    line_of(text, KEY_ENDS, 0)
}

/// The line on which the nth section of a kind begins, counted from 1.
fn line_of(text: &[u8], kind: &str, nth: usize) -> usize {
    let text = String::from_utf8_lossy(text);
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(kind);
    let found = text.lines().enumerate().filter(|(_, line)| begins(line)).nth(nth);
    found.map_or(1, |(index, _)| index + 1)
}
