//! HTTP to an ACME server, with bounds: what it says reaches the library cut down to what the library can bear.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use daemon::https::{Limits, NoRoots, send};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{LOCATION, RETRY_AFTER, USER_AGENT},
};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;

use crate::settings::Settings;

/// Sends each request over a connection of its own.
pub(crate) struct Transport {
    tls: Arc<ClientConfig>,
    limits: Limits,
}

impl Transport {
    /// To the ACME server of `settings`.
    pub(crate) fn new(settings: &Settings) -> Result<Self, NoRoots> {
        Ok(Self {
            tls: settings.tls()?,
            limits: Limits {
                max_len_bytes: MAX_ANSWER_LEN_BYTES,
                within: settings.patience().answer,
            },
        })
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (tls, limits) = (Arc::clone(&self.tls), self.limits);
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let is_directory = head.method == Method::GET;
            let body = body.collect().await;
            let body = body.unwrap_or_else(|never| match never {}).to_bytes();
            head.headers
                .insert(USER_AGENT, HeaderValue::from_static("conclave"));
            let answered = send(Request::from_parts(head, body), tls, limits).await;
            let answer = answered.map_err(|error| Error::Other(error.into()))?;
            bearable(is_directory, answer)
        })
    }
}

/// What the library is given of an answer.
pub(crate) fn bearable(
    is_directory: bool,
    answer: Response<Bytes>,
) -> Result<BytesResponse, Error> {
    if is_directory && !is_bearable_directory(answer.body()) {
        return Err(Error::Str("no https:// URL of newNonce in the directory"));
    }
    Ok(harmless(answer))
}

/// The answer with the headers that ACME has, if the library can bear them.
fn harmless(answer: Response<Bytes>) -> BytesResponse {
    let (mut head, body) = answer.into_parts();
    let mut kept = HeaderMap::new();
    for name in [
        LOCATION,
        RETRY_AFTER,
        HeaderName::from_static("replay-nonce"),
    ] {
        if let Some(value) = head.headers.remove(&name) {
            let is_bearable = match name {
                RETRY_AFTER => is_bearable_wait(&value),
                _ => value.len() <= MAX_VALUE_LEN_BYTES,
            };
            if is_bearable {
                kept.insert(name, value);
            }
        }
    }
    head.headers = kept;
    BytesResponse {
        parts: head,
        body: Box::new(body),
    }
}

/// Whether the one URL of a directory that the library panics at is one. Nothing else is got by `GET`.
fn is_bearable_directory(body: &[u8]) -> bool {
    let directory: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let new_nonce = directory
        .as_ref()
        .and_then(|one| one.get("newNonce")?.as_str());
    let new_nonce: Option<Uri> = new_nonce.and_then(|url| url.parse().ok());
    new_nonce.is_some_and(|url| url.scheme_str() == Some("https"))
}

/// A date, or not too many seconds: the library adds them to the time, and panics where that has an end.
fn is_bearable_wait(value: &HeaderValue) -> bool {
    let first = value.as_bytes().first();
    first.is_some_and(u8::is_ascii_alphabetic) || value.len() <= MAX_DIGITS
}

/// An order, an account or a problem has a kilobyte, a chain of certificates ten.
const MAX_ANSWER_LEN_BYTES: usize = 256 * 1024;

/// Of a wait in seconds: up to a day and more.
const MAX_DIGITS: usize = 5;

/// Of a URL or a nonce.
const MAX_VALUE_LEN_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &'static str, value: &str) -> Option<String> {
        let answer = Response::builder().header(name, value).body(Bytes::new());
        let headers = harmless(answer.unwrap()).parts.headers;
        let value = headers.get(name)?.to_str().unwrap();
        Some(value.to_owned())
    }

    #[test]
    fn a_directory_without_a_place_for_nonces_is_none() {
        assert!(is_bearable_directory(br#"{"newNonce":"https://a.test/n"}"#));
        for body in [
            &b""[..],
            b"[]",
            b"{}",
            br#"{"newNonce":1}"#,
            br#"{"newNonce":""}"#,
            br#"{"newNonce":"https://a b/"}"#,
            br#"{"newNonce":"/n"}"#,
            br#"{"newNonce":"http://a.test/n"}"#,
        ] {
            assert!(!is_bearable_directory(body), "{body:?}");
        }
    }

    #[test]
    fn headers_that_the_library_cannot_bear_are_dropped() {
        for wait in ["0", "5", "99999", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(kept("retry-after", wait).as_deref(), Some(wait));
        }
        for wait in [
            "100000",
            "18446744073709551615",
            "+18446744073709551615",
            "",
        ] {
            let kept = kept("retry-after", wait);
            assert!(kept.is_none_or(|kept| kept.is_empty()), "{wait}");
        }
        assert_eq!(kept("replay-nonce", "abc").as_deref(), Some("abc"));
        assert_eq!(kept("location", &"a".repeat(5000)), None);
        assert_eq!(kept("set-cookie", "a=b"), None);
    }
}
