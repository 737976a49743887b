//! Downloads over HTTPS, and single requests: one document, bounded in length and time.
//!
//! Nothing but TLS is spoken, also where a redirection leads, and every host on the way is
//! authenticated as the first one is. Nothing is kept between two downloads. From a program of this
//! host a document comes over its Unix socket, where there is nobody between to guard against.

mod error;
mod roots;
mod send;
mod socket;
mod target;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, HOST, LOCATION, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use self::error::{GetCause, GetError};
pub use self::roots::{NoRoots, client_config_believing, web_client_config};
pub use self::send::send;
pub use self::socket::get_from_socket;
use self::target::Target;

/// How much a download may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest document.
    pub max_len_bytes: usize,
    /// The time for all of it: names, connections, redirections and the document.
    pub within: Duration,
}

/// What a host answered.
#[derive(Clone, Debug)]
pub struct Document {
    /// The status; a redirection was followed and is never here.
    pub status: StatusCode,
    /// What it says besides.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Downloads what is at `url`. Whom to believe and what to show is in `tls`, whose ALPN must allow
/// `http/1.1`.
///
/// Redirections are followed, [`MAX_REDIRECTS`] of them.
///
/// # Errors
/// [`GetError`], whose text with its causes reads as that of Go's HTTP client.
pub async fn get(url: &str, tls: Arc<ClientConfig>, limits: Limits) -> Result<Document, GetError> {
    let download = follow(url, tls, limits.max_len_bytes);
    let ended = tokio::time::timeout(limits.within, download).await;
    let ended = ended.unwrap_or(Err(GetCause::TimedOut(limits.within)));
    ended.map_err(|cause| GetError::new("Get", url, cause))
}

async fn follow(
    url: &str,
    tls: Arc<ClientConfig>,
    max_len_bytes: usize,
) -> Result<Document, GetCause> {
    let mut target = Target::parse(url)?;
    for _ in 0..=MAX_REDIRECTS {
        match ask(&target, Arc::clone(&tls), max_len_bytes).await? {
            Answer::Document(document) => return Ok(document),
            Answer::Elsewhere(location) => target = target.join(&location)?,
        }
    }
    Err(GetCause::TooManyRedirects)
}

enum Answer {
    Document(Document),
    Elsewhere(String),
}

async fn ask(
    target: &Target,
    tls: Arc<ClientConfig>,
    max_len_bytes: usize,
) -> Result<Answer, GetCause> {
    exchange(target, connect(target, tls).await?, max_len_bytes).await
}

async fn connect(
    target: &Target,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, GetCause> {
    let stream = dial(target).await?;
    TlsConnector::from(tls)
        .connect(target.server_name(), stream)
        .await
        .map_err(GetCause::Handshake)
}

/// The first of the host's addresses that answers.
async fn dial(target: &Target) -> Result<TcpStream, GetCause> {
    let found = lookup_host((target.host(), target.port())).await;
    let addresses = found.map_err(|error| GetCause::Lookup {
        host: target.host().to_owned(),
        error,
    })?;
    let mut failure = GetCause::NoAddress(target.host().to_owned());
    for address in addresses.take(MAX_ADDRESSES) {
        match dial_one(address).await {
            Ok(stream) => return Ok(stream),
            Err(cause) => failure = cause,
        }
    }
    Err(failure)
}

async fn dial_one(address: SocketAddr) -> Result<TcpStream, GetCause> {
    let connecting = TcpStream::connect(address);
    match tokio::time::timeout(DIAL_WITHIN, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(GetCause::Dial { address, error }),
        Err(_) => Err(GetCause::DialTimedOut { address }),
    }
}

async fn exchange(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    max_len_bytes: usize,
) -> Result<Answer, GetCause> {
    let judge = |response| judge(response, max_len_bytes);
    converse(request(target)?, stream, judge).await
}

/// Sends one request, and answers what `take` makes of the response.
async fn converse<T, F: Future<Output = Result<T, GetCause>>>(
    request: Request<Full<Bytes>>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    take: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, GetCause> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_LEN_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(GetCause::Http)?;
    let exchange = async {
        let response = sender.send_request(request).await;
        take(response.map_err(GetCause::Http)?).await
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = exchange.as_mut() => answer,
        // What it has read already is still to be taken.
        _ended = connection => exchange.await,
    }
}

fn request(target: &Target) -> Result<Request<Full<Bytes>>, GetCause> {
    let request = Request::builder()
        .method(Method::GET)
        .version(Version::HTTP_11)
        .uri(target.path_and_query())
        .header(HOST, target.authority())
        .header(USER_AGENT, HeaderValue::from_static("conclave"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Full::default());
    request.map_err(|_unfit| GetCause::Url(UNSENDABLE))
}

async fn judge(response: Response<Incoming>, max_len_bytes: usize) -> Result<Answer, GetCause> {
    let status = response.status();
    if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.ok_or(GetCause::NoLocation(status))?;
        return Ok(Answer::Elsewhere(location.to_owned()));
    }
    let (head, body) = response.into_parts();
    Ok(Answer::Document(Document {
        status,
        headers: head.headers,
        body: read_whole(body, max_len_bytes).await?,
    }))
}

async fn read_whole(mut body: Incoming, max_len_bytes: usize) -> Result<Bytes, GetCause> {
    let too_long = GetCause::TooLong(max_len_bytes);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max_len_bytes {
        return Err(too_long);
    }
    let mut document = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(GetCause::Http)?.into_data() {
            if document.len() + data.len() > max_len_bytes {
                return Err(too_long);
            }
            document.extend_from_slice(&data);
        }
    }
    Ok(document.into())
}

/// What is downloaded from `url` where every host on the way answers with `bytes`.
///
/// # Errors
/// As of [`get`].
#[cfg(feature = "fuzzing")]
pub async fn answered(url: &str, bytes: &[u8], max_len_bytes: usize) -> Result<Document, GetError> {
    let told = async {
        let mut target = Target::parse(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let stream = tokio::io::join(bytes, tokio::io::sink());
            match exchange(&target, stream, max_len_bytes).await? {
                Answer::Document(document) => return Ok(document),
                Answer::Elsewhere(location) => target = target.join(&location)?,
            }
        }
        Err(GetCause::TooManyRedirects)
    };
    told.await.map_err(|cause| GetError::new("Get", url, cause))
}

/// How many redirections are followed, as in Go's client.
pub const MAX_REDIRECTS: usize = 10;

const UNSENDABLE: &str = "a part of it cannot be sent";

const DIAL_WITHIN: Duration = Duration::from_secs(10);
const MAX_ADDRESSES: usize = 8;
const MAX_HEAD_LEN_BYTES: usize = 64 * 1024;
