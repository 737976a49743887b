//! The calls of the secret discovery service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use daemon::supervisor::Shutdown;
use futures_util::Stream;
use futures_util::stream::unfold;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{debug, error};

use super::answer::{Available, Refusal, secrets};
use super::conversation::{Conversation, Due, names_of};
use super::validation::Validation;
use crate::cache::{WorkloadView, signed};
use crate::caller::Caller;
use crate::endpoints::{MAX_REQUEST_LEN_BYTES, Method, Parts, stopping};

/// How long a caller that asks once waits for its SVIDs to be signed.
const SIGNING_DEADLINE: Duration = Duration::from_secs(10);

/// The service.
pub struct Service {
    parts: Parts,
    shutdown: Shutdown,
}

impl Service {
    /// A service whose streams end at `shutdown`.
    pub fn server(parts: Parts, shutdown: Shutdown) -> SecretDiscoveryServiceServer<Self> {
        let service = Self { parts, shutdown };
        SecretDiscoveryServiceServer::new(service).max_decoding_message_size(MAX_REQUEST_LEN_BYTES)
    }

    async fn caller<T>(&self, request: &Request<T>, method: Method) -> Result<Caller, Status> {
        let caller = self.parts.callers.identify(request).await?;
        self.parts.rate_limits.check(method, &caller)?;
        Ok(caller)
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type DeltaSecretsStream = tokio_stream::Empty<Result<DeltaDiscoveryResponse, Status>>;
    type StreamSecretsStream =
        Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("Method is not implemented"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let caller = self.caller(&request, Method::StreamSecrets).await?;
        let mut view = self.parts.cache.subscribe(&caller.selectors);
        // What there is now counts as the first change.
        view.mark_changed();
        let session = Session {
            requests: request.into_inner(),
            view,
            complete: None,
            conversation: Conversation::default(),
            parts: self.parts.clone(),
            shutdown: self.shutdown.clone(),
        };
        let answers = unfold(Some(session), |session| async {
            let mut session = session?;
            let answer = session.next().await?;
            let rest = answer.is_ok().then_some(session);
            Some((answer, rest))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        let caller = self.caller(&request, Method::FetchSecrets).await?;
        let mut view = self.parts.cache.subscribe(&caller.selectors);
        let view = tokio::select! {
            view = complete(&self.parts, &mut view) => view?,
            () = self.shutdown.requested() => return Err(stopping()),
        };
        let request = request.into_inner();
        let due = Due {
            names: &names_of(request.resource_names),
            type_url: &request.type_url,
            node: request.node.as_ref(),
            version: 0,
        };
        let response = answer(&self.parts, &due, &view).ok_or_else(unsigned)??;
        debug!(
            resource_names = ?due.names,
            count = response.resources.len(),
            "Sending FetchSecrets response"
        );
        Ok(Response::new(response))
    }
}

/// The view once all of its identities are signed.
async fn complete(
    parts: &Parts,
    view: &mut watch::Receiver<Arc<WorkloadView>>,
) -> Result<Arc<WorkloadView>, Status> {
    let is_complete =
        |view: &Arc<WorkloadView>| signed(view.identities(), parts.clock.now()).is_some();
    match timeout(SIGNING_DEADLINE, view.wait_for(is_complete)).await {
        Ok(Ok(view)) => Ok(Arc::clone(&view)),
        // The sender goes only together with the cache.
        Ok(Err(_gone)) => Err(stopping()),
        Err(_elapsed) => Err(unsigned()),
    }
}

/// The answer to `due` without a nonce; `None` while an SVID is missing or at its end.
fn answer(
    parts: &Parts,
    due: &Due<'_>,
    view: &WorkloadView,
) -> Option<Result<DiscoveryResponse, Status>> {
    let identities = signed(view.identities(), parts.clock.now())?;
    let names = &parts.config.sds;
    let default = match names.disable_spiffe_cert_validation {
        true => Validation::Pem,
        false => Validation::Spiffe,
    };
    let available = Available {
        names,
        validation: Validation::of(due.node, default),
        view,
        identities: &identities,
    };
    let version_info = match due.version {
        0 => String::new(),
        version => version.to_string(),
    };
    let response = secrets(due.names, &available).map(|resources| DiscoveryResponse {
        version_info,
        resources,
        type_url: due.type_url.to_owned(),
        nonce: String::new(),
    });
    Some(response.map_err(|refusal| {
        error!(resource_names = ?due.names, error = %refusal, "Error building secrets response");
        status(&refusal)
    }))
}

/// One open stream.
struct Session {
    requests: Streaming<DiscoveryRequest>,
    view: watch::Receiver<Arc<WorkloadView>>,
    /// The latest view all of whose identities were signed.
    complete: Option<Arc<WorkloadView>>,
    conversation: Conversation,
    parts: Parts,
    shutdown: Shutdown,
}

impl Session {
    /// The next answer; `None` when the Envoy has gone or has no more to ask.
    async fn next(&mut self) -> Option<Result<DiscoveryResponse, Status>> {
        loop {
            if let Some(answer) = self.answer() {
                return Some(answer);
            }
            tokio::select! {
                () = self.shutdown.requested() => return Some(Err(stopping())),
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.conversation.hear(request),
                    Ok(None) => return None,
                    Err(status) if status.code() == Code::Cancelled => return None,
                    Err(status) => return Some(Err(status)),
                },
                changed = self.view.changed() => match changed {
                    Ok(()) => self.look(),
                    Err(_gone) => return Some(Err(stopping())),
                },
            }
        }
    }

    fn look(&mut self) {
        let view = Arc::clone(&self.view.borrow_and_update());
        if signed(view.identities(), self.parts.clock.now()).is_some() {
            self.complete = Some(view);
            self.conversation.change();
        }
    }

    fn answer(&mut self) -> Option<Result<DiscoveryResponse, Status>> {
        let due = self.conversation.due()?;
        let answer = answer(&self.parts, &due, self.complete.as_ref()?)?;
        Some(answer.and_then(|mut response| {
            response.nonce = nonce()?;
            self.conversation.answered(&response.nonce);
            debug!(
                version_info = response.version_info,
                nonce = response.nonce,
                count = response.resources.len(),
                "Sending StreamSecrets response"
            );
            Ok(response)
        }))
    }
}

/// Eight hex digits.
fn nonce() -> Result<String, Status> {
    let mut bytes = [0; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(format!("{:08x}", u32::from_be_bytes(bytes))),
        Err(_unspecified) => Err(Status::internal("no random numbers")),
    }
}

fn status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Unauthorized(_) => Code::InvalidArgument,
        Refusal::NoSpiffeValidator => Code::Internal,
    };
    Status::new(code, refusal.to_string())
}

fn unsigned() -> Status {
    Status::unavailable("the workload's SVIDs are not signed yet")
}
