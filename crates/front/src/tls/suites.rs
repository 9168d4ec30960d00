//! The cipher suites and curves that ring has, under the names that OpenSSL's users know.

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::cipher_suite as ring;
use rustls::crypto::ring::kx_group;

const SUITES: [(&str, SupportedCipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", ring::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", ring::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", ring::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// The names of all suites.
pub fn suite_names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, _)| *name)
}

/// The suite of this name.
pub(crate) fn named(name: &str) -> Option<SupportedCipherSuite> {
    SUITES.iter().find(|(known, _)| *known == name).map(|(_, suite)| *suite)
}

/// What `curve` knows, for people.
pub(crate) const CURVES: &str = "X25519, prime256v1 (P-256) and secp384r1 (P-384)";

/// The curve of this name.
pub(crate) fn curve(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name {
        "X25519" => Some(kx_group::X25519),
        "prime256v1" | "secp256r1" | "P-256" => Some(kx_group::SECP256R1),
        "secp384r1" | "P-384" => Some(kx_group::SECP384R1),
        _ => None,
    }
}

/// The name of this suite; empty for one that is not ring's.
pub(crate) fn openssl_name(suite: SupportedCipherSuite) -> &'static str {
    let known = SUITES.iter().find(|(_, known)| known.suite() == suite.suite());
    known.map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_provider_has_a_name() {
        for suite in rustls::crypto::ring::ALL_CIPHER_SUITES {
            let name = openssl_name(*suite);
            assert_eq!(named(name).map(|suite| suite.suite()), Some(suite.suite()), "{name}");
        }
        assert_eq!(rustls::crypto::ring::ALL_CIPHER_SUITES.len(), SUITES.len());
    }
}
