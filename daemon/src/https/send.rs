//! One request with a method, headers and body of the caller's.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Version,
    header::{CONNECTION, HOST},
};
use http_body_util::Full;
use rustls::ClientConfig;

use super::{GetCause, GetError, Limits, Target, UNSENDABLE, connect, converse, read_whole};

/// Sends `request`, whose URI is a whole `https` URL, over a connection of its own, and answers what came
/// back, whatever its status. No redirection is followed: what was signed for one place is for no other.
/// Whom to believe is in `tls`, whose ALPN must allow `http/1.1`.
///
/// # Errors
/// [`GetError`], in the words of Go's HTTP client where it has some.
pub async fn send(
    request: Request<Bytes>,
    tls: Arc<ClientConfig>,
    limits: Limits,
) -> Result<Response<Bytes>, GetError> {
    let url = request.uri().to_string();
    let verb = match *request.method() {
        Method::GET => "Get",
        Method::HEAD => "Head",
        Method::POST => "Post",
        _ => "Request",
    };
    let ended = tokio::time::timeout(limits.within, ask(request, &url, tls, limits)).await;
    let ended = ended.unwrap_or(Err(GetCause::TimedOut(limits.within)));
    ended.map_err(|cause| GetError::new(verb, &url, cause))
}

async fn ask(
    request: Request<Bytes>,
    url: &str,
    tls: Arc<ClientConfig>,
    limits: Limits,
) -> Result<Response<Bytes>, GetCause> {
    let target = Target::parse(url)?;
    let request = addressed(request, &target)?;
    let stream = connect(&target, tls).await?;
    converse(request, stream, async |response| {
        let (head, body) = response.into_parts();
        let body = read_whole(body, limits.max_len_bytes).await?;
        Ok(Response::from_parts(head, body))
    })
    .await
}

/// The request as it stands on the connection to `target`.
fn addressed(request: Request<Bytes>, target: &Target) -> Result<Request<Full<Bytes>>, GetCause> {
    let (mut head, body) = request.into_parts();
    let unsendable = |_unfit| GetCause::Url(UNSENDABLE);
    head.uri = target.path_and_query().parse().map_err(unsendable)?;
    head.version = Version::HTTP_11;
    let host = HeaderValue::from_str(target.authority());
    let host = host.map_err(|_unfit| GetCause::Url(UNSENDABLE))?;
    head.headers.insert(HOST, host);
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(head, Full::new(body)))
}
