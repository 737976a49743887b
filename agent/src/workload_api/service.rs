//! The calls of the Workload API.

use std::sync::Arc;

use daemon::supervisor::{Shutdown, chain};
use identity::jwt_svid::verify_jwt_svid;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use proto::workload::spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer};
use proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse,
    ValidateJwtsvidRequest, ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse,
    WitsvidRequest, WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest,
    X509svidResponse,
};
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use super::SERVICE;
use super::header::check_header;
use super::render::Message;
use super::updates::{Strangers, Subscription, Updates};
use super::validate::{ForeignClaims, to_struct};
use crate::caller::Caller;
use crate::endpoints::{MAX_REQUEST_LEN_BYTES, Method, Parts, stopping};

/// The service.
pub struct Service {
    parts: Parts,
    foreign_claims: ForeignClaims,
    shutdown: Shutdown,
}

impl Service {
    /// A service whose streams end at `shutdown`.
    pub fn server(parts: Parts, shutdown: Shutdown) -> SpiffeWorkloadApiServer<Self> {
        let allowed = parts.config.allowed_foreign_jwt_claims.clone();
        let service = Self {
            foreign_claims: ForeignClaims::new(allowed),
            parts,
            shutdown,
        };
        SpiffeWorkloadApiServer::new(service).max_decoding_message_size(MAX_REQUEST_LEN_BYTES)
    }

    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.parts.callers.identify(request).await
    }

    async fn stream<T, M: Message + Clone + Send + Sync + 'static>(
        &self,
        request: &Request<T>,
        method: Method,
        strangers: Strangers,
        on_sent: fn(&M),
    ) -> Result<Response<Updates<M>>, Status> {
        check_header(request.metadata())?;
        let caller = self.caller(request).await?;
        self.parts.rate_limits.check(method, &caller)?;
        let subscription = Subscription {
            view: self.parts.cache.subscribe(&caller.selectors),
            caller,
            method: method.name(),
            strangers,
            clock: Arc::clone(&self.parts.clock),
            shutdown: self.shutdown.clone(),
            sent: None,
            on_sent,
        };
        Ok(Response::new(subscription.into_stream()))
    }

    /// Who may have bundles without having an identity.
    fn verifiers(&self) -> Strangers {
        match self.parts.config.allow_unauthenticated_verifiers {
            true => Strangers::Served,
            false => Strangers::Denied,
        }
    }

    async fn jwt_svids(
        &self,
        caller: &Caller,
        request: &JwtsvidRequest,
        spiffe_id: Option<SpiffeId>,
    ) -> Result<Vec<Jwtsvid>, Status> {
        let view = self.parts.cache.view(&caller.selectors);
        let mut svids = Vec::new();
        for identity in view.distinctly_hinted() {
            let entry = &identity.entry;
            if spiffe_id
                .as_ref()
                .is_some_and(|wanted| *wanted != entry.spiffe_id)
            {
                continue;
            }
            let fetched = self.parts.jwt_svids.fetch(entry, &request.audience).await;
            let token = fetched.map_err(|error| {
                let error = chain(&error);
                let spiffe_id = &entry.spiffe_id;
                warn!(method = FETCH_JWT_SVID, %spiffe_id, error, "Could not fetch JWT-SVID");
                Status::unavailable(format!(
                    "could not fetch JWT-SVID: failed to fetch JWT SVID: {error}"
                ))
            })?;
            let now = self.parts.clock.now();
            debug!(
                method = FETCH_JWT_SVID,
                registered = true,
                service = SERVICE,
                spiffe_id = %entry.spiffe_id,
                ttl = token.expires_at().saturating_duration_since(now).as_secs(),
                "Fetched JWT SVID"
            );
            svids.push(Jwtsvid {
                spiffe_id: entry.spiffe_id.as_str().to_owned(),
                svid: token.token().to_owned(),
                hint: entry.hint.clone().into(),
            });
        }
        Ok(svids)
    }
}

const FETCH_X509_SVID: &str = "FetchX509SVID";
const FETCH_JWT_SVID: &str = "FetchJWTSVID";

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Updates<X509svidResponse>;
    type FetchX509BundlesStream = Updates<X509BundlesResponse>;
    type FetchJWTBundlesStream = Updates<JwtBundlesResponse>;
    type FetchWITSVIDStream = tokio_stream::Empty<Result<WitsvidResponse, Status>>;
    type FetchWITBundlesStream = tokio_stream::Empty<Result<WitBundlesResponse, Status>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.stream(
            &request,
            Method::FetchX509Svid,
            Strangers::Denied,
            log_x509_svids,
        )
        .await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.stream(&request, Method::FetchX509Bundles, self.verifiers(), |_| {})
            .await
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        check_header(request.metadata())?;
        let message = request.get_ref();
        if message.audience.iter().all(String::is_empty) {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        let spiffe_id = match message.spiffe_id.as_str() {
            "" => None,
            id => Some(SpiffeId::parse(id).map_err(|error| {
                Status::invalid_argument(format!("invalid requested SPIFFE ID: {error}"))
            })?),
        };
        let caller = self.caller(&request).await?;
        self.parts
            .rate_limits
            .check(Method::FetchJwtSvid, &caller)?;
        let svids = tokio::select! {
            svids = self.jwt_svids(&caller, message, spiffe_id) => svids?,
            () = self.shutdown.requested() => return Err(stopping()),
        };
        if svids.is_empty() {
            return Err(caller.denied(SERVICE, FETCH_JWT_SVID));
        }
        Ok(Response::new(JwtsvidResponse { svids }))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.stream(&request, Method::FetchJwtBundles, self.verifiers(), |_| {})
            .await
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        check_header(request.metadata())?;
        let message = request.get_ref();
        if message.audience.is_empty() {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        if message.svid.is_empty() {
            return Err(Status::invalid_argument("svid must be specified"));
        }
        let caller = self.caller(&request).await?;
        let view = self.parts.cache.view(&caller.selectors);
        let bundle = |trust_domain: &TrustDomain| {
            let mut all = view
                .own_bundle()
                .into_iter()
                .chain(view.federated_bundles());
            let found = all.find(|bundle| bundle.bundle().trust_domain == *trust_domain);
            found.map(|bundle| bundle.bundle())
        };
        let now = self.parts.clock.now();
        let verified = verify_jwt_svid(&message.svid, &message.audience, bundle, now);
        let verified = verified.map_err(|error| {
            warn!(%error, audience = message.audience, "Failed to validate JWT");
            Status::invalid_argument(error.to_string())
        })?;
        debug!(spiffe_id = %verified.spiffe_id, "Successfully validated JWT");
        let issuer = verified.spiffe_id.trust_domain();
        let own = &self.parts.config.trust_domain;
        let claims = self.foreign_claims.filter(verified.claims, issuer, own);
        Ok(Response::new(ValidateJwtsvidResponse {
            spiffe_id: verified.spiffe_id.to_string(),
            claims: Some(to_struct(claims)),
        }))
    }

    async fn fetch_witsvid(
        &self,
        request: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        check_header(request.metadata())?;
        Err(Status::unimplemented(
            "fetching WIT-SVIDs is not implemented",
        ))
    }

    async fn fetch_wit_bundles(
        &self,
        request: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        check_header(request.metadata())?;
        Err(Status::unimplemented(
            "fetching WIT bundles is not implemented",
        ))
    }
}

fn log_x509_svids(message: &X509svidResponse) {
    for svid in &message.svids {
        debug!(
            count = message.svids.len(),
            method = FETCH_X509_SVID,
            registered = true,
            service = SERVICE,
            spiffe_id = svid.spiffe_id,
            "Fetched X.509 SVID"
        );
    }
}
