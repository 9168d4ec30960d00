//! TLS: from a wish (`wish.rs`) and its files (`pem.rs`) to handshakes (`certificates.rs`, and
//! `renewal.rs` when they change), and the encryption of one connection (`session.rs`).

mod certificates;
mod client_certificate;
mod error;
mod pem;
mod renewal;
mod served;
mod session;
mod suites;
mod wish;

pub use certificates::Certificates;
pub use client_certificate::ClientCertificate;
pub use error::TlsError;
pub(crate) use renewal::Renewal;
pub use session::TlsFacts;
pub(crate) use session::{Session, Shaken};
pub use suites::suite_names;
pub use wish::{ClientAuth, Pair, PemFile, TlsWish, Versions};
