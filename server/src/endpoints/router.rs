//! Owns the way of a call from its HTTP request to the service that answers it: rule, caller,
//! rate limit, service.
//!
//! Closed by default: what has no rule in [`authz`](super::authz) is not served, and nothing
//! reaches a service before its caller was admitted.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service as _;

use crate::api::status;
use crate::endpoints::audit::AuditTrail;
use crate::endpoints::authz::{Api, Rule};
use crate::endpoints::rate_limit::{CallLimit, LimitClass, RateLimits};
use crate::endpoints::{
    AuditLog, Authorizer, Caller, CallerRole, ConnectionLife, EndpointsOptions, Gate, Services,
};

/// Answers the calls of all connections.
pub(crate) struct Router {
    services: Services,
    authorizer: Authorizer,
    limits: Arc<RateLimits>,
    gate: Gate,
    audit: AuditLog,
}

impl Router {
    pub(crate) fn new(options: EndpointsOptions) -> Self {
        let EndpointsOptions {
            services,
            authorizer,
            limits,
            gate,
            audit,
        } = options;
        Self {
            services,
            authorizer,
            limits: Arc::new(RateLimits::new(limits)),
            gate,
            audit,
        }
    }

    async fn answer(
        &self,
        caller: Caller,
        life: ConnectionLife,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        if let Some(refusal) = refuse_foreign_protocol(&request) {
            return refusal;
        }
        let known = Rule::of(request.uri().path()).filter(|rule| rule.is_served_to(&caller));
        let Some(rule) = known else {
            return status::unknown_method(request.uri().path(), &caller).into_http();
        };
        if !rule.is_answered_early()
            && let Err(waiting) = self.gate.pass().await
        {
            return status::not_serving_yet(waiting).into_http();
        }
        let role = match self.authorizer.authorize(rule, &caller).await {
            Ok(role) => role,
            Err(error) => return status::not_admitted(rule.method, &error).into_http(),
        };
        if let Some(limit) = self.limit(rule, &caller, &request) {
            if let Some(what) = waits_here(rule)
                && let Err(error) = limit.take(1).await
            {
                return status::rate_limited(what, &error).into_http();
            }
            request.extensions_mut().insert(limit);
        }
        let trail = self.trail(rule, &caller, &role);
        if let Some(trail) = trail.clone() {
            request.extensions_mut().insert(trail);
        }
        if let Some(authority) = request.uri().authority().cloned() {
            request.extensions_mut().insert(authority);
        }
        let is_stranger = matches!(caller, Caller::Tls { identity: None, .. });
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(life);
        request.extensions_mut().insert(role);
        let answer = match is_stranger {
            true => self.dispatch_for_stranger(rule, request).await,
            false => self.dispatch(rule, request).await,
        };
        if let Some(trail) = trail {
            trail.close(&answer);
        }
        status::with_spire_codes(answer)
    }

    /// As in SPIRE, what only looks whether the server runs is not told.
    fn trail(&self, rule: &Rule, caller: &Caller, role: &CallerRole) -> Option<AuditTrail> {
        let is_told = !matches!(rule.api, Api::Debug | Api::Health);
        (self.audit == AuditLog::On && is_told).then(|| AuditTrail::open(rule, caller, role))
    }

    fn limit(
        &self,
        rule: &Rule,
        caller: &Caller,
        request: &Request<Incoming>,
    ) -> Option<CallLimit> {
        let Caller::Tls { address, .. } = caller else {
            return None;
        };
        if rule.limit == LimitClass::Unlimited {
            return None;
        }
        let deadline = request
            .headers()
            .get("grpc-timeout")
            .and_then(|value| parse_timeout(value.as_bytes()))
            .map(|timeout| Instant::now() + timeout);
        Some(CallLimit::new(
            Arc::clone(&self.limits),
            rule.limit,
            address.ip().to_canonical(),
            deadline,
        ))
    }

    /// A message is held in memory until all of it has come, and a stranger may let it come slowly:
    /// the two calls that are open to everybody need little.
    async fn dispatch_for_stranger(
        &self,
        rule: &Rule,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (agent, bundle) = (self.services.agent.clone(), self.services.bundle.clone());
        let answered: Result<_, Infallible> = match rule.api {
            Api::Agent => {
                let mut agent = agent.max_decoding_message_size(STRANGERS_MESSAGE_MAX_BYTES);
                agent.call(request).await
            }
            Api::Bundle => {
                let mut bundle = bundle.max_decoding_message_size(STRANGERS_MESSAGE_MAX_BYTES);
                bundle.call(request).await
            }
            Api::Cluster
            | Api::Debug
            | Api::Entry
            | Api::Health
            | Api::LocalAuthority
            | Api::Logger
            | Api::Svid
            | Api::Sync
            | Api::TrustDomain => {
                return status::not_implemented(rule.method_name()).into_http();
            }
        };
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn dispatch(&self, rule: &Rule, request: Request<Incoming>) -> Response<Body> {
        let answered: Result<_, Infallible> = match rule.api {
            Api::Bundle => self.services.bundle.clone().call(request).await,
            Api::Cluster => self.services.cluster.clone().call(request).await,
            Api::Entry => self.services.entry.clone().call(request).await,
            Api::Debug => self.services.debug.clone().call(request).await,
            Api::Health => self.services.health.clone().call(request).await,
            Api::Logger => self.services.logger.clone().call(request).await,
            Api::Agent => self.services.agent.clone().call(request).await,
            Api::Svid => self.services.svid.clone().call(request).await,
            Api::Sync => self.services.sync.clone().call(request).await,
            Api::LocalAuthority => self.services.local_authority.clone().call(request).await,
            Api::TrustDomain => self.services.trust_domain.clone().call(request).await,
        };
        match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The longest message of a caller without a certificate; evidence of every kind of attestation has
/// less than a tenth of it.
const STRANGERS_MESSAGE_MAX_BYTES: usize = 256 << 10;

/// The text of a refusal by the rate limit, for the RPCs that cost one token each. The others ask
/// for their tokens themselves, because only they know how many.
fn waits_here(rule: &Rule) -> Option<&'static str> {
    match (rule.limit, rule.method_name()) {
        (LimitClass::Unlimited, _) | (_, "BatchNewX509SVID" | "BatchNewWITSVID") => None,
        (LimitClass::Attestation, _) => Some("rejecting request due to attest agent rate limiting"),
        (LimitClass::SigningX509, "RenewAgent") => {
            Some("rejecting request due to renew agent rate limiting")
        }
        (LimitClass::SigningX509, _) => {
            Some("rejecting request due to downstream CA signing rate limit")
        }
        (LimitClass::SigningJwt, _) => {
            Some("rejecting request due to JWT signing request rate limiting")
        }
        (LimitClass::SigningWit, _) => {
            Some("rejecting request due to WIT signing request rate limiting")
        }
        (LimitClass::PublishKey, _) => {
            Some("rejecting request due to key publishing rate limiting")
        }
        (LimitClass::PostStatus, _) => {
            Some("rejecting request due to agent post status rate limiting")
        }
    }
}

/// Plain HTTP statuses for what is not gRPC at all, as the gRPC protocol asks.
fn refuse_foreign_protocol(request: &Request<Incoming>) -> Option<Response<Body>> {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let code = match (request.method() == http::Method::POST, is_grpc) {
        (true, true) => return None,
        (false, _) => StatusCode::METHOD_NOT_ALLOWED,
        (true, false) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    Some(response)
}

/// Reads a `grpc-timeout` header: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3_600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// What a `grpc-timeout` header says.
#[cfg(feature = "fuzzing")]
pub fn told_timeout(value: &[u8]) -> Option<Duration> {
    parse_timeout(value)
}

/// The service of one connection: the router with the connection's caller.
#[derive(Clone)]
pub(crate) struct ConnectionService {
    router: Arc<Router>,
    caller: Caller,
    life: ConnectionLife,
}

impl ConnectionService {
    /// The service of `caller`'s connection, which lasts until `stop` at most.
    pub(crate) fn new(router: Arc<Router>, caller: Caller, stop: Shutdown) -> Self {
        Self {
            router,
            caller,
            life: ConnectionLife::until(stop),
        }
    }

    pub(crate) fn life(&self) -> ConnectionLife {
        self.life.clone()
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let router = Arc::clone(&self.router);
        let (caller, life) = (self.caller.clone(), self.life.clone());
        Box::pin(async move { Ok(router.answer(caller, life, request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_protocol_writes_them() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("999999999m", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1s", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn only_batches_of_signatures_ask_for_their_tokens_themselves() {
        let waits = |method| waits_here(Rule::of(method).unwrap()).is_some();
        assert!(waits("/spire.api.server.agent.v1.Agent/AttestAgent"));
        assert!(waits("/spire.api.server.svid.v1.SVID/NewJWTSVID"));
        assert!(!waits("/spire.api.server.svid.v1.SVID/BatchNewX509SVID"));
        assert!(!waits("/spire.api.server.entry.v1.Entry/ListEntries"));
    }
}
