//! TLS by the front alone: real sockets, a real client, certificates made for the test.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use remuda_front::http::{Response, Version};
use remuda_front::{
    Certificates, Content, Front, Listener, Notice, Pair, Protocols, Proxies, Setup, TlsError,
    TlsWish, TrustedPeers,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A folder with the server's files.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("folder"));
        files.issue();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a new pair.
    fn issue(&self) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
        fs::write(self.path("key"), signing_key.serialize_pem()).expect("write");
        fs::write(self.path("cert"), cert.pem()).expect("write");
    }

    fn wish(&self) -> TlsWish {
        TlsWish {
            pairs: vec![Pair::plain(self.path("cert"), Some(self.path("key")))],
            protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
            ..TlsWish::default()
        }
    }

    fn load(&self) -> Result<Certificates, TlsError> {
        Certificates::load(self.wish())
    }

    /// A client that trusts what stands there now.
    fn client(&self, port: u16, protocol: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("cert")).expect("certificate"))
            .expect("root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = "localhost".try_into().expect("name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("client");
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        StreamOwned::new(connection, socket)
    }
}

fn front(files: &Files) -> (Front, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("flag");
    let port = listener.local_addr().expect("address").port();
    let listener = Listener::new(listener.into(), "127.0.0.1".into(), Some(port));
    let watched = std::os::unix::net::UnixDatagram::unbound().expect("socket").into();
    let tls = Some(Arc::new(files.load().expect("files")));
    let protocols = Protocols { tls, ..Protocols::default() };
    let peers = Proxies { trusted: TrustedPeers::Everyone, ..Proxies::default() };
    let front = Front::new(
        Setup { listeners: vec![listener], proxies: peers, protocols, ..Setup::default() },
        watched,
    );
    (front.expect("front"), port)
}

/// Answers every request with its version and cipher until `client` is done.
fn serve<T>(front: &Front, client: JoinHandle<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !client.is_finished() {
        assert!(Instant::now() < deadline, "the client does not come to an end");
        front.collect().expect("collect");
        while let Some(exchange) = front.next_exchange() {
            let facts = exchange.tls().expect("facts");
            let text = format!("{} {}", facts.protocol, facts.cipher);
            assert_eq!(exchange.head.version, Version::HTTP_11);
            exchange.reply(front, Response::new(Content::Whole(Bytes::from(text))));
        }
        front.sweep();
        thread::sleep(Duration::from_millis(1));
    }
    client.join().expect("client")
}

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("write");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("closed with a goodbye");
    text
}

#[test]
fn a_request_comes_with_the_facts_of_its_encryption() {
    let files = Files::new();
    let (front, port) = front(&files);
    let client = files.client(port, "http/1.1");
    let text = serve(&front, thread::spawn(move || ask(client)));
    assert!(text.ends_with("TLSv1.3 TLS_AES_256_GCM_SHA384"), "{text}");
}

#[test]
fn whoever_speaks_plain_http_is_told_so() {
    let files = Files::new();
    let (front, port) = front(&files);
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let text = serve(&front, thread::spawn(move || ask(client)));
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.contains("HTTPS"), "{text}");
    let notices = front.take_notices();
    let [Notice::InvalidRequest { reason, .. }] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(reason, "plain HTTP on a port that speaks TLS");
}

#[test]
fn files_that_change_are_used_for_new_connections() {
    let files = Files::new();
    let (front, port) = front(&files);
    let old = files.client(port, "http/1.1");
    files.issue();
    let deadline = Instant::now() + Duration::from_secs(10);
    let renewed = |front: &Front| {
        let notices = front.take_notices();
        notices.iter().any(|notice| matches!(notice, Notice::CertificateRenewed(_)))
    };
    while !renewed(&front) {
        assert!(Instant::now() < deadline, "nobody looks at the files");
        front.sweep();
        thread::sleep(Duration::from_millis(50));
    }
    let new = files.client(port, "http/1.1");
    assert!(serve(&front, thread::spawn(move || ask(new))).contains("200 OK"));
    // This one trusts what is no longer there.
    let failed = serve(&front, thread::spawn(move || { old }.write_all(b"GET")));
    assert!(failed.is_err());
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name_and_line() {
    let files = Files::new();
    let good = fs::read_to_string(files.path("cert")).expect("read");
    let says = |part: &str| {
        let error = files.load().expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
        assert!(error.contains(files.0.path().to_str().expect("UTF-8")), "{error}");
    };
    let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    fs::write(files.path("cert"), format!("{good}{broken}")).expect("write");
    let line = good.lines().count() + 1;
    says(&format!("cannot use the certificate in `{}`, line {line}", files.path("cert").display()));
    fs::write(files.path("cert"), "nothing of the kind").expect("write");
    says("there is no certificate in");
    fs::write(files.path("cert"), &good).expect("write");
    let other = Files::new();
    fs::copy(other.path("key"), files.path("key")).expect("copy");
    says("does not belong to the certificate in");
    let encrypted = "# a comment\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n\
                     -----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(files.path("key"), encrypted).expect("write");
    says("line 2, is encrypted");
    fs::remove_file(files.path("key")).expect("remove");
    says("cannot read the private key");
}
