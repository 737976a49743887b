//! A bundle endpoint that answers what a test tells it to.

use std::io;
use std::sync::Arc;

use identity::clock::SystemClock;
use identity::tls::{KeyExchange, SharedTlsMaterial, TlsMaterial, https_server_config};
use identity::x509_svid::X509Svid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What an endpoint says after it has read a request.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// These bytes, then it hangs up.
    Bytes(Vec<u8>),
    /// The head of an answer and then so many bytes of nothing.
    Endless(usize),
    /// Nothing, and the connection stays.
    Nothing,
}

impl Say {
    /// A whole answer with this body.
    pub(super) fn ok(body: &str) -> Self {
        Self::status("200 OK", body)
    }

    pub(super) fn status(status: &str, body: &str) -> Self {
        let len = body.len();
        Self::Bytes(
            format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n{body}").into_bytes(),
        )
    }
}

/// A running endpoint.
pub(super) struct FakeEndpoint {
    port: u16,
    says: watch::Sender<Say>,
    _running: JoinSet<()>,
}

impl FakeEndpoint {
    /// An endpoint that shows `svid`, or speaks plain HTTP.
    pub(super) async fn start(svid: Option<X509Svid>, say: Say) -> Self {
        let acceptor = svid.map(|svid| {
            let material = TlsMaterial::new(Some(svid), []).unwrap();
            let material = SharedTlsMaterial::new(material);
            let config =
                https_server_config(material, KeyExchange::Any, Arc::new(SystemClock)).unwrap();
            TlsAcceptor::from(Arc::new(config))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (says, said) = watch::channel(say);
        let mut running = JoinSet::new();
        running.spawn(serve(listener, acceptor, said));
        Self {
            port,
            says,
            _running: running,
        }
    }

    pub(super) fn say(&self, say: Say) {
        self.says.send_replace(say);
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.port)
    }
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, said: watch::Receiver<Say>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, said) = (acceptor.clone(), said.clone());
        connections.spawn(async move {
            // Whoever hangs up early is what the tests are about.
            talk(stream, acceptor, said).await.ok();
        });
    }
}

async fn talk(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    said: watch::Receiver<Say>,
) -> io::Result<()> {
    match acceptor {
        Some(acceptor) => answer(acceptor.accept(stream).await?, said).await,
        None => answer(stream, said).await,
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    said: watch::Receiver<Say>,
) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let say = said.borrow().clone();
    match say {
        Say::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Say::Endless(len_bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let chunk = vec![b' '; 64 * 1024];
            for _ in 0..len_bytes / chunk.len() {
                stream.write_all(&chunk).await?;
            }
            stream.shutdown().await
        }
        Say::Nothing => {
            stream.read_to_end(&mut request).await?;
            Ok(())
        }
    }
}
