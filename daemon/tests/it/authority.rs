//! What gRPC libraries send as `:authority` over a Unix socket, in raw frames, against a real server.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    path::Path,
    task::{Context, Poll},
    time::Duration,
};

use daemon::unix::{BindOptions, bind, connect};
use futures_util::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};
use tonic::{
    body::Body,
    transport::{Server, server::Connected},
};
use tower::{Service, ServiceExt};

/// Every form that a client has been seen to send; `None` sends no `:authority`.
const FORMS: [Option<&str>; 10] = [
    None,
    Some("localhost"),
    Some("/tmp/a.sock"),
    Some("%2Ftmp%2Fa.sock"),
    Some(""),
    Some("a_b"),
    Some("spire_agent"),
    Some("a b"),
    Some("[::1]:1"),
    Some("user@host"),
];

/// Answers every call with the authority that it came with.
#[derive(Clone)]
struct Echo;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let authority = request.uri().authority().map_or("", |name| name.as_str());
        let mut response = http::Response::new(Body::empty());
        let value = http::HeaderValue::from_str(authority).unwrap();
        response.headers_mut().insert("seen-authority", value);
        ready(Ok(response))
    }
}

/// What became of a call.
#[derive(Debug, Eq, PartialEq)]
enum Fate {
    ReachedHandler,
    Refused,
}

/// Makes one call with this authority, frame by frame.
async fn call(socket: &Path, authority: Option<&str>) -> Fate {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/Echo/Call"),
    ];
    let authority = authority.map(|authority| (":authority", authority));
    let rest = [("content-type", "application/grpc"), ("te", "trailers")];
    for (name, value) in fields.into_iter().chain(authority).chain(rest) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    stream.write_all(&bytes).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), fate(&mut stream))
        .await
        .unwrap()
}

/// Reads frames until one that tells of stream 1.
async fn fate(stream: &mut UnixStream) -> Fate {
    loop {
        let mut header = [0; 9];
        if stream.read_exact(&mut header).await.is_err() {
            return Fate::Refused;
        }
        let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match header[3] {
            1 => return Fate::ReachedHandler,
            3 | 7 => return Fate::Refused,
            _ => {}
        }
    }
}

async fn fates_with<S>(socket: &Path, incoming: impl Stream<Item = std::io::Result<S>>) -> Vec<Fate>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let serve = Server::builder().serve_with_incoming(Echo, incoming);
    let calls = async {
        let mut fates = Vec::new();
        for form in FORMS {
            fates.push(call(socket, form).await);
        }
        fates
    };
    tokio::select! {
        served = serve => panic!("server ended: {served:?}"),
        fates = calls => fates,
    }
}

const OPTIONS: BindOptions = BindOptions {
    socket_mode: 0o777,
    directory_mode: 0o755,
};

#[tokio::test]
async fn every_authority_reaches_the_handler() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = bind(&socket, OPTIONS).await.unwrap();
    let fates = fates_with(&socket, listener.incoming()).await;
    for (form, fate) in FORMS.iter().zip(fates) {
        assert_eq!(fate, Fate::ReachedHandler, "{form:?}");
    }
}

/// The control: without the repair the same calls must fail, or the test above shows nothing.
#[tokio::test]
async fn stock_server_refuses_what_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let fates = fates_with(&socket, Box::pin(incoming)).await;
    let refused: Vec<_> = FORMS
        .iter()
        .zip(fates)
        .filter(|(_, fate)| *fate == Fate::Refused)
        .map(|(form, _)| form.unwrap_or("unset"))
        .collect();
    assert_eq!(refused, ["/tmp/a.sock", "%2Ftmp%2Fa.sock", "", "a b"]);
}

#[tokio::test]
async fn many_calls_over_one_channel_keep_the_tables_in_step() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = bind(&socket, OPTIONS).await.unwrap();
    let serve = Server::builder().serve_with_incoming(Echo, listener.incoming());
    let calls = async {
        let mut channel = connect(&socket).await.unwrap();
        for number in 0..300 {
            // Fields that repeat and fields that do not: the client's table fills and turns over.
            let request = http::Request::post("http://localhost/Echo/Call")
                .header("content-type", "application/grpc")
                .header("x-number", format!("{number:0>40}"))
                .header(format!("x-name-{}", number % 7), "constant")
                .body(Body::empty())
                .unwrap();
            let response = channel.ready().await.unwrap().call(request).await.unwrap();
            assert_eq!(response.headers()["seen-authority"], "localhost");
        }
    };
    tokio::select! {
        served = serve => panic!("server ended: {served:?}"),
        () = calls => {}
    }
}
