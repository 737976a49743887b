//! The calls of delegates.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon::supervisor::{Shutdown, chain};
use identity::selector::SelectorSet;
use identity::spiffe_id::SpiffeId;
use proto::convert;
use proto::spire::api::agent::delegatedidentity::v1::delegated_identity_server::{
    DelegatedIdentity, DelegatedIdentityServer,
};
use proto::spire::api::agent::delegatedidentity::v1::{
    FetchJwtsviDsRequest, FetchJwtsviDsResponse, SubscribeToJwtBundlesRequest,
    SubscribeToJwtBundlesResponse, SubscribeToX509BundlesRequest, SubscribeToX509BundlesResponse,
    SubscribeToX509sviDsRequest, SubscribeToX509sviDsResponse,
};
use proto::spire::api::types;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::{debug, error, warn};

use super::render::{delegable, jwt_bundles, x509_bundles, x509_svids};
use super::updates::{Subscription, Updates};
use crate::cache::{Bundles, WorkloadView};
use crate::caller::Caller;
use crate::endpoints::{MAX_REQUEST_LEN_BYTES, Parts, stopping};

/// The name in log lines.
const SERVICE: &str = "DelegatedIdentity";

pub(in crate::admin_api) fn server(
    parts: Parts,
    shutdown: Shutdown,
) -> DelegatedIdentityServer<Service> {
    let service = Service {
        delegates: Arc::new(parts.config.authorized_delegates.iter().cloned().collect()),
        parts,
        shutdown,
    };
    DelegatedIdentityServer::new(service).max_decoding_message_size(MAX_REQUEST_LEN_BYTES)
}

pub(in crate::admin_api) struct Service {
    delegates: Arc<BTreeSet<SpiffeId>>,
    parts: Parts,
    shutdown: Shutdown,
}

/// A caller, and whether it is a delegate.
pub(super) struct Delegate {
    caller: Caller,
    method: &'static str,
    view: watch::Receiver<Arc<WorkloadView>>,
    delegates: Arc<BTreeSet<SpiffeId>>,
}

impl Delegate {
    /// Refuses a caller that has no entry of a delegate now.
    pub(super) fn check(&mut self) -> Result<(), Status> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let ids = view.identities().iter().map(|one| &one.entry.spiffe_id);
        let Some(default_id) = ids.clone().next() else {
            return Err(self.caller.denied(SERVICE, self.method));
        };
        if ids.clone().any(|id| self.delegates.contains(id)) {
            return Ok(());
        }
        error!(
            pid = self.caller.pid,
            num_registered_entries = ids.count(),
            %default_id,
            "Permission denied; caller not configured as an authorized delegate."
        );
        Err(Status::permission_denied(
            "caller not configured as an authorized delegate",
        ))
    }

    /// Returns when the answer may have become another.
    pub(super) async fn changed(&mut self) -> Result<(), Status> {
        // The sender goes only together with the cache.
        self.view.changed().await.map_err(|_gone| stopping())
    }
}

impl Service {
    /// The caller of `request`, which is a delegate now.
    async fn delegate<T>(
        &self,
        request: &Request<T>,
        method: &'static str,
    ) -> Result<Delegate, Status> {
        let caller = self.parts.callers.identify(request).await?;
        let mut delegate = Delegate {
            view: self.parts.cache.subscribe(&caller.selectors),
            caller,
            method,
            delegates: Arc::clone(&self.delegates),
        };
        delegate.check()?;
        Ok(delegate)
    }

    /// The selectors of the workload that a delegate acts for. It answers for them, and for the
    /// process id being that of the workload.
    async fn workload(
        &self,
        selectors: &[types::Selector],
        pid: i32,
    ) -> Result<SelectorSet, Status> {
        match (selectors.is_empty(), pid) {
            (false, 0) => convert::selector::merged(selectors).map_err(|error| {
                error!(%error, "Invalid argument; could not parse provided selectors");
                Status::invalid_argument("could not parse provided selectors")
            }),
            (true, pid) if pid != 0 => Ok(self.parts.callers.identify_pid(pid).await?.selectors),
            (true, _) | (false, _) => Err(Status::invalid_argument(
                "must provide either selectors or non-zero PID, but not both",
            )),
        }
    }

    fn bundles<M>(
        &self,
        delegate: Delegate,
        render: fn(&Bundles, identity::clock::UnixTime) -> Option<M>,
    ) -> Response<Updates<M>>
    where
        M: Clone + PartialEq + Send + Sync + 'static,
    {
        let subscription = Subscription {
            delegate,
            source: self.parts.cache.subscribe_to_bundles(),
            render,
            on_sent: |_| {},
            clock: Arc::clone(&self.parts.clock),
            shutdown: self.shutdown.clone(),
            sent: None,
        };
        Response::new(subscription.into_stream())
    }

    async fn jwt_svids(
        &self,
        selectors: &SelectorSet,
        audience: &[String],
    ) -> Result<Vec<types::Jwtsvid>, Status> {
        let view = self.parts.cache.view(selectors);
        let mut svids = Vec::new();
        for identity in delegable(&view) {
            let entry = &identity.entry;
            let spiffe_id = &entry.spiffe_id;
            let fetched = self.parts.jwt_svids.fetch(entry, audience).await;
            let token = fetched.map_err(|error| {
                let error = chain(&error);
                warn!(%spiffe_id, error, service = SERVICE, "Could not fetch JWT-SVID");
                Status::unavailable(format!(
                    "could not fetch JWT-SVID: failed to fetch JWT SVID: {error}"
                ))
            })?;
            debug!(method = FETCH_JWT_SVIDS, service = SERVICE, %spiffe_id, "Fetched JWT SVID");
            let (issued_at, expires_at) = (token.issued_at(), token.expires_at());
            svids.push(types::Jwtsvid {
                hint: entry.hint.clone().into(),
                ..convert::svid::jwt(spiffe_id, token.token(), issued_at, expires_at)
            });
        }
        Ok(svids)
    }
}

const FETCH_JWT_SVIDS: &str = "FetchJWTSVIDs";

#[tonic::async_trait]
impl DelegatedIdentity for Service {
    type SubscribeToX509SVIDsStream = Updates<SubscribeToX509sviDsResponse>;
    type SubscribeToX509BundlesStream = Updates<SubscribeToX509BundlesResponse>;
    type SubscribeToJWTBundlesStream = Updates<SubscribeToJwtBundlesResponse>;

    async fn subscribe_to_x509svi_ds(
        &self,
        request: Request<SubscribeToX509sviDsRequest>,
    ) -> Result<Response<Self::SubscribeToX509SVIDsStream>, Status> {
        let delegate = self.delegate(&request, "SubscribeToX509SVIDs").await?;
        let message = request.get_ref();
        let selectors = self.workload(&message.selectors, message.pid).await?;
        let subscription = Subscription {
            delegate,
            source: self.parts.cache.subscribe(&selectors),
            render: x509_svids,
            on_sent: log_x509_svids,
            clock: Arc::clone(&self.parts.clock),
            shutdown: self.shutdown.clone(),
            sent: None,
        };
        Ok(Response::new(subscription.into_stream()))
    }

    async fn subscribe_to_x509_bundles(
        &self,
        request: Request<SubscribeToX509BundlesRequest>,
    ) -> Result<Response<Self::SubscribeToX509BundlesStream>, Status> {
        let delegate = self.delegate(&request, "SubscribeToX509Bundles").await?;
        Ok(self.bundles(delegate, x509_bundles))
    }

    async fn fetch_jwtsvi_ds(
        &self,
        request: Request<FetchJwtsviDsRequest>,
    ) -> Result<Response<FetchJwtsviDsResponse>, Status> {
        let message = request.get_ref();
        if message.audience.iter().all(String::is_empty) {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        let delegate = self.delegate(&request, FETCH_JWT_SVIDS).await?;
        let selectors = self.workload(&message.selectors, message.pid).await?;
        let svids = tokio::select! {
            svids = self.jwt_svids(&selectors, &message.audience) => svids?,
            () = self.shutdown.requested() => return Err(stopping()),
        };
        if svids.is_empty() {
            return Err(delegate.caller.denied(SERVICE, FETCH_JWT_SVIDS));
        }
        Ok(Response::new(FetchJwtsviDsResponse { svids }))
    }

    async fn subscribe_to_jwt_bundles(
        &self,
        request: Request<SubscribeToJwtBundlesRequest>,
    ) -> Result<Response<Self::SubscribeToJWTBundlesStream>, Status> {
        let delegate = self.delegate(&request, "SubscribeToJWTBundles").await?;
        Ok(self.bundles(delegate, jwt_bundles))
    }
}

fn log_x509_svids(message: &SubscribeToX509sviDsResponse) {
    let svids = message
        .x509_svids
        .iter()
        .filter_map(|one| one.x509_svid.as_ref());
    for id in svids.filter_map(|svid| svid.id.as_ref()) {
        debug!(
            count = message.x509_svids.len(),
            service = SERVICE,
            spiffe_id = format!("spiffe://{}{}", id.trust_domain, id.path),
            "Fetched X.509 SVID for delegated identity"
        );
    }
}
