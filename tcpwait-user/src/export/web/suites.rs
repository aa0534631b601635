//! Cipher suites and groups of the key exchange by the names that Go has for them: those that `rustls` has. There are no others.

use anyhow::{Result, bail};
use rustls::{
    SupportedCipherSuite,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        ring::{self, kx_group},
    },
};

fn curve(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name {
        "CurveP256" => Some(kx_group::SECP256R1),
        "CurveP384" => Some(kx_group::SECP384R1),
        "X25519" => Some(kx_group::X25519),
        _ => None,
    }
}

/// Whether cipher suites and curves are those that there are.
///
/// # Errors
/// One is not, or is not spoken; the message says which are.
pub fn know(cipher_suites: Option<&[String]>, curves: Option<&[String]>) -> Result<()> {
    for name in cipher_suites.unwrap_or_default() {
        if !ring::ALL_CIPHER_SUITES.iter().any(|suite| called(suite) == *name) {
            let all: Vec<String> = ring::ALL_CIPHER_SUITES.iter().map(called).collect();
            bail!("cipher_suites: tcpwait has no {name:?}: it has {}", all.join(", "));
        }
    }
    if let Some(name) = curves.unwrap_or_default().iter().find(|name| curve(name).is_none()) {
        bail!("curve_preferences: tcpwait has no {name:?}: it has CurveP256, CurveP384, X25519");
    }
    Ok(())
}

/// What is spoken by these lists; an empty one is of all that there are. That of cipher suites is of TLS 1.2: what TLS 1.3 has is always there, as for Go.
pub fn provider(cipher_suites: &[String], curves: &[String]) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !cipher_suites.is_empty() {
        let all = ring::ALL_CIPHER_SUITES.iter().copied();
        let of_13 = all.clone().filter(|suite| suite.tls13().is_some());
        let in_order = cipher_suites.iter().filter_map(|name| all.clone().find(|suite| called(suite) == *name));
        provider.cipher_suites = of_13.chain(in_order.filter(|suite| suite.tls13().is_none())).collect();
    }
    if !curves.is_empty() {
        provider.kx_groups = curves.iter().filter_map(|name| curve(name)).collect();
    }
    provider
}

/// The name that IANA and Go have for it: `rustls` tells those of TLS 1.3 apart by theirs.
fn called(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}
