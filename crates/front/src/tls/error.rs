//! Why TLS cannot be had, in words for whoever runs the service.

use std::io;
use std::path::PathBuf;

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
    #[error("the private key in `{}`, line {line}, is encrypted\n  why:  there is nobody to type its password\n  hint: write it plainly, readable to remuda only: openssl pkey -in {} -out plain.key; or load it with its password in the hook `ssl_context`", path.display(), path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Where it begins, counted from 1.
        line: usize,
    },
    /// A key whose password is known, and is of no help.
    #[error("cannot decrypt the private key in `{}`, line {line}\n  why:  {why}\n  hint: this form can be read: openssl pkcs8 -topk8 -in {} -out new.key", path.display(), path.display())]
    Undecipherable {
        /// The file.
        path: PathBuf,
        /// Where it begins, counted from 1.
        line: usize,
        /// What the parser said.
        why: String,
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

pub(super) fn other(error: rustls::Error) -> TlsError {
    TlsError::Other(error.to_string())
}
