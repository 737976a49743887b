//! Programs that are not ours, at the other end of a socket or a stream: a gRPC server whose every answer comes from
//! the input, and one that says any bytes at all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use daemon::unix::{BindOptions, Listener};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::input::{Input, join};
use crate::world::alone;

/// What is said in turn, the last of it again and again.
#[derive(Clone, Debug, Default)]
pub struct Turns<T>(Arc<Mutex<VecDeque<T>>>);

impl<T: Clone + Default> Turns<T> {
    /// Says these from now on.
    pub fn set(&self, turns: impl IntoIterator<Item = T>) {
        *self.0.lock() = turns.into_iter().collect();
    }

    fn next(&self) -> T {
        let mut turns = self.0.lock();
        match turns.len() {
            1 => turns[0].clone(),
            _ => turns.pop_front().unwrap_or_default(),
        }
    }
}

/// The answer to one call.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    frames: Bytes,
    status: u8,
    message: Option<HeaderValue>,
}

impl Answer {
    /// A status, its text, then messages; without a text the bytes nearly as they are.
    pub fn of(mut input: Input<'_>) -> Self {
        let status = input.byte() % 18;
        let message = input.piece();
        let mut frames = Vec::new();
        if message.is_empty() {
            frames = claiming_little(input.rest());
        } else {
            for piece in input.pieces(8) {
                frames.extend(framed(piece));
            }
        }
        Self {
            frames: frames.into(),
            status,
            message: HeaderValue::from_bytes(message).ok(),
        }
    }

    fn response(self) -> Response<Body> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", u16::from(self.status).into());
        if let Some(message) = self.message {
            trailers.insert("grpc-message", message);
        }
        let body = Full::new(self.frames).with_trailers(async { Some(Ok(trailers)) });
        Response::builder()
            .header("content-type", "application/grpc")
            .body(Body::new(body))
            .expect("it is a response")
    }
}

/// A good answer, or as many as there are messages in a stream.
pub fn said<P: AsRef<[u8]>>(messages: impl IntoIterator<Item = P>) -> Vec<u8> {
    join(&join(&[0], [b"x"]), messages)
}

/// A refusal.
pub fn refused(status: u8, text: &str) -> Vec<u8> {
    join(&[status], [text])
}

/// A message as gRPC sends it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("inputs are short");
    [&[0], &len.to_be_bytes()[..], message].concat()
}

/// The same bytes where no message says to be longer than 1 MiB, unless it is refused at once: room is made for what it
/// says, and how much there is depends on the call.
fn claiming_little(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some([_, first, second, third, fourth]) =
        bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut)
    {
        if *first < 16 {
            (*first, *second) = (0, *second % 16);
        }
        let len = u32::from_be_bytes([*first, *second, *third, *fourth]);
        at = usize::try_from(len).map_or(usize::MAX, |len| at + 5 + len);
    }
    bytes
}

/// Answers the calls on `connections`, whatever is asked.
pub async fn answer<S, C, E>(connections: S, answers: Turns<Answer>)
where
    S: Stream<Item = Result<C, E>>,
    C: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let service = tower::service_fn(move |_: Request<Body>| {
        let answer = answers.next();
        async { Ok::<_, Infallible>(answer.response()) }
    });
    let served = Server::builder().serve_with_incoming(service, connections);
    served.await.ok();
}

/// Who listens on a Unix socket as long as the process runs. To be made before anything runs on [`alone`].
#[derive(Debug)]
pub struct Stranger<T> {
    /// What it says in turn.
    pub says: Turns<T>,
    folder: TempDir,
}

impl Stranger<Answer> {
    /// A gRPC server.
    pub fn answering() -> Self {
        Self::listening(|listener, says| answer(listener.incoming(), says))
    }
}

impl Stranger<Bytes> {
    /// One that says any bytes once it was asked something, and hangs up: other bytes on the next connection.
    pub fn babbling() -> Self {
        Self::listening(async |listener, says| {
            loop {
                let mut connection = listener.accept().await;
                let mut question = [0; 1024];
                let asked = connection.read(&mut question).await;
                if asked.is_ok_and(|len_bytes| len_bytes > 0) {
                    connection.write_all(&says.next()).await.ok();
                    connection.shutdown().await.ok();
                }
            }
        })
    }
}

impl<T: Clone + Default + Send + 'static> Stranger<T> {
    #[expect(clippy::disallowed_methods, reason = "it runs as long as the process")]
    fn listening<F>(speak: impl FnOnce(Listener, Turns<T>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stranger = Self {
            says: Turns::default(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        alone(async {
            let listener = daemon::unix::bind(&stranger.socket(), OPTIONS).await;
            let listener = listener.expect("the socket is free");
            tokio::task::spawn(speak(listener, stranger.says.clone()));
        });
        stranger
    }
}

impl<T> Stranger<T> {
    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }
}

const OPTIONS: BindOptions = BindOptions {
    socket_mode: 0o600,
    directory_mode: 0o700,
};
