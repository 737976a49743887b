//! Owns the TrustDomain service on the wire: federation relationships, and their refresh by hand.

use identity::bundle::Bundle;
use identity::federation::FederationRelationship;
use proto::convert::federation;
use proto::spire::api::server::trustdomain::v1 as wire;
use proto::spire::api::server::trustdomain::v1::trust_domain_server::TrustDomain;
use proto::spire::api::types;
use raft_store::{CreateRelationshipOutcome, UpdateRelationshipOutcome};
use tonic::{Code, Request, Response, Status};

use crate::api::page_token::Page;
use crate::api::status_federation::not_refreshed;
use crate::api::{audit, status};
use crate::federation::{Federated, Federation, RelationshipChange};

/// The TrustDomain service.
#[derive(Clone, Debug)]
pub struct TrustDomainApi {
    federation: Federation,
}

impl TrustDomainApi {
    /// The service over `federation`.
    pub fn new(federation: Federation) -> Self {
        Self { federation }
    }

    async fn create(
        &self,
        asked: &types::FederationRelationship,
        mask: Option<&types::FederationRelationshipMask>,
    ) -> Answer {
        const WHAT: &str = "failed to create federation relationship";
        let (relationship, bundle) = match federation::new(asked) {
            Ok(parsed) => parsed,
            Err(error) => return Err(status::item(Code::InvalidArgument, error.to_string())),
        };
        if relationship.trust_domain == *self.federation.own_trust_domain() {
            let text = "unable to create federation relationship for server trust domain";
            return Err(status::item(Code::InvalidArgument, text));
        }
        let created = self.federation.create(relationship, bundle.clone()).await;
        match created.map_err(|error| status::item_store_failure(WHAT, &error))? {
            CreateRelationshipOutcome::Created(created) => {
                Ok(federation::to_wire(&created, bundle.as_ref(), mask))
            }
            CreateRelationshipOutcome::Exists => Err(status::item_failed(
                Code::AlreadyExists,
                WHAT,
                "there is one with this trust domain already",
            )),
        }
    }

    async fn update(
        &self,
        asked: &types::FederationRelationship,
        input_mask: &types::FederationRelationshipMask,
        mask: Option<&types::FederationRelationshipMask>,
    ) -> Answer {
        const WHAT: &str = "failed to update federation relationship";
        let (relationship, bundle) = match federation::new(asked) {
            Ok(parsed) => parsed,
            Err(error) => return Err(status::item(Code::InvalidArgument, error.to_string())),
        };
        let FederationRelationship {
            trust_domain,
            endpoint,
        } = relationship;
        let change = RelationshipChange {
            url: input_mask.bundle_endpoint_url.then_some(endpoint.url),
            profile: input_mask
                .bundle_endpoint_profile
                .then_some(endpoint.profile),
            bundle: bundle.filter(|_| input_mask.trust_domain_bundle),
        };
        let updated = self.federation.update(trust_domain, change).await;
        match updated.map_err(|error| status::item_store_failure(WHAT, &error))? {
            UpdateRelationshipOutcome::Updated(updated) => {
                let now = self.federation.relationship(&updated.trust_domain);
                let bundle = now.and_then(|now| now.bundle);
                Ok(federation::to_wire(&updated, bundle.as_deref(), mask))
            }
            UpdateRelationshipOutcome::NotFound => Err(status::item_failed(
                Code::Internal,
                WHAT,
                "unable to fetch federation relationship: record not found",
            )),
        }
    }

    /// The name to answer with, and what became of it.
    async fn delete(&self, name: String) -> (String, types::Status) {
        if name.is_empty() {
            let text = "missing trust domain";
            return (name, status::item(Code::InvalidArgument, text));
        }
        let trust_domain = match federation::trust_domain(&name) {
            Ok(trust_domain) => trust_domain,
            Err(error) => {
                return (name, status::item(Code::InvalidArgument, error.to_string()));
            }
        };
        let name = trust_domain.as_str().to_owned();
        let status = match self.federation.delete(trust_domain).await {
            Ok(true) => status::item_ok(),
            Ok(false) => status::item(Code::NotFound, "federation relationship not found"),
            Err(error) => {
                status::item_store_failure("failed to delete federation relationship", &error)
            }
        };
        (name, status)
    }
}

/// What becomes of one relationship of a batch.
type Answer = Result<types::FederationRelationship, types::Status>;

fn parts(answer: Answer) -> (Option<types::Status>, Option<types::FederationRelationship>) {
    match answer {
        Ok(relationship) => (Some(status::item_ok()), Some(relationship)),
        Err(status) => (Some(status), None),
    }
}

fn to_wire(
    federated: &Federated,
    mask: Option<&types::FederationRelationshipMask>,
) -> types::FederationRelationship {
    let bundle: Option<&Bundle> = federated.bundle.as_deref();
    federation::to_wire(&federated.relationship, bundle, mask)
}

#[tonic::async_trait]
impl TrustDomain for TrustDomainApi {
    async fn list_federation_relationships(
        &self,
        request: Request<wire::ListFederationRelationshipsRequest>,
    ) -> Result<Response<wire::ListFederationRelationshipsResponse>, Status> {
        const WHAT: &str = "failed to list federation relationships";
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token)
            .map_err(|error| status::failed(Code::Internal, WHAT, error))?;
        let found = self.federation.list(page.after(), page.limit());
        let mask = request.output_mask.as_ref();
        let relationships = found.relationships.iter();
        Ok(Response::new(wire::ListFederationRelationshipsResponse {
            federation_relationships: relationships.map(|one| to_wire(one, mask)).collect(),
            next_page_token: page.next_token(found.last),
        }))
    }

    async fn get_federation_relationship(
        &self,
        request: Request<wire::GetFederationRelationshipRequest>,
    ) -> Result<Response<types::FederationRelationship>, Status> {
        audit::note(&request, |asked| {
            [("trust_domain_id", asked.trust_domain.as_str().into())]
        });
        let request = request.into_inner();
        let trust_domain =
            federation::trust_domain(&request.trust_domain).map_err(status::invalid_argument)?;
        let found = self.federation.relationship(&trust_domain);
        let found =
            found.ok_or_else(|| Status::not_found("federation relationship does not exist"))?;
        Ok(Response::new(to_wire(&found, request.output_mask.as_ref())))
    }

    async fn batch_create_federation_relationship(
        &self,
        request: Request<wire::BatchCreateFederationRelationshipRequest>,
    ) -> Result<Response<wire::BatchCreateFederationRelationshipResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let mask = request.output_mask.as_ref();
        let mut results = Vec::with_capacity(request.federation_relationships.len());
        for asked in &request.federation_relationships {
            let (status, federation_relationship) = parts(self.create(asked, mask).await);
            results.push(
                wire::batch_create_federation_relationship_response::Result {
                    status,
                    federation_relationship,
                },
            );
        }
        let statuses = results.iter().map(|result| result.status.as_ref());
        let asked = &request.federation_relationships;
        audit::relationships(trail.as_ref(), asked, None, statuses);
        let response = wire::BatchCreateFederationRelationshipResponse { results };
        Ok(Response::new(response))
    }

    async fn batch_update_federation_relationship(
        &self,
        request: Request<wire::BatchUpdateFederationRelationshipRequest>,
    ) -> Result<Response<wire::BatchUpdateFederationRelationshipResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let mask = request.output_mask.as_ref();
        let input_mask = request.input_mask.as_ref();
        let changed = input_mask.unwrap_or(&federation::EVERY_FIELD);
        let mut results = Vec::with_capacity(request.federation_relationships.len());
        for asked in &request.federation_relationships {
            let (status, federation_relationship) = parts(self.update(asked, changed, mask).await);
            results.push(
                wire::batch_update_federation_relationship_response::Result {
                    status,
                    federation_relationship,
                },
            );
        }
        let statuses = results.iter().map(|result| result.status.as_ref());
        let asked = &request.federation_relationships;
        audit::relationships(trail.as_ref(), asked, input_mask, statuses);
        let response = wire::BatchUpdateFederationRelationshipResponse { results };
        Ok(Response::new(response))
    }

    async fn batch_delete_federation_relationship(
        &self,
        request: Request<wire::BatchDeleteFederationRelationshipRequest>,
    ) -> Result<Response<wire::BatchDeleteFederationRelationshipResponse>, Status> {
        let trail = audit::trail(&request);
        let asked = request.into_inner().trust_domains;
        let mut results = Vec::with_capacity(asked.len());
        for name in &asked {
            let (trust_domain, status) = self.delete(name.clone()).await;
            results.push(
                wire::batch_delete_federation_relationship_response::Result {
                    status: Some(status),
                    trust_domain,
                },
            );
        }
        let statuses = results.iter().map(|result| result.status.as_ref());
        audit::deleted_relationships(trail.as_ref(), &asked, statuses);
        let response = wire::BatchDeleteFederationRelationshipResponse { results };
        Ok(Response::new(response))
    }

    async fn refresh_bundle(
        &self,
        request: Request<wire::RefreshBundleRequest>,
    ) -> Result<Response<()>, Status> {
        audit::note(&request, |asked| {
            [("trust_domain_id", asked.trust_domain.as_str().into())]
        });
        let name = request.into_inner().trust_domain;
        let trust_domain = federation::trust_domain(&name).map_err(status::invalid_argument)?;
        match self.federation.refresh(&trust_domain).await {
            Ok(_refreshed) => Ok(Response::new(())),
            Err(error) => Err(not_refreshed(&trust_domain, &error)),
        }
    }
}
