//! The two documents over HTTP; answers, texts and headers are those of SPIRE's provider.

use std::{sync::Arc, time::SystemTime};

use daemon::web::{Answer, Documents, Origin, empty, plain_text};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, EXPIRES, FORWARDED, HOST,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PRAGMA, USER_AGENT,
    },
    request::Parts,
};
use http_body_util::Full;
use tracing::debug;

use crate::{
    discovery::{Names, Scheme},
    domains::Domains,
    key_set::KeySet,
};

/// What is served to the world.
#[derive(Debug)]
pub struct PublicDocuments {
    names: Names,
    domains: Domains,
    keys: Arc<KeySet>,
    allow_insecure_scheme: bool,
    log_requests: bool,
    discovery_path: String,
    keys_path: String,
}

/// What [`PublicDocuments`] are made of.
#[derive(Debug)]
pub struct Parameters {
    /// What the documents are called.
    pub names: Names,
    /// By which names callers may come.
    pub domains: Domains,
    /// The keys.
    pub keys: Arc<KeySet>,
    /// Whether a document asked for in the clear names addresses in the clear.
    pub allow_insecure_scheme: bool,
    /// Whether every request is logged at the level debug.
    pub log_requests: bool,
}

impl PublicDocuments {
    /// The documents.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        let Parameters {
            names,
            domains,
            keys,
            allow_insecure_scheme,
            log_requests,
        } = parameters;
        Self {
            discovery_path: names.discovery_path(),
            keys_path: names.keys_path(),
            names,
            domains,
            keys,
            allow_insecure_scheme,
            log_requests,
        }
    }

    fn discovery(&self, request: &Parts, origin: Origin) -> Answer {
        let Some(host) = asked_host(request) else {
            return plain_text(StatusCode::BAD_REQUEST, "missing required Host header");
        };
        if let Err(refused) = self.domains.check_host(&host) {
            return plain_text(StatusCode::BAD_REQUEST, &refused.to_string());
        }
        let is_clear = !origin.is_tls && forwarded_scheme(&request.headers) != Some(Scheme::Https);
        let scheme = match self.allow_insecure_scheme && is_clear {
            true => Scheme::Http,
            false => Scheme::Https,
        };
        json(self.names.document(scheme, &host))
    }

    fn keys(&self, request: &Parts) -> Answer {
        let Some(published) = self.keys.published() else {
            return plain_text(StatusCode::INTERNAL_SERVER_ERROR, "document not available");
        };
        if published.is_empty() {
            let text = "jwt not supported/enabled in this service";
            return plain_text(StatusCode::NOT_IMPLEMENTED, text);
        }
        let mut answer = match is_unmodified(&request.headers, published.modified) {
            true => empty(StatusCode::NOT_MODIFIED),
            false => json(published.json.clone()),
        };
        let headers = answer.headers_mut();
        let fixed = HeaderValue::from_static;
        let cache = fixed("no-cache, no-store, must-revalidate");
        headers.insert(CACHE_CONTROL, cache);
        headers.insert(PRAGMA, fixed("no-cache"));
        headers.insert(EXPIRES, fixed("0"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
        let modified = httpdate::fmt_http_date(published.modified);
        if let Ok(modified) = HeaderValue::from_str(&modified) {
            headers.insert(LAST_MODIFIED, modified);
        }
        answer
    }
}

impl Documents for PublicDocuments {
    fn answer(&self, request: &Parts, origin: Origin) -> Answer {
        if self.log_requests {
            debug!(
                "remote-addr" = origin.remote.map(|remote| remote.to_string()),
                method = %request.method,
                url = %request.uri,
                "user-agent" = request.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
                "Incoming request"
            );
        }
        let path = request.uri.path();
        let is_discovery = path == self.discovery_path;
        if !is_discovery && path != self.keys_path {
            return plain_text(StatusCode::NOT_FOUND, "404 page not found");
        }
        if request.method != Method::GET {
            return plain_text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        match is_discovery {
            true => self.discovery(request, origin),
            false => self.keys(request),
        }
    }
}

fn json(bytes: Vec<u8>) -> Answer {
    let mut answer = Answer::new(Full::from(bytes));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// The host that the caller asked, as a proxy in front of here tells it.
fn asked_host(request: &Parts) -> Option<String> {
    let forwarded = first(&request.headers, "x-forwarded-host");
    let asked = || request.uri.authority().map(|host| host.as_str());
    let header = || request.headers.get(HOST)?.to_str().ok();
    let host = forwarded.or_else(asked).or_else(header)?;
    Some(host.to_owned())
}

/// The scheme that the caller used with a proxy in front of here, as far as the proxy tells.
fn forwarded_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let said = first(headers, "x-forwarded-proto")
        .or_else(|| first(headers, "x-forwarded-scheme"))
        .map(str::to_ascii_lowercase)
        .or_else(|| {
            let forwarded = first(headers, FORWARDED.as_str())?.to_ascii_lowercase();
            let (_, said) = forwarded.split_once("proto=")?;
            let len = said.find([';', ',']).unwrap_or(said.len());
            Some(said[..len].trim_matches('"').to_owned())
        })?;
    match said.as_str() {
        "https" => Some(Scheme::Https),
        "http" => Some(Scheme::Http),
        _ => None,
    }
}

fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty()).then_some(text)
}

/// Whether the caller has this version already (RFC 9110 §13.1.3).
fn is_unmodified(headers: &HeaderMap, modified: SystemTime) -> bool {
    let since = headers
        .get(IF_MODIFIED_SINCE)
        .filter(|_| !headers.contains_key(IF_NONE_MATCH))
        .and_then(|since| httpdate::parse_http_date(since.to_str().ok()?).ok());
    // Both are whole seconds.
    since.is_some_and(|since| modified <= since)
}

#[cfg(test)]
mod tests;
