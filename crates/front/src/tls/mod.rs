//! TLS: from files to handshakes (`certificates.rs`, and `renewal.rs` when they change), and the
//! encryption of one connection (`session.rs`).

mod certificates;
mod client_certificate;
mod renewal;
mod session;
mod suites;

pub use certificates::{Certificates, ClientAuth, TlsError, TlsWish};
pub use client_certificate::ClientCertificate;
pub(crate) use renewal::Renewal;
pub use session::TlsFacts;
pub(crate) use session::{Session, Shaken};
