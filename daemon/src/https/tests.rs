//! Downloads from servers that behave, and from servers that do not.

use std::{io, net::SocketAddr};

use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::supervisor::chain;

const LIMITS: Limits = Limits {
    max_len_bytes: 1000,
    within: Duration::from_secs(20),
};

/// A server that answers whatever it is asked with the same bytes.
struct Host {
    address: SocketAddr,
    root: CertificateDer<'static>,
    _tasks: JoinSet<()>,
}

impl Host {
    async fn start(answer: Vec<u8>) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                say(&acceptor, stream, &answer).await.ok();
            }
        });
        Self {
            address,
            root,
            _tasks: tasks,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    async fn get(&self, limits: Limits) -> Result<Document, GetError> {
        get(&self.url("/"), trusting(&self.root), limits).await
    }

    async fn failure(&self) -> String {
        let error = self.get(LIMITS).await.unwrap_err();
        chain(&error).replace(&self.address.port().to_string(), "PORT")
    }
}

async fn say(acceptor: &TlsAcceptor, stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    stream.write_all(answer).await?;
    stream.shutdown().await
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn trusting(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn ok(body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn documents_come_with_their_status() {
    let host = Host::start(ok("hello")).await;
    let document = host.get(LIMITS).await.unwrap();
    assert_eq!(document.status, StatusCode::OK);
    assert_eq!(document.body, "hello");

    let host = Host::start(b"HTTP/1.1 404 Not Found\r\n\r\nuntil the end".to_vec()).await;
    let document = host.get(LIMITS).await.unwrap();
    assert_eq!(document.status, StatusCode::NOT_FOUND);
    assert_eq!(document.body, "until the end");
}

#[tokio::test]
async fn documents_beyond_the_limit_are_refused() {
    let limit = "x".repeat(LIMITS.max_len_bytes);
    let host = Host::start(ok(&limit)).await;
    assert_eq!(host.get(LIMITS).await.unwrap().body, limit);

    let expected = "Get \"https://localhost:PORT/\": the document is longer than 1000 bytes";
    // Announced, and no byte of it is waited for.
    let host = Host::start(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n".to_vec()).await;
    assert_eq!(host.failure().await, expected);
    // Not announced.
    let host = Host::start(format!("HTTP/1.1 200 OK\r\n\r\n{limit}x").into_bytes()).await;
    assert_eq!(host.failure().await, expected);
    let chunk = format!("3e9\r\n{limit}x\r\n0\r\n\r\n");
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    let host = Host::start(chunked.into_bytes()).await;
    assert_eq!(host.failure().await, expected);
}

#[tokio::test]
async fn broken_answers_are_refused() {
    let get = "Get \"https://localhost:PORT/\": ";
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort".to_vec();
    for answer in [b"".to_vec(), b"nonsense\r\n\r\n".to_vec(), short] {
        let failure = Host::start(answer).await.failure().await;
        let expected = format!("{get}no complete answer: ");
        assert!(failure.starts_with(&expected), "{failure}");
    }
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let failure = Host::start(long_head.into_bytes()).await.failure().await;
    assert!(
        failure.starts_with(&format!("{get}no complete answer: ")),
        "{failure}"
    );
}

#[tokio::test]
async fn redirections_are_followed_over_tls_alone_and_not_for_ever() {
    let host = Host::start(b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n".to_vec()).await;
    let get = "Get \"https://localhost:PORT/\": ";
    assert_eq!(
        host.failure().await,
        format!("{get}stopped after 10 redirects")
    );

    let host = Host::start(b"HTTP/1.1 302 Found\r\n\r\n".to_vec()).await;
    let missing = "302 response missing Location header";
    assert_eq!(host.failure().await, format!("{get}{missing}"));

    let plain = b"HTTP/1.1 301 Moved\r\nlocation: http://localhost/\r\n\r\n".to_vec();
    let refused = "unusable URL: the scheme is not https";
    assert_eq!(
        Host::start(plain).await.failure().await,
        format!("{get}{refused}")
    );

    // The second host is another one, and is not believed.
    let other = Host::start(ok("other")).await;
    let moved = format!("HTTP/1.1 308 Moved\r\nlocation: {}\r\n\r\n", other.url("/"));
    let failure = Host::start(moved.into_bytes()).await.failure().await;
    assert!(
        failure.starts_with(&format!("{get}TLS handshake failed: ")),
        "{failure}"
    );
}

#[tokio::test]
async fn hosts_that_are_not_believed_learn_nothing() {
    let host = Host::start(ok("secret")).await;
    let other = Host::start(ok("other")).await;
    let error = get(&host.url("/"), trusting(&other.root), LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error.cause(), GetCause::Handshake(_)), "{error:?}");
    // Another name than the certificate's.
    let url = format!("https://127.0.0.1:{}/", host.address.port());
    let error = get(&url, trusting(&host.root), LIMITS).await.unwrap_err();
    assert!(matches!(error.cause(), GetCause::Handshake(_)), "{error:?}");
}

#[tokio::test]
async fn plain_http_is_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&ok("plain")).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    let root = Host::start(Vec::new()).await.root;
    let url = format!("https://127.0.0.1:{port}/");
    let error = get(&url, trusting(&root), LIMITS).await.unwrap_err();
    assert!(matches!(error.cause(), GetCause::Handshake(_)), "{error:?}");
}

#[tokio::test]
async fn who_does_not_listen_is_named() {
    let root = Host::start(Vec::new()).await.root;
    let error = get("https://127.0.0.1:1/b", trusting(&root), LIMITS).await;
    assert_eq!(
        chain(&error.unwrap_err()),
        "Get \"https://127.0.0.1:1/b\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = Host::start(Vec::new()).await.root;
    let url = format!("https://127.0.0.1:{port}/");
    let begun = tokio::time::Instant::now();
    let error = get(&url, trusting(&root), LIMITS).await.unwrap_err();
    let waited = begun.elapsed();
    assert!(
        waited < LIMITS.within + Duration::from_secs(1),
        "{waited:?}"
    );
    assert!(matches!(error.cause(), GetCause::TimedOut(_)), "{error:?}");
    let text = chain(&error);
    assert!(text.ends_with(": no complete answer within 20s"), "{text}");
    drop(listener);
}

#[tokio::test]
async fn a_request_is_answered_as_it_is_and_not_led_elsewhere() {
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /\r\nreplay-nonce: n\r\n\
                  content-length: 3\r\n\r\nabc";
    let host = Host::start(answer.into()).await;
    let send = async |method: Method| {
        let request = Request::builder().method(method).uri(host.url("/a?b"));
        let request = request.body(Bytes::from_static(b"{}")).unwrap();
        send(request, trusting(&host.root), LIMITS).await.unwrap()
    };
    let answered = send(Method::POST).await;
    assert_eq!(answered.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answered.headers()["replay-nonce"], "n");
    assert_eq!(answered.body(), "abc");
    assert_eq!(send(Method::HEAD).await.body(), "");
}

#[tokio::test]
async fn a_request_that_fails_is_named_by_its_method() {
    let host = Host::start(ok(&"x".repeat(1001))).await;
    let request = Request::post(host.url("/")).body(Bytes::new()).unwrap();
    let error = send(request, trusting(&host.root), LIMITS).await;
    let error = chain(&error.unwrap_err()).replace(&host.address.port().to_string(), "PORT");
    assert_eq!(
        error,
        "Post \"https://localhost:PORT/\": the document is longer than 1000 bytes"
    );
    let request = Request::post("http://localhost/").body(Bytes::new());
    let refused = send(request.unwrap(), trusting(&host.root), LIMITS).await;
    assert_eq!(
        chain(&refused.unwrap_err()),
        "Post \"http://localhost/\": unusable URL: the scheme is not https"
    );
}
