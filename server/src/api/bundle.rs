//! Owns the Bundle service on the wire: the own bundle, which everyone may read, and the bundles of
//! federated trust domains.

use identity::trust_domain::TrustDomain;
use proto::convert::{self, ConvertError};
use proto::spire::api::server::bundle::v1 as wire;
use proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use proto::spire::api::server::bundle::v1::bundle_server::Bundle;
use proto::spire::api::types;
use raft_store::{
    BundleChange, DeleteBundleMode, SetBundleMode, SetBundleOutcome, UpdateBundleOutcome,
};
use tonic::{Code, Request, Response, Status};

use crate::api::page_token::Page;
use crate::api::{audit, status};
use crate::bundles::Bundles;

/// The Bundle service.
#[derive(Clone, Debug)]
pub struct BundleApi {
    bundles: Bundles,
}

impl BundleApi {
    /// The service over `bundles`.
    pub fn new(bundles: Bundles) -> Self {
        Self { bundles }
    }

    /// The trust domain of an item, which must not be the own one.
    fn federated(&self, name: &str, own_refused: &str) -> Result<TrustDomain, types::Status> {
        let trust_domain = convert::bundle::trust_domain(name)
            .map_err(|error| status::item(Code::InvalidArgument, error.to_string()))?;
        if trust_domain == *self.bundles.own_trust_domain() {
            return Err(status::item(Code::InvalidArgument, own_refused));
        }
        Ok(trust_domain)
    }

    async fn store(
        &self,
        bundle: &types::Bundle,
        mode: SetBundleMode,
        mask: Option<&types::BundleMask>,
    ) -> Answer {
        let (what, own_refused) = match mode {
            SetBundleMode::Create => (
                "failed to create bundle",
                "creating a federated bundle for the server's own trust domain is not allowed",
            ),
            SetBundleMode::Set => (
                "failed to set bundle",
                "setting a federated bundle for the server's own trust domain is not allowed",
            ),
        };
        if let Err(refused) = self.federated(&bundle.trust_domain, own_refused) {
            return Answer::refused(refused);
        }
        let bundle = match convert::bundle::new(bundle) {
            Ok(bundle) => bundle,
            Err(error) => return Answer::unusable(&error),
        };
        match self.bundles.set_federated(bundle, mode).await {
            Ok(SetBundleOutcome::Created(bundle) | SetBundleOutcome::Set(bundle)) => {
                Answer::done(convert::bundle::to_wire(&bundle, mask))
            }
            Ok(SetBundleOutcome::Exists) => {
                Answer::refused(status::item(Code::AlreadyExists, "bundle already exists"))
            }
            Err(error) => Answer::refused(status::item_store_failure(what, &error)),
        }
    }

    async fn update(
        &self,
        bundle: &types::Bundle,
        input_mask: Option<&types::BundleMask>,
        mask: Option<&types::BundleMask>,
    ) -> Answer {
        let own_refused =
            "updating a federated bundle for the server's own trust domain is not allowed";
        let trust_domain = match self.federated(&bundle.trust_domain, own_refused) {
            Ok(trust_domain) => trust_domain,
            Err(refused) => return Answer::refused(refused),
        };
        let change = match convert::bundle::update(bundle, input_mask) {
            Ok(update) => BundleChange {
                x509_authorities: update.x509_authorities,
                jwt_authorities: update.jwt_authorities,
                refresh_hint_s: update.refresh_hint_s,
                sequence: update.sequence,
            },
            Err(error) => return Answer::unusable(&error),
        };
        match self.bundles.update_federated(trust_domain, change).await {
            Ok(UpdateBundleOutcome::Updated(bundle)) => {
                Answer::done(convert::bundle::to_wire(&bundle, mask))
            }
            Ok(UpdateBundleOutcome::NotFound) => {
                Answer::refused(status::item(Code::NotFound, NOT_FOUND))
            }
            Err(error) => Answer::refused(status::item_store_failure(
                "failed to update bundle",
                &error,
            )),
        }
    }

    async fn delete(&self, name: &str, mode: DeleteBundleMode) -> types::Status {
        let own_refused = "removing the bundle for the server trust domain is not allowed";
        let trust_domain = match self.federated(name, own_refused) {
            Ok(trust_domain) => trust_domain,
            Err(refused) => return refused,
        };
        match self.bundles.delete_federated(trust_domain, mode).await {
            Ok(outcome) => status::deleted_bundle(outcome),
            Err(error) => status::item_store_failure("failed to delete federated bundle", &error),
        }
    }
}

/// What becomes of one bundle of a batch.
struct Answer {
    status: types::Status,
    bundle: Option<types::Bundle>,
}

impl Answer {
    fn done(bundle: types::Bundle) -> Self {
        Self {
            status: status::item_ok(),
            bundle: Some(bundle),
        }
    }

    fn refused(status: types::Status) -> Self {
        Self {
            status,
            bundle: None,
        }
    }

    fn unusable(error: &ConvertError) -> Self {
        Self::refused(status::item(Code::InvalidArgument, error.to_string()))
    }
}

#[tonic::async_trait]
impl Bundle for BundleApi {
    async fn count_bundles(
        &self,
        _request: Request<wire::CountBundlesRequest>,
    ) -> Result<Response<wire::CountBundlesResponse>, Status> {
        Ok(Response::new(wire::CountBundlesResponse {
            count: i32::try_from(self.bundles.count()).unwrap_or(i32::MAX),
        }))
    }

    async fn get_bundle(
        &self,
        request: Request<wire::GetBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let bundle = self
            .bundles
            .own()
            .ok_or_else(|| Status::not_found(NOT_FOUND))?;
        let mask = request.get_ref().output_mask.as_ref();
        Ok(Response::new(convert::bundle::to_wire(&bundle, mask)))
    }

    async fn append_bundle(
        &self,
        request: Request<wire::AppendBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let request = request.into_inner();
        if request.x509_authorities.is_empty() && request.jwt_authorities.is_empty() {
            return Err(Status::invalid_argument("no authorities to append"));
        }
        let x509 = convert::bundle::x509_authorities(&request.x509_authorities)
            .map_err(status::invalid_argument)?;
        let jwt = convert::bundle::jwt_authorities(&request.jwt_authorities)
            .map_err(status::invalid_argument)?;
        let bundle = self
            .bundles
            .append(x509, jwt)
            .await
            .map_err(|error| status::append_failure("failed to append bundle", &error))?;
        let mask = request.output_mask.as_ref();
        Ok(Response::new(convert::bundle::to_wire(&bundle, mask)))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<wire::PublishJwtAuthorityRequest>,
    ) -> Result<Response<wire::PublishJwtAuthorityResponse>, Status> {
        let authority = request
            .into_inner()
            .jwt_authority
            .ok_or_else(|| Status::invalid_argument("missing JWT authority"))?;
        let keys =
            convert::bundle::jwt_authorities(&[authority]).map_err(status::invalid_argument)?;
        let key = keys.into_iter().next();
        let key = key.ok_or_else(|| Status::invalid_argument("missing JWT authority"))?;
        let bundle = self
            .bundles
            .publish_jwt_key(key)
            .await
            .map_err(|error| status::append_failure("failed to publish JWT key", &error))?;
        Ok(Response::new(wire::PublishJwtAuthorityResponse {
            jwt_authorities: convert::bundle::jwt_authorities_to_wire(&bundle.jwt_authorities),
        }))
    }

    async fn publish_wit_authority(
        &self,
        _request: Request<wire::PublishWitAuthorityRequest>,
    ) -> Result<Response<wire::PublishWitAuthorityResponse>, Status> {
        Err(Status::unimplemented(
            "WIT-SVID functionality is not yet implemented",
        ))
    }

    async fn list_federated_bundles(
        &self,
        request: Request<wire::ListFederatedBundlesRequest>,
    ) -> Result<Response<wire::ListFederatedBundlesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)
            .map_err(|error| status::failed(Code::Internal, "failed to list bundles", error))?;
        let found = self.bundles.list_federated(page.after(), page.limit());
        let mask = request.output_mask.as_ref();
        Ok(Response::new(wire::ListFederatedBundlesResponse {
            bundles: found
                .bundles
                .iter()
                .map(|bundle| convert::bundle::to_wire(bundle, mask))
                .collect(),
            next_page_token: page.next_token(found.last),
        }))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<wire::GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let request = request.into_inner();
        let own_refused =
            "getting a federated bundle for the server's own trust domain is not allowed";
        let trust_domain = self
            .federated(&request.trust_domain, own_refused)
            .map_err(status::of_item)?;
        let bundle = self
            .bundles
            .confirmed_bundle(&trust_domain)
            .await
            .map_err(|error| status::read_failure("failed to fetch bundle", &error))?
            .ok_or_else(|| Status::not_found(NOT_FOUND))?;
        let mask = request.output_mask.as_ref();
        Ok(Response::new(convert::bundle::to_wire(&bundle, mask)))
    }

    async fn batch_create_federated_bundle(
        &self,
        request: Request<wire::BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<wire::BatchCreateFederatedBundleResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let mask = request.output_mask.as_ref();
        let mut results = Vec::with_capacity(request.bundle.len());
        for bundle in &request.bundle {
            let answer = self.store(bundle, SetBundleMode::Create, mask).await;
            results.push(wire::batch_create_federated_bundle_response::Result {
                status: Some(answer.status),
                bundle: answer.bundle,
            });
        }
        let statuses = results.iter().map(|result| result.status.as_ref());
        audit::bundles(trail.as_ref(), &request.bundle, statuses);
        Ok(Response::new(wire::BatchCreateFederatedBundleResponse {
            results,
        }))
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<wire::BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<wire::BatchUpdateFederatedBundleResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let input_mask = request.input_mask.as_ref();
        let mask = request.output_mask.as_ref();
        let mut results = Vec::with_capacity(request.bundle.len());
        for bundle in &request.bundle {
            let answer = self.update(bundle, input_mask, mask).await;
            results.push(wire::batch_update_federated_bundle_response::Result {
                status: Some(answer.status),
                bundle: answer.bundle,
            });
        }
        let statuses = results.iter().map(|result| result.status.as_ref());
        audit::bundles(trail.as_ref(), &request.bundle, statuses);
        Ok(Response::new(wire::BatchUpdateFederatedBundleResponse {
            results,
        }))
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<wire::BatchSetFederatedBundleRequest>,
    ) -> Result<Response<wire::BatchSetFederatedBundleResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let mask = request.output_mask.as_ref();
        let mut results = Vec::with_capacity(request.bundle.len());
        for bundle in &request.bundle {
            let answer = self.store(bundle, SetBundleMode::Set, mask).await;
            results.push(wire::batch_set_federated_bundle_response::Result {
                status: Some(answer.status),
                bundle: answer.bundle,
            });
        }
        let statuses = results.iter().map(|result| result.status.as_ref());
        audit::bundles(trail.as_ref(), &request.bundle, statuses);
        Ok(Response::new(wire::BatchSetFederatedBundleResponse {
            results,
        }))
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<wire::BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<wire::BatchDeleteFederatedBundleResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let mode = match Mode::try_from(request.mode) {
            Ok(Mode::Restrict) => DeleteBundleMode::Restrict,
            Ok(Mode::Delete) => DeleteBundleMode::Delete,
            Ok(Mode::Dissociate) => DeleteBundleMode::Dissociate,
            Err(_) => {
                let text = format!(
                    "failed to parse deletion mode: unhandled delete mode \"{}\"",
                    request.mode
                );
                return Err(Status::invalid_argument(text));
            }
        };
        let audit_mode = Mode::try_from(request.mode).map_or("", |mode| mode.as_str_name());
        let mut results = Vec::with_capacity(request.trust_domains.len());
        for trust_domain in request.trust_domains {
            let status = self.delete(&trust_domain, mode).await;
            audit::deleted_bundle(trail.as_ref(), &trust_domain, audit_mode, &status);
            results.push(wire::batch_delete_federated_bundle_response::Result {
                status: Some(status),
                trust_domain,
            });
        }
        Ok(Response::new(wire::BatchDeleteFederatedBundleResponse {
            results,
        }))
    }
}

const NOT_FOUND: &str = "bundle not found";
