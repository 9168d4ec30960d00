//! What TLS is made from, as the zygote's Python tells it: what the hook `ssl_context` wants, or the
//! settings with the files as they were when they could be read.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use remuda_front::{Pair, PemFile, TlsWish, Versions};
use serde::Deserialize;

use crate::setup::client_auth;

/// All that counts of a context.
#[derive(Deserialize)]
struct Context {
    pairs: Vec<HeardPair>,
    authorities: Vec<HeardFile>,
    client_certificates: u8,
    suites: Vec<String>,
    own_order: bool,
    curve: Option<String>,
    /// Whether TLS 1.2 is allowed, then whether 1.3 is; one of both is.
    versions: [bool; 2],
    without_tickets: bool,
    protocols: Vec<String>,
}

#[derive(Deserialize)]
struct HeardPair {
    certificate: HeardFile,
    key: Option<HeardFile>,
    password: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct HeardFile {
    path: PathBuf,
    /// For when it cannot be read any more.
    text: Option<String>,
}

impl From<HeardFile> for PemFile {
    fn from(HeardFile { path, text }: HeardFile) -> Self {
        Self { path, text }
    }
}

/// The names of the cipher suites that there are.
#[pyfunction]
pub(crate) fn cipher_suites() -> Vec<&'static str> {
    remuda_front::suite_names().collect()
}

pub(crate) fn read(context: &str) -> PyResult<TlsWish> {
    let context: Context =
        serde_json::from_str(context).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let pair = |HeardPair { certificate, key, password }: HeardPair| Pair {
        certificate: certificate.into(),
        key: key.map(Into::into),
        password,
    };
    Ok(TlsWish {
        pairs: context.pairs.into_iter().map(pair).collect(),
        authorities: context.authorities.into_iter().map(Into::into).collect(),
        client: client_auth(context.client_certificates),
        suites: context.suites,
        own_order: context.own_order,
        curve: context.curve,
        versions: match context.versions {
            [true, true] => Versions::All,
            [true, false] => Versions::Only12,
            _ => Versions::Only13,
        },
        without_tickets: context.without_tickets,
        protocols: context.protocols,
    })
}
