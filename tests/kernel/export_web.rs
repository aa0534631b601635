//! `tcpwait export --web.config.file`: who is let in and who is not, by clients that speak TLS for themselves; files that change meanwhile, for better and for
//! worse; and clients that never come to the point.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use crate::{
    export::field,
    netns,
    netns::at_home,
    tracer::{SOON, Tracer, command},
    traffic::{in_time, until},
};

/// Longer than the exporter waits for a client to agree on TLS, 10 s.
const LET_GO_WITHIN: Duration = Duration::from_secs(30);

/// As many as the exporter serves at once.
const PLACES: usize = 64;

const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

/// A certificate and its key, both PEM.
struct Identity {
    cert: String,
    key: String,
}

impl Identity {
    /// One that signed itself.
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// Who signs clients' certificates.
struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap().pem();
        Self { cert, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// Who asks, and how.
#[derive(Clone, Copy)]
struct Client<'a> {
    /// The server's certificate, as it must be.
    trusts: &'a str,
    versions: &'a [&'static rustls::SupportedProtocolVersion],
    identity: Option<&'a Identity>,
    protocols: &'a [&'a [u8]],
}

impl<'a> Client<'a> {
    fn new(trusts: &'a str) -> Self {
        Self { trusts, versions: rustls::ALL_VERSIONS, identity: None, protocols: &[] }
    }

    fn connect(self, to: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(to))
    }

    /// The answer to GET, or why there is none. The head has these lines too.
    fn get(self, from: SocketAddr, path: &str, head: &str) -> io::Result<String> {
        let mut stream = self.connect(from);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8(answer).unwrap())
    }

    fn is_answered(self, from: SocketAddr) -> bool {
        let answer = self.get(from, "/-/healthy", "");
        answer.inspect_err(|why| println!("no answer: {why}")).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = at_home(move || TcpStream::connect(to).unwrap());
    stream.set_read_timeout(Some(LET_GO_WITHIN)).unwrap();
    stream
}

/// An exporter, and the files that it serves by.
struct Exporter {
    files: TempDir,
    tracer: Tracer,
    address: SocketAddr,
}

impl Exporter {
    /// One with this configuration, this identity, and the authority of its clients in `ca.pem`.
    fn start(config: &str, identity: &Identity, authority: Option<&Authority>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(files.path().join(name), text).unwrap();
        write("web.yml", config);
        write("cert.pem", &identity.cert);
        write("key.pem", &identity.key);
        authority.into_iter().for_each(|authority| write("ca.pem", &authority.cert));
        let (netns, config) = (netns::inode().to_string(), files.path().join("web.yml"));
        let arguments = ["export", "--listen", "127.0.0.1:0", "--netns", &netns, "--web.config.file"];
        let mut command = command(arguments);
        command.arg(config);
        let tracer = Tracer::spawn(command);
        tracer.wait_until_it_says("Serving metrics on https://");
        let said = tracer.said();
        let place = said.lines().find_map(|line| line.strip_prefix("Serving metrics on https://")).unwrap();
        let address = place.trim_end_matches("/metrics").parse().unwrap();
        Self { files, tracer, address }
    }

    /// Replaces a file as a whole.
    fn replace(&self, name: &str, text: &str) {
        let new = self.files.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.files.path().join(name)).unwrap();
    }

    /// Waits until it has said this; somebody has to come for it to look.
    fn is_heard_to_say(&self, what: &str, client: Client) {
        in_time(what, SOON, || {
            assert!(client.is_answered(self.address), "nobody is served any more: {}", self.tracer.said());
            self.tracer.said().contains(what)
        });
    }

    /// The most memory that the process that answers has had, in KiB.
    fn resident(&self) -> u64 {
        let pid = self.tracer.pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let children = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
        let children: String = children.collect();
        let front = children.split_whitespace().next().unwrap();
        field(&fs::read_to_string(format!("/proc/{front}/status")).unwrap(), "VmHWM:")[0].parse().unwrap()
    }
}

/// `Authorization` of this name and password, in base64.
fn says(credentials: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(credentials))
}

/// That of "right". Its salt is no random one: a statically linked program keeps /dev/urandom open for that, in the files of the thread that asked first,
/// and each test has its own files.
fn hash(cost: u32) -> String {
    bcrypt::hash_with_salt("right", cost, *b"sixteen of bytes").unwrap().to_string()
}

/// Metrics for who speaks TLS and knows the password; nothing for anybody else.
pub fn tls_and_users() {
    let identity = Identity::new("localhost");
    let hash = hash(6);
    let config = format!(
        "{TLS}basic_auth_users: {{prometheus: {hash}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    let exporter = Exporter::start(&config, &identity, None);
    let (at, client) = (exporter.address, Client::new(&identity.cert));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let client = Client { versions, ..client };
        let answer = client.get(at, "/metrics", &says("prometheus:right")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("tcpwait_build_info"), "{answer}");
        assert!(answer.contains("x-frame-options: deny\r\n"), "{answer}");
    }
    for head in [String::new(), says("prometheus:wrong"), says("nobody:right"), says("prometheus:")] {
        for path in ["/metrics", "/", "/-/healthy", "/elsewhere"] {
            let answer = client.get(at, path, &head).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("tcpwait_"), "{answer}");
            assert!(answer.contains("www-authenticate: Basic\r\n"), "{answer}");
        }
    }
    let other = Identity::new("localhost");
    assert!(Client::new(&other.cert).get(at, "/metrics", "").is_err(), "another certificate was shown");
    let mut plain = connect(at);
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// HTTP/2 for who wants it, unless the file says no.
pub fn http2() {
    let identity = Identity::new("localhost");
    let client = Client { protocols: &[b"h2", b"http/1.1"], ..Client::new(&identity.cert) };
    let exporter = Exporter::start(TLS, &identity, None);
    let mut stream = client.connect(exporter.address);
    // The preface, no settings, and GET / of RFC 9113 and 7541, as short as it can be.
    let authority = b"localhost";
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    asked.extend([
        0,
        0,
        3 + 2 + authority.len() as u8,
        1,
        5,
        0,
        0,
        0,
        1,
        0x82,
        0x84,
        0x87,
        0x41,
        authority.len() as u8,
    ]);
    asked.extend(authority);
    stream.write_all(&asked).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let answered = loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut frame = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut frame).unwrap();
        if head[3] == 1 {
            break frame;
        }
    };
    assert_eq!(answered[0], 0x88, "not the status 200: {answered:x?}");
    assert_eq!(exporter.tracer.stop().code, Some(0));
    let exporter = Exporter::start(&format!("{TLS}http_server_config: {{http2: false}}\n"), &identity, None);
    let mut stream = client.connect(exporter.address);
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// Only a certificate of the right authority and with the right name is let in.
pub fn client_certificates() {
    let identity = Identity::new("localhost");
    let (authority, other) = (Authority::new(), Authority::new());
    let config = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [prometheus.example, 192.0.2.1]\n"
    );
    let exporter = Exporter::start(&config, &identity, Some(&authority));
    let nobody = Client::new(&identity.cert);
    let is_answered =
        |who: &Identity, versions| Client { identity: Some(who), versions, ..nobody }.is_answered(exporter.address);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        assert!(is_answered(&authority.sign("prometheus.example"), versions));
        assert!(is_answered(&authority.sign("192.0.2.1"), versions));
        assert!(!is_answered(&authority.sign("other.example"), versions));
        assert!(!is_answered(&authority.sign("192.0.2.11"), versions));
        assert!(!is_answered(&other.sign("prometheus.example"), versions));
        assert!(!is_answered(&Identity::new("prometheus.example"), versions));
        assert!(!Client { versions, ..nobody }.is_answered(exporter.address));
    }
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// A certificate that is renewed is shown without a restart; a file that is wrong changes nothing and is said.
pub fn changed_files() {
    let (first, second) = (Identity::new("localhost"), Identity::new("localhost"));
    let exporter = Exporter::start(TLS, &first, None);
    let at = exporter.address;
    assert!(Client::new(&first.cert).is_answered(at));
    // One after the other, as whoever renews them does: in between they do not belong together.
    exporter.replace("cert.pem", &second.cert);
    exporter.is_heard_to_say("not taken over", Client::new(&first.cert));
    exporter.replace("key.pem", &second.key);
    in_time("the new certificate is shown", SOON, || Client::new(&second.cert).is_answered(at));
    assert!(!Client::new(&first.cert).is_answered(at), "the old certificate is shown too");
    let client = Client::new(&second.cert);
    exporter.replace("web.yml", "tls_server: {}\n");
    exporter.is_heard_to_say("unknown field `tls_server`", client);
    exporter.replace("web.yml", "");
    exporter.is_heard_to_say("TLS is gone", client);
    fs::remove_file(exporter.files.path().join("web.yml")).unwrap();
    exporter.is_heard_to_say("No such file", client);
    let hash = hash(4);
    exporter.replace("web.yml", &format!("{TLS}basic_auth_users: {{a: {hash}}}\n"));
    in_time("the user is asked for", SOON, || !client.is_answered(at));
    let answer = client.get(at, "/-/healthy", &says("a:right")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let said = exporter.tracer.said();
    assert_eq!(said.matches("unknown field").count(), 1, "it is said once: {said}");
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// Whoever connects and never agrees on TLS is let go of, whether silent or slow, and those who wait are served then; nobody's memory grows meanwhile.
pub fn slow_handshakes() {
    let identity = Identity::new("localhost");
    let exporter = Exporter::start(TLS, &identity, None);
    let (at, client) = (exporter.address, Client::new(&identity.cert));
    // These agree on TLS and say nothing more.
    let mut silent: Vec<_> = (0..PLACES / 2).map(|_| client.connect(at)).collect();
    for stream in &mut silent {
        stream.write_all(b"GET ").unwrap();
        stream.flush().unwrap();
    }
    let mute: Vec<TcpStream> = (0..PLACES / 2).map(|_| connect(at)).collect();
    let begun = Instant::now();
    // This one says a byte of its first record in a while: how long it takes in all counts.
    let mut slow = connect(at);
    let is_let_go = thread::spawn(move || {
        let hello = [0x16, 3, 1, 1, 0, 1, 0, 0, 252];
        hello.iter().chain(&[0; 200]).any(|byte| {
            thread::sleep(Duration::from_millis(200));
            slow.write_all(&[*byte]).is_err()
        })
    });
    until("somebody else is served", LET_GO_WITHIN, || client.is_answered(at));
    println!("served after {:?}", begun.elapsed());
    for mut stream in mute {
        let mut nothing = Vec::new();
        // It was closed or reset: else the read ends with the time.
        let ended = stream.read_to_end(&mut nothing);
        let is_late = |why: &io::Error| [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&why.kind());
        assert!(!ended.as_ref().is_err_and(is_late), "{ended:?}");
    }
    assert!(is_let_go.join().unwrap(), "a byte in a while keeps a place for ever");
    let resident = exporter.resident();
    println!("{resident} KiB");
    assert!(resident < 48 * 1024, "{resident} KiB");
    assert_eq!(exporter.tracer.stop().code, Some(0));
}
