//! What a client sees of the web server, and how certificates follow their files.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{StatusCode, request::Parts};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    supervisor::Shutdown,
    unix::{self, BindOptions},
};

/// Tells how a request came.
struct Echo;

impl Documents for Echo {
    fn answer(&self, request: &Parts, origin: Origin) -> Answer {
        let how = match (origin.is_tls, origin.remote.is_some()) {
            (true, _) => "tls",
            (false, true) => "tcp",
            (false, false) => "unix",
        };
        plain_text(
            StatusCode::IM_A_TEAPOT,
            &format!("{} {how}", request.uri.path()),
        )
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

const DOCUMENT: &str = "/a";

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// Writes a fresh certificate and its key into a folder.
fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = pem("PRIVATE KEY", &key.serialize_der());
    std::fs::write(folder.join("key.pem"), key).unwrap();
    std::fs::write(folder.join("cert.pem"), pem("CERTIFICATE", &certificate)).unwrap();
    certificate
}

fn load_from(folder: &Path) -> Result<Arc<CertificateFiles>, CertificateFilesError> {
    CertificateFiles::load(folder.join("cert.pem"), folder.join("key.pem"))
}

/// The answer to [`REQUEST`] from a server that must show `trusted`.
async fn ask_tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    Ok(ask(stream.await?, REQUEST).await)
}

fn serve(listener: Listener, tasks: &mut JoinSet<()>) -> Option<SocketAddr> {
    let address = listener.local_address().unwrap();
    tasks.spawn(async {
        let Ok(()) = listener.serve(Arc::new(Echo), Shutdown::new()).await;
    });
    address
}

#[tokio::test]
async fn documents_are_served_over_tcp_and_unix_sockets() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s/web.sock");
    let options = BindOptions {
        socket_mode: 0o777,
        directory_mode: 0o755,
    };
    let listener = Listener::unix(unix::bind(&path, options).await.unwrap());
    assert_eq!(serve(listener, &mut tasks), None);
    let stream = UnixStream::connect(&path).await.unwrap();
    assert!(ask(stream, REQUEST).await.ends_with("\r\n\r\n/a unix\n"));

    let listener = Listener::plain(":0").await.unwrap();
    let port = serve(listener, &mut tasks).unwrap().port();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let answer = ask(stream, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"));
    assert!(answer.contains("x-content-type-options: nosniff\r\n"));
    assert!(answer.ends_with("\r\n\r\n/a tcp\n"), "{answer}");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let mut tasks = JoinSet::new();
    let listener = Listener::plain("127.0.0.1:0").await.unwrap();
    let address = serve(listener, &mut tasks).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let long = "a".repeat(64 * 1024);
    let request = format!("GET {DOCUMENT} HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
    let (mut reader, mut writer) = stream.into_split();
    // The server hangs up before it has read all of it.
    writer.write_all(request.as_bytes()).await.ok();
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_says_nothing_is_hung_up_on() {
    let mut tasks = JoinSet::new();
    let listener = Listener::plain("127.0.0.1:0").await.unwrap();
    let address = serve(listener, &mut tasks).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "));
    assert!(started.elapsed() <= Duration::from_secs(11));
}

#[tokio::test]
async fn a_changed_certificate_is_shown_and_a_broken_one_is_not() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let first = write_pair(folder.path());
    let files = load_from(folder.path()).unwrap();
    let config = server_config(files.clone()).unwrap();
    let listener = Listener::tls("127.0.0.1:0", config).await.unwrap();
    let address = serve(listener, &mut tasks).unwrap();
    let interval = Duration::from_millis(5);
    tasks.spawn(async move {
        let Ok(()) = files.follow(interval, Shutdown::new()).await;
    });
    let answer = ask_tls(address, &first).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n/a tls\n"), "{answer}");

    // A key that does not fit changes nothing.
    let key = std::fs::read(folder.path().join("key.pem")).unwrap();
    let second = write_pair(folder.path());
    let second_key = std::fs::read(folder.path().join("key.pem")).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    assert!(matches!(
        load_from(folder.path()).unwrap_err(),
        CertificateFilesError::NoPair { .. }
    ));
    assert!(ask_tls(address, &first).await.is_ok());
    std::fs::write(folder.path().join("key.pem"), second_key).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while ask_tls(address, &second).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "still the old one");
        tokio::time::sleep(interval).await;
    }
    assert!(ask_tls(address, &first).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_changed_before_it_was_followed_is_shown() {
    let mut tasks = JoinSet::new();
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    write_pair(folder.path());
    let files = load_from(folder.path()).unwrap();
    let second = write_pair(other.path());
    for name in ["cert.pem", "key.pem"] {
        std::fs::rename(other.path().join(name), folder.path().join(name)).unwrap();
    }
    let config = server_config(files.clone()).unwrap();
    let listener = Listener::tls("127.0.0.1:0", config).await.unwrap();
    let address = serve(listener, &mut tasks).unwrap();
    let interval = Duration::from_millis(5);
    tasks.spawn(async move {
        let Ok(()) = files.follow(interval, Shutdown::new()).await;
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while ask_tls(address, &second).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "still the old one");
        tokio::time::sleep(interval).await;
    }
}

#[test]
fn files_that_are_no_pair_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let check = |expected: &str| {
        let error = load_from(folder.path()).unwrap_err().to_string();
        let shown = folder.path().display().to_string();
        assert_eq!(error.replace(&shown, "F"), expected);
    };
    check("read F/cert.pem");
    write_pair(folder.path());
    std::fs::write(path("cert.pem"), "nothing").unwrap();
    check("F/cert.pem holds no certificate in PEM");
    write_pair(folder.path());
    std::fs::write(path("key.pem"), pem("CERTIFICATE", b"x")).unwrap();
    check("F/key.pem holds no private key in PEM");
    std::fs::write(path("key.pem"), vec![b' '; 1024 * 1024 + 1]).unwrap();
    let error = load_from(folder.path()).unwrap_err();
    let CertificateFilesError::Read { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
    write_pair(folder.path());
    std::fs::write(path("cert.pem"), pem("CERTIFICATE", b"x")).unwrap();
    check("F/cert.pem and F/key.pem are not a certificate and its key");
}
