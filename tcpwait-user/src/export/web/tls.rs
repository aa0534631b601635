//! From what is written to what `rustls` does. What it cannot do is refused: nothing weaker or other is done instead.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version,
};

use super::{
    clients::Clients,
    config::{ClientAuth, TlsConfig, TlsVersion},
    suites,
};

/// How HTTP is called when the protocol is chosen.
pub const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a server does that is to do this.
///
/// # Errors
/// A certificate or key is none, they do not belong together, or nothing is left of what may be spoken.
pub fn server(tls: &TlsConfig, http2: bool) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(suites::provider(&tls.cipher_suites, &tls.curves));
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(tls.cert.as_bytes()).collect::<Result<_, _>>().context("cert")?;
    ensure!(!chain.is_empty(), "cert: there is no certificate (PEM)");
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).context("key: there is no private key (PEM)")?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls))
        .context("no version of TLS has a cipher suite")?;
    let builder = match clients(tls, &provider)? {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).context("cert and key")?;
    config.ignore_client_order = tls.server_order;
    config.alpn_protocols = if http2 { vec![H2.to_vec(), HTTP1.to_vec()] } else { vec![HTTP1.to_vec()] };
    // A client comes once in a while: sessions that are kept for it would be memory that others can fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn versions(tls: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    let (lowest, highest) = tls.versions;
    all.into_iter().filter(|(is, _)| (lowest..=highest).contains(is)).map(|(_, version)| version).collect()
}

fn clients(tls: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>> {
    let (must, verified) = match tls.client_auth {
        ClientAuth::NoClientCert => return Ok(None),
        ClientAuth::RequestClientCert => (false, false),
        ClientAuth::RequireAnyClientCert => (true, false),
        ClientAuth::VerifyClientCertIfGiven => (false, true),
        ClientAuth::RequireAndVerifyClientCert => (true, true),
    };
    let authorities = verified.then(|| authorities(tls, provider)).transpose().context("client_ca")?;
    let algorithms = provider.signature_verification_algorithms;
    Ok(Some(Arc::new(Clients { must, authorities, names: tls.client_sans.clone(), algorithms })))
}

fn authorities(tls: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>> {
    let pem = tls.client_ca.as_deref().unwrap_or_default();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    ensure!(added > 0, "there is no certificate of an authority (PEM)");
    Ok(WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?)
}
