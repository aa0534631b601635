//! `tcpwait export --check --web.config.file`: a file is right here if it is right for every exporter of Prometheus: `promtool check web-config` is asked about
//! the same files where there is one. What is refused although promtool takes it is refused by name.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tempfile::TempDir;

use crate::support::{Ran, run};

/// bcrypt's hash of "password"; the last sign of some others is theirs.
const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

/// Certificate and key are those of the directory.
const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

/// What is right.
fn good() -> Vec<String> {
    let tls = |more: &str| format!("{TLS}  {more}\n");
    let mut good: Vec<String> = [
        "",
        "# nothing\n",
        "{}\n",
        "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
        TLS,
        "tls_server_config: {cert_file: ./cert.pem, key_file: key.pem}\n",
        "tls_server_config: {cert_file: p384.pem, key_file: p384.key}\n",
        "tls_server_config: {cert_file: ed25519.pem, key_file: ed25519.key}\n",
        "tls_server_config: {cert_file: chain.pem, key_file: key.pem}\n",
        "tls_server_config: {client_auth_type: ''}\n",
        "tls_server_config: {min_version: TLS13}\n",
        "http_server_config: {http2: yes}\n",
        "http_server_config: {http2: off}\n",
        "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n",
        "http_server_config: {headers: {Strict-Transport-Security: max-age=1, X-XSS-Protection: '0'}}\n",
        "http_server_config: {headers: {Content-Security-Policy: \"default-src 'self';\\n img-src *\"}}\n",
        "http_server_config: {headers: {Strict-Transport-Security: }}\n",
        "basic_auth_users: {}\n",
    ]
    .map(str::to_owned)
    .into();
    good.extend([
        tls("min_version: TLS12\n  max_version: TLS13"),
        tls("min_version: TLS13"),
        tls("max_version: TLS12"),
        tls("min_version:"),
        tls("cipher_suites: []"),
        tls("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]"),
        tls("cipher_suites:\n  - TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
        tls("curve_preferences: [X25519, CurveP256, CurveP384]"),
        tls("prefer_server_cipher_suites: false"),
        tls("client_auth_type: NoClientCert"),
        tls("client_auth_type: RequestClientCert"),
        tls("client_auth_type: RequireAnyClientCert"),
        tls("client_auth_type: RequireClientCert"),
        tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem"),
        tls("client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: cert.pem"),
        format!("basic_auth_users:\n  prometheus: {HASH}\n  'other': '{}'\n", HASH.replace("2y", "2a")),
        format!("basic_auth_users: {{1: {HASH}}}\n"),
        format!("{TLS}basic_auth_users: {{a: {HASH}}}\n"),
    ]);
    good
}

/// What is wrong, and what is said about it.
fn bad() -> Vec<(String, &'static str)> {
    let tls = |more: &str| format!("{TLS}  {more}\n");
    let mut bad: Vec<(String, &str)> = [
        ("[]\n", "line 1"),
        ("a\n", "line 1"),
        ("{\n", "line 1"),
        ("tls_server: {}\n", "unknown field `tls_server`"),
        ("TLS_SERVER_CONFIG: {}\n", "unknown field"),
        ("tls_server_config: []\n", "line 1"),
        ("tls_server_config: {cert_file: [cert.pem]}\n", "line 1"),
        ("tls_server_config: {cert_file: cert.pem}\n", "key_file or key is missing"),
        ("tls_server_config: {key_file: key.pem}\n", "cert_file or cert is missing"),
        ("tls_server_config: {client_auth_type: NoClientCert}\n", "cert_file or cert is missing"),
        ("tls_server_config: {cert_file: none.pem, key_file: key.pem}\n", "none.pem: No such file"),
        ("tls_server_config: {cert_file: key.pem, key_file: key.pem}\n", "there is no certificate"),
        ("tls_server_config: {cert_file: cert.pem, key_file: cert.pem}\n", "there is no private key"),
        ("tls_server_config: {cert_file: cert.pem, key_file: p384.key}\n", "cert and key"),
        ("tls_server_config: {cert_file: ., key_file: key.pem}\n", "not a regular file"),
        ("tls_server_config: {min_version: TLS9}\n", "TLS12 or TLS13"),
        ("tls_server_config: {cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}\n", "tcpwait has no"),
        ("tls_server_config: {cipher_suites: TLS_AES_128_GCM_SHA256}\n", "line 1"),
        ("tls_server_config: {curve_preferences: [CurveP100]}\n", "tcpwait has no"),
        ("http_server_config: {http2: 1}\n", "true or false"),
        ("http_server_config: {http2: 'true'}\n", "true or false"),
        ("http_server_config: {headers: {Server: a}}\n", "\"Server\" cannot be set"),
        ("http_server_config: {headers: {x-frame-options: deny}}\n", "cannot be set"),
        ("http_server_config: {headers: {X-Frame-Options: allow}}\n", "deny or sameorigin"),
        ("http_server_config: {headers: {X-Frame-Options: }}\n", "deny or sameorigin"),
        ("http_server_config: {headers: {X-Content-Type-Options: sniff}}\n", "nosniff"),
        ("basic_auth_users: {a: password}\n", "not a bcrypt hash"),
        ("basic_auth_users: {a: 12}\n", "not a bcrypt hash"),
        ("basic_auth_users: {a: }\n", "line 1"),
        ("basic_auth_users: [a]\n", "line 1"),
    ]
    .map(|(text, said)| (text.to_owned(), said))
    .into();
    bad.extend([
        (tls("cert_file: cert.pem"), "duplicate"),
        (tls("foo: 1"), "unknown field `foo`"),
        (tls("client_auth_type: Maybe"), "there is no \"Maybe\""),
        (tls("client_ca_file: cert.pem"), "asks for no certificate"),
        (tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: none.pem"), "none.pem: No such file"),
        (format!("basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n"), "duplicate"),
        (format!("basic_auth_users: {{a: {}}}\n", HASH.replace("$10$", "$99$")), "no cost of 99"),
    ]);
    bad
}

/// What promtool takes, and tcpwait does not: it cannot do it, or it would let in more people than anybody means.
fn refused_here() -> Vec<(String, &'static str)> {
    let tls = |more: &str| format!("{TLS}  {more}\n");
    vec![
        (tls("min_version: TLS10"), "TLS12 and TLS13, not TLS10"),
        (tls("max_version: TLS11"), "TLS12 and TLS13, not TLS11"),
        (tls("min_version: TLS13\n  max_version: TLS12"), "no version of TLS is left"),
        (tls("max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]"), "no version of TLS has a cipher suite"),
        (tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"), "tcpwait has no"),
        (tls("curve_preferences: [CurveP521]"), "tcpwait has no"),
        (tls("client_auth_type: RequireAndVerifyClientCert"), "needs client_ca_file"),
        (tls("client_auth_type: VerifyClientCertIfGiven"), "needs client_ca_file"),
        (
            tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: key.pem"),
            "no certificate of an authority",
        ),
        (format!("basic_auth_users: {{a: {}}}\n", HASH.replace("2y", "2z")), "not a bcrypt hash"),
        (format!("basic_auth_users: {{a: {HASH}x}}\n"), "not a bcrypt hash"),
        ("{}\n---\n{}\n".to_owned(), "only single YAML document"),
    ]
}

/// What is newer than most promtools, and whether it is right.
fn newer() -> Vec<(String, Result<(), &'static str>)> {
    let tls = |more: &str| format!("{TLS}  {more}\n");
    let inline = |name: &str, directory: &Path| {
        let pem = fs::read_to_string(directory.join(name)).unwrap();
        pem.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let directory = directory();
    let (cert, key) = (inline("cert.pem", directory.path()), inline("key.pem", directory.path()));
    let inline = format!("tls_server_config:\n  cert: |\n{cert}  key: |\n{key}");
    vec![
        (format!("{inline}  client_auth_type: RequireAndVerifyClientCert\n  client_ca: |\n{cert}"), Ok(())),
        (inline.clone(), Ok(())),
        (format!("{inline}  client_ca: |\n{cert}"), Err("asks for no certificate")),
        (tls("client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a.example, 10.0.0.1]"), Ok(())),
        (tls("client_allowed_sans: [a.example]"), Err("client_allowed_sans needs")),
        (tls("client_auth_type: RequestClientCert\n  client_allowed_sans: []"), Err("client_allowed_sans needs")),
        ("rate_limit: {interval: 1s, burst: 20}\n".to_owned(), Ok(())),
        ("rate_limit: {interval: 0}\n".to_owned(), Ok(())),
        ("rate_limit:\n".to_owned(), Ok(())),
        ("rate_limit: {interval: soon, burst: 1}\n".to_owned(), Err("is no duration")),
        ("rate_limit: {interval: 1s}\n".to_owned(), Err("burst of 0")),
        ("rate_limit: {interval: 1s, burst: -1}\n".to_owned(), Err("burst")),
        ("rate_limit: {interval: 1s, burst: many}\n".to_owned(), Err("line 1")),
        ("rate_limit: {every: 1s}\n".to_owned(), Err("unknown field `every`")),
    ]
}

/// A directory with certificates and keys.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    let make =
        |key: &KeyPair| CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    write("cert.pem", make(&key));
    write("chain.pem", format!("words before it\n{}{}", make(&key), make(&KeyPair::generate().unwrap())));
    write("key.pem", key.serialize_pem());
    for (name, algorithm) in [("p384", &PKCS_ECDSA_P384_SHA384), ("ed25519", &PKCS_ED25519)] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        write(&format!("{name}.pem"), make(&key));
        write(&format!("{name}.key"), key.serialize_pem());
    }
    directory
}

fn check(path: &Path, more: &[&str]) -> Ran {
    run(["export", "--check", "--web.config.file", path.to_str().unwrap()].iter().chain(more))
}

/// Whether promtool takes it; nothing where there is no promtool.
fn promtool_takes(path: &Path) -> Option<bool> {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "web-config"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    promtool.status().ok().map(|status| status.success())
}

fn assert_refused(path: &Path, text: &str, said: &str) {
    let ran = check(path, &[]);
    assert!(ran.code == Some(1) && ran.stdout.is_empty() && ran.stderr.contains(said), "{text}{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{text}{}", ran.stderr);
}

#[test]
fn verdicts_are_those_of_promtool() {
    let directory = directory();
    let path = directory.path().join("web.yml");
    let mut asked = 0;
    let mut agrees = |text: &str, is_right: bool| {
        let told = promtool_takes(&path);
        assert!(told.is_none_or(|told| told == is_right), "promtool says {told:?} of\n{text}");
        asked += usize::from(told.is_some());
    };
    for text in good() {
        fs::write(&path, &text).unwrap();
        let ran = check(&path, &[]);
        assert!(ran.code == Some(0) && ran.stdout.contains("right: "), "{text}{}", ran.stderr);
        agrees(&text, true);
    }
    for (text, said) in bad() {
        fs::write(&path, &text).unwrap();
        assert_refused(&path, &text, said);
        agrees(&text, false);
    }
    for (text, said) in refused_here() {
        fs::write(&path, &text).unwrap();
        assert_refused(&path, &text, said);
        agrees(&text, true);
    }
    println!("promtool was asked {asked} times");
}

#[test]
fn what_is_newer_than_promtool_is_known() {
    let directory = directory();
    let path = directory.path().join("web.yml");
    for (text, verdict) in newer() {
        fs::write(&path, &text).unwrap();
        match verdict {
            Ok(()) => assert_eq!(check(&path, &[]).code, Some(0), "{text}{}", check(&path, &[]).stderr),
            Err(said) => assert_refused(&path, &text, said),
        }
    }
}

#[test]
fn no_secret_is_shown() {
    let directory = directory();
    let path = directory.path().join("web.yml");
    let wrong = [
        "tls_server_config:\n  key: |\n    SECRET\n   SECRET\n",
        "tls_server_config:\n  key: SECRET\n  cert: SECRET\n",
        "basic_auth_users: {a: SECRET}\n",
        "basic_auth_users: {a: [SECRET]}\n",
        "tls_server_config: {key: [SECRET]}\n",
    ];
    for text in wrong {
        fs::write(&path, text).unwrap();
        let ran = check(&path, &[]);
        assert!(ran.code == Some(1) && !ran.stderr.contains("SECRET"), "{text}{}", ran.stderr);
    }
}

#[test]
fn whoever_can_read_a_secret_is_said() {
    let directory = directory();
    let (path, key) = (directory.path().join("web.yml"), directory.path().join("key.pem"));
    fs::write(&path, TLS).unwrap();
    for (mode, is_said) in [(0o644, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let ran = check(&path, &[]);
        assert_eq!(ran.stderr.contains("key.pem: every user of this machine can read"), is_said, "{}", ran.stderr);
    }
}

/// An address that others reach needs TLS, users, or the word that it needs neither.
#[test]
fn who_may_reach_it_is_decided_by_somebody() {
    let directory = directory();
    let path = directory.path().join("web.yml");
    let users = format!("basic_auth_users: {{a: {HASH}}}\n");
    let certificates = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem\n");
    for (text, code, said) in [
        (String::new(), 1, "neither TLS nor users"),
        ("http_server_config: {headers: {X-Frame-Options: deny}}\n".to_owned(), 1, "neither TLS nor users"),
        (TLS.to_owned(), 0, "whoever reaches it reads the metrics"),
        (users.clone(), 0, "passwords can be read on the way"),
        (format!("{TLS}{users}"), 0, ""),
        (certificates, 0, ""),
    ] {
        fs::write(&path, &text).unwrap();
        let key = directory.path().join("key.pem");
        for file in [&path, &key] {
            fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        }
        let ran = check(&path, &["--listen", "192.0.2.1:1"]);
        assert!(ran.code == Some(code) && ran.stderr.contains(said), "{text}{}", ran.stderr);
        assert_eq!(ran.stderr.is_empty(), said.is_empty(), "{text}{}", ran.stderr);
        assert_eq!(check(&path, &["--listen", "192.0.2.1:1", "--no-auth"]).code, Some(0), "{text}");
        assert_eq!(check(&path, &["--listen", "127.0.0.1:1"]).stderr, "", "{text}");
    }
    let ran = run(["export", "--listen", "192.0.2.1:1"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("--web.config.file FILE"), "{}", ran.stderr);
}
