//! What the file and those that it names say, read once and whole: this is what is handed to the process that answers HTTP, which can open no file.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{
    format::{Switch, Written, WrittenTls},
    rate::{self, Rate},
    suites,
};

/// No file of these is longer, in bytes.
const LARGEST: u64 = 1 << 20;

/// How a client is answered. Has keys and hashes of passwords: it is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebConfig {
    /// Without it, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Whether HTTP/2 may be spoken over TLS.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: BTreeMap<String, String>,
    /// Names, and bcrypt hashes of their passwords. Empty: nobody has to say who they are.
    pub users: BTreeMap<String, String>,
    /// How many requests are answered.
    pub rate: Option<Rate>,
}

/// TLS: all certificates and keys as PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsConfig {
    /// The server's certificate, and those that lead to its authority.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// The authorities of clients.
    pub client_ca: Option<String>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The client's certificate must have one of these names, where there is such a list.
    pub client_sans: Option<Vec<String>>,
    /// The versions of TLS, from the lowest to the highest.
    pub versions: (TlsVersion, TlsVersion),
    /// Cipher suites of TLS 1.2, by their IANA names; empty: all that there are.
    pub cipher_suites: Vec<String>,
    /// Groups of the key exchange by the names that Go has for them, first choice first; empty: all that there are.
    pub curves: Vec<String>,
    /// Whether the server's order of cipher suites counts, and not the client's.
    pub server_order: bool,
}

/// What is asked of a client, by the names of Go's `crypto/tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuth {
    /// No certificate.
    NoClientCert,
    /// A certificate, which need not be sent and is not verified.
    RequestClientCert,
    /// Any certificate, which is not verified.
    RequireAnyClientCert,
    /// A certificate, which need not be sent but is verified if it is.
    VerifyClientCertIfGiven,
    /// A certificate that is verified.
    RequireAndVerifyClientCert,
}

/// A version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl WebConfig {
    /// What this file says, and the files that it names: a relative path is from the directory of this one.
    ///
    /// # Errors
    /// A file cannot be read, or is not as it must be; the message says which, and has no secret in it.
    pub fn read(path: &Path) -> Result<Self> {
        let about = || path.display().to_string();
        let text = contents(path).with_context(about)?;
        Self::of(&text, directory(path)).with_context(about)
    }

    /// What this text says; relative paths in it are from this directory.
    fn of(text: &str, directory: &Path) -> Result<Self> {
        let written = Written::parse(text)?;
        let http = written.http_server_config.unwrap_or_default();
        let rate = written.rate_limit.map(|rate| rate::limit(rate.interval.as_deref(), rate.burst)).transpose();
        Ok(Self {
            tls: tls(written.tls_server_config.unwrap_or_default(), directory).context("tls_server_config")?,
            http2: Switch::or(http.http2, true),
            headers: headers(http.headers.unwrap_or_default()).context("http_server_config: headers")?,
            users: users(written.basic_auth_users.unwrap_or_default()).context("basic_auth_users")?,
            rate: rate.context("rate_limit")?.flatten(),
        })
    }

    /// Whether only those get an answer who prove who they are.
    pub fn is_closed(&self) -> bool {
        !self.users.is_empty() || self.verifies_clients()
    }

    /// Whether a client must have a certificate of one of the authorities.
    pub fn verifies_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::RequireAndVerifyClientCert)
    }
}

/// Those of this file and the ones that it names that have a secret in them, and that everybody can read.
///
/// # Errors
/// One cannot be read.
pub fn open_secrets(path: &Path) -> Result<Vec<PathBuf>> {
    let written = Written::parse(&contents(path)?)?;
    let tls = written.tls_server_config.unwrap_or_default();
    let has_secrets = written.basic_auth_users.is_some() || tls.key.is_some();
    let key = tls.key_file.filter(|file| !file.is_empty()).map(|file| directory(path).join(file));
    let mut found = Vec::new();
    for file in has_secrets.then(|| path.to_owned()).into_iter().chain(key) {
        if file.metadata()?.mode() & 0o004 != 0 {
            found.push(file);
        }
    }
    Ok(found)
}

/// Where relative paths in the file are from.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A text file, as long as it is a regular one: a pipe could hold up the tracing.
fn contents(path: &Path) -> Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    ensure!(about.is_file(), "not a regular file");
    ensure!(about.size() <= LARGEST, "more than {LARGEST} bytes");
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    String::from_utf8(text).context("not a text in UTF-8")
}

/// What is written, or what is in the file whose name is written: the file if both are there.
fn inline_or_file(
    what: &str,
    inline: Option<String>,
    file: Option<String>,
    directory: &Path,
) -> Result<Option<String>> {
    let is_there = |text: &String| !text.is_empty();
    let Some(file) = file.filter(is_there) else { return Ok(inline.filter(is_there)) };
    let path: PathBuf = directory.join(file);
    let read = contents(&path).with_context(|| format!("{what}_file {}", path.display()));
    read.map(Some)
}

fn tls(written: WrittenTls, directory: &Path) -> Result<Option<TlsConfig>> {
    // What is said of versions is read although there may be no TLS: a wrong word is one.
    let lowest = written.min_version.as_deref().map(version).transpose().context("min_version")?;
    let highest = written.max_version.as_deref().map(version).transpose().context("max_version")?;
    let client_auth = match written.client_auth_type.as_deref() {
        None | Some("") => None,
        Some(word) => Some(client_auth(word)?),
    };
    suites::know(written.cipher_suites.as_deref(), written.curve_preferences.as_deref())?;
    let cert = inline_or_file("cert", written.cert, written.cert_file, directory)?;
    let key = inline_or_file("key", written.key, written.key_file, directory)?;
    let client_ca = inline_or_file("client_ca", written.client_ca, written.client_ca_file, directory)?;
    if cert.is_none() && key.is_none() && client_ca.is_none() && client_auth.is_none() {
        return Ok(None);
    }
    let client_auth = client_auth.unwrap_or(ClientAuth::NoClientCert);
    let cert = cert.context("cert_file or cert is missing")?;
    let key = key.context("key_file or key is missing")?;
    use ClientAuth::{NoClientCert, RequireAndVerifyClientCert, RequireAnyClientCert, VerifyClientCertIfGiven};
    if client_ca.is_some() && client_auth == NoClientCert {
        bail!("there are authorities of clients (client_ca), but client_auth_type asks for no certificate");
    }
    if client_ca.is_none() && [VerifyClientCertIfGiven, RequireAndVerifyClientCert].contains(&client_auth) {
        bail!(
            "client_auth_type {client_auth:?} needs client_ca_file or client_ca: else everybody with a certificate of any public authority would be let in"
        );
    }
    if written.client_allowed_sans.is_some()
        && ![RequireAnyClientCert, RequireAndVerifyClientCert].contains(&client_auth)
    {
        bail!("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert");
    }
    let versions = (
        lowest.unwrap_or(Ok(TlsVersion::Tls12)).context("min_version")?,
        highest.unwrap_or(Ok(TlsVersion::Tls13)).context("max_version")?,
    );
    ensure!(versions.0 <= versions.1, "min_version is above max_version: no version of TLS is left");
    Ok(Some(TlsConfig {
        cert,
        key,
        client_ca,
        client_auth,
        client_sans: written.client_allowed_sans,
        versions,
        cipher_suites: written.cipher_suites.unwrap_or_default(),
        curves: written.curve_preferences.unwrap_or_default(),
        server_order: Switch::or(written.prefer_server_cipher_suites, true),
    }))
}

/// A version that is spoken, or why it is not.
fn version(word: &str) -> Result<Result<TlsVersion>> {
    Ok(match word {
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        "TLS10" | "TLS11" => Err(anyhow::anyhow!("tcpwait speaks TLS12 and TLS13, not {word}")),
        _ => bail!("there is no {word:?}: TLS12 or TLS13"),
    })
}

fn client_auth(word: &str) -> Result<ClientAuth> {
    Ok(match word {
        "NoClientCert" => ClientAuth::NoClientCert,
        "RequestClientCert" => ClientAuth::RequestClientCert,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAnyClientCert,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyClientCertIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerifyClientCert,
        _ => bail!("client_auth_type: there is no {word:?}"),
    })
}

/// Headers that may be set; the values of some are known. One without a value is not sent.
fn headers(written: BTreeMap<String, Option<String>>) -> Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for (name, value) in written {
        // A text over several lines ends with the end of a line.
        let value = value.unwrap_or_default().replace(['\n', '\r'], " ").trim().to_owned();
        let known: &[&str] = match name.as_str() {
            "Strict-Transport-Security" | "X-XSS-Protection" | "Content-Security-Policy" => &[],
            "X-Content-Type-Options" => &["nosniff"],
            "X-Frame-Options" => &["deny", "sameorigin"],
            _ => bail!("{name:?} cannot be set"),
        };
        ensure!(known.is_empty() || known.contains(&value.as_str()), "{name} is {}", known.join(" or "));
        hyper::header::HeaderValue::from_str(&value).with_context(|| format!("{name} has characters that none has"))?;
        if !value.is_empty() {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

fn users(written: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    for (name, hash) in &written {
        super::users::cost(hash).with_context(|| format!("{name:?}"))?;
    }
    Ok(written)
}
