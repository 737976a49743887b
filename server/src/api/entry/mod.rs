//! Owns the Entry service on the wire.
//!
//! Batches answer item by item in the order of the request; one bad item never spoils another.
//! `sync` is the paged protocol by which agents learn their entries.

mod sync;

use std::sync::Arc;

use identity::entry::{EntryId, RegistrationEntry};
use identity::trust_domain::TrustDomain;
use proto::convert;
use proto::convert::entry::Attempt;
use proto::spire::api::server::entry::v1 as wire;
use proto::spire::api::server::entry::v1::entry_server::Entry;
use proto::spire::api::types;
use raft_store::{CreateEntryOutcome, EntryChange, UpdateEntryOutcome};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::api::page_token::Page;
use crate::api::{audit, caller, status};
use crate::endpoints::ConnectionLife;
use crate::entries::Entries;

/// The Entry service.
#[derive(Clone, Debug)]
pub struct EntryApi {
    entries: Entries,
    trust_domain: TrustDomain,
}

impl EntryApi {
    /// The service over `entries` of `trust_domain`.
    pub fn new(entries: Entries, trust_domain: TrustDomain) -> Self {
        Self {
            entries,
            trust_domain,
        }
    }
}

#[tonic::async_trait]
impl Entry for EntryApi {
    async fn count_entries(
        &self,
        request: Request<wire::CountEntriesRequest>,
    ) -> Result<Response<wire::CountEntriesResponse>, Status> {
        let filter = request.get_ref().filter.as_ref();
        let filter = convert::entry::count_filter(&self.trust_domain, filter)
            .map_err(status::invalid_argument)?;
        let count = self.entries.count(&filter).await;
        Ok(Response::new(wire::CountEntriesResponse {
            count: i32::try_from(count).unwrap_or(i32::MAX),
        }))
    }

    async fn list_entries(
        &self,
        request: Request<wire::ListEntriesRequest>,
    ) -> Result<Response<wire::ListEntriesResponse>, Status> {
        let request = request.into_inner();
        let filter = convert::entry::list_filter(&self.trust_domain, request.filter.as_ref())
            .map_err(status::invalid_argument)?;
        let page = Page::parse(request.page_size, &request.page_token)
            .map_err(|error| status::failed(Code::Internal, "failed to list entries", error))?;
        let found = self.entries.list(&filter, page.after(), page.limit()).await;
        Ok(Response::new(wire::ListEntriesResponse {
            entries: render_all(&found.entries, request.output_mask.as_ref()),
            next_page_token: page.next_token(found.last),
        }))
    }

    async fn get_entry(
        &self,
        request: Request<wire::GetEntryRequest>,
    ) -> Result<Response<types::Entry>, Status> {
        audit::note(&request, |request| {
            [("registration_id", request.id.as_str().into())]
        });
        let request = request.into_inner();
        if request.id.is_empty() {
            return Err(Status::invalid_argument("missing ID"));
        }
        let entry = match EntryId::parse(&request.id) {
            Ok(id) => self.entries.confirmed_entry(&id).await,
            Err(_) => Ok(None),
        };
        let entry = entry.map_err(|error| status::read_failure("failed to fetch entry", &error))?;
        let entry = entry.ok_or_else(|| Status::not_found("entry not found"))?;
        Ok(Response::new(convert::entry::to_wire(
            &entry,
            request.output_mask.as_ref(),
        )))
    }

    async fn batch_create_entry(
        &self,
        request: Request<wire::BatchCreateEntryRequest>,
    ) -> Result<Response<wire::BatchCreateEntryResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let now = self.entries.clock().now();
        let parsed = request
            .entries
            .iter()
            .map(|entry| convert::entry::new(&self.trust_domain, entry, now))
            .collect();
        let (entries, refusals) = split(parsed);
        let outcomes = self
            .entries
            .create(entries)
            .await
            .map_err(|error| status::store_failure("failed to create entry", &error))?;
        let mask = request.output_mask.as_ref();
        let results = join(
            refusals,
            outcomes,
            |outcome| wire::batch_create_entry_response::Result {
                status: Some(status::created_entry(&outcome)),
                entry: stored(&outcome).map(|entry| convert::entry::to_wire(entry, mask)),
            },
            |error| wire::batch_create_entry_response::Result {
                status: Some(status::unusable_entry(Attempt::Create, &error)),
                entry: None,
            },
        );
        let answer = wire::BatchCreateEntryResponse { results };
        audit::created_entries(trail.as_ref(), &request, &answer);
        Ok(Response::new(answer))
    }

    async fn batch_update_entry(
        &self,
        request: Request<wire::BatchUpdateEntryRequest>,
    ) -> Result<Response<wire::BatchUpdateEntryResponse>, Status> {
        let trail = audit::trail(&request);
        let request = request.into_inner();
        let input_mask = request.input_mask.as_ref();
        let parsed = request
            .entries
            .iter()
            .map(|entry| change(&self.trust_domain, entry, input_mask))
            .collect();
        let (changes, refusals) = split(parsed);
        let outcomes = self
            .entries
            .update(changes)
            .await
            .map_err(|error| status::store_failure("failed to update entry", &error))?;
        let mask = request.output_mask.as_ref();
        let results = join(
            refusals,
            outcomes,
            |outcome| wire::batch_update_entry_response::Result {
                status: Some(status::updated_entry(&outcome)),
                entry: match &outcome {
                    UpdateEntryOutcome::Updated(entry) => {
                        Some(convert::entry::to_wire(entry, mask))
                    }
                    UpdateEntryOutcome::NotFound
                    | UpdateEntryOutcome::Similar(_)
                    | UpdateEntryOutcome::UnknownFederatedBundle(_)
                    | UpdateEntryOutcome::Invalid(_) => None,
                },
            },
            |error| wire::batch_update_entry_response::Result {
                status: Some(error),
                entry: None,
            },
        );
        let answer = wire::BatchUpdateEntryResponse { results };
        audit::updated_entries(trail.as_ref(), &request, &answer);
        Ok(Response::new(answer))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<wire::BatchDeleteEntryRequest>,
    ) -> Result<Response<wire::BatchDeleteEntryResponse>, Status> {
        let trail = audit::trail(&request);
        let given = request.into_inner().ids;
        let parsed = given.iter().map(|id| EntryId::parse(id)).collect();
        let (ids, refusals) = split(parsed);
        let outcomes = self
            .entries
            .delete(ids)
            .await
            .map_err(|error| status::store_failure("failed to delete entry", &error))?;
        let statuses = join(
            refusals,
            outcomes,
            status::deleted_entry,
            status::no_such_entry,
        );
        audit::deleted_entries(trail.as_ref(), &given, &statuses);
        let results = std::iter::zip(given, statuses)
            .map(|(id, status)| wire::batch_delete_entry_response::Result {
                status: Some(status),
                id,
            })
            .collect();
        Ok(Response::new(wire::BatchDeleteEntryResponse { results }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<wire::GetAuthorizedEntriesRequest>,
    ) -> Result<Response<wire::GetAuthorizedEntriesResponse>, Status> {
        let agent = caller::agent(&request)?;
        let entries = self.entries.authorized(&agent);
        let mask = request.get_ref().output_mask.as_ref();
        Ok(Response::new(wire::GetAuthorizedEntriesResponse {
            entries: render_all(&entries, mask),
        }))
    }

    type SyncAuthorizedEntriesStream = sync::Answers;

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<wire::SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<Self::SyncAuthorizedEntriesStream>, Status> {
        let agent = caller::agent(&request)?;
        let life = request.extensions().get::<ConnectionLife>().cloned();
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let entries = self.entries.clone();
        let authorized = move || entries.authorized_still(&agent.spiffe_id);
        sync::answer(first, requests, authorized, life.unwrap_or_default()).map(Response::new)
    }
}

fn render_all(
    entries: &[Arc<RegistrationEntry>],
    mask: Option<&types::EntryMask>,
) -> Vec<types::Entry> {
    entries
        .iter()
        .map(|entry| convert::entry::to_wire(entry, mask))
        .collect()
}

/// The change that one item of an update asks for, or the status that refuses it.
fn change(
    own: &TrustDomain,
    entry: &types::Entry,
    mask: Option<&types::EntryMask>,
) -> Result<EntryChange, types::Status> {
    let update = convert::entry::update(own, entry, mask)
        .map_err(|error| status::unusable_entry(Attempt::Update, &error))?;
    let id = update
        .id
        .ok_or_else(|| status::updated_entry(&UpdateEntryOutcome::NotFound))?;
    Ok(EntryChange {
        id,
        spiffe_id: update.spiffe_id,
        parent_id: update.parent_id,
        selectors: update.selectors,
        x509_svid_ttl_s: update.x509_svid_ttl_s,
        jwt_svid_ttl_s: update.jwt_svid_ttl_s,
        federates_with: update.federates_with,
        admin: update.admin,
        downstream: update.downstream,
        expires_at: update.expires_at,
        dns_names: update.dns_names,
        store_svid: update.store_svid,
        hint: update.hint,
        additional_attributes: update.additional_attributes,
    })
}

/// The entry that goes back with the outcome of a creation.
fn stored(outcome: &CreateEntryOutcome) -> Option<&Arc<RegistrationEntry>> {
    match outcome {
        CreateEntryOutcome::Created(entry) | CreateEntryOutcome::Similar(entry) => Some(entry),
        CreateEntryOutcome::IdTaken
        | CreateEntryOutcome::UnknownFederatedBundle(_)
        | CreateEntryOutcome::Invalid(_) => None,
    }
}

/// Parts the good items of a batch from the bad ones, which keep their places as `Some`.
fn split<T, E>(parsed: Vec<Result<T, E>>) -> (Vec<T>, Vec<Option<E>>) {
    let mut good = Vec::with_capacity(parsed.len());
    let refusals = parsed
        .into_iter()
        .map(|item| match item {
            Ok(item) => {
                good.push(item);
                None
            }
            Err(error) => Some(error),
        })
        .collect();
    (good, refusals)
}

/// Puts the outcomes of the good items and the refusals of the bad ones in the order of the request.
fn join<T, E, R>(
    refusals: Vec<Option<E>>,
    outcomes: Vec<T>,
    render_outcome: impl Fn(T) -> R,
    render_refusal: impl Fn(E) -> R,
) -> Vec<R> {
    let mut outcomes = outcomes.into_iter();
    refusals
        .into_iter()
        .filter_map(|refusal| match refusal {
            Some(error) => Some(render_refusal(error)),
            None => outcomes.next().map(&render_outcome),
        })
        .collect()
}
