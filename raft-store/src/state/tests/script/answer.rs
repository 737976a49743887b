//! Outcomes in a few words.

use identity::bundle::Bundle;
use identity::entry::RegistrationEntry;
use identity::federation::{BundleEndpoint, EndpointProfile, FederationRelationship};
use identity::trust_domain::TrustDomain;

use crate::command::*;

pub(super) fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::CreateEntries(outcomes) => match &outcomes[0] {
            CreateEntryOutcome::Created(entry) => format!("created {}", shown(entry)),
            CreateEntryOutcome::Similar(entry) => format!("similar to {}", shown(entry)),
            CreateEntryOutcome::Invalid(rule) => format!("rejected: {rule}"),
            other => format!("rejected: {other:?}"),
        },
        Outcome::UpdateEntries(outcomes) => match &outcomes[0] {
            UpdateEntryOutcome::Updated(entry) => format!("updated {}", shown(entry)),
            UpdateEntryOutcome::Similar(entry) => format!("similar to {}", shown(entry)),
            UpdateEntryOutcome::Invalid(rule) => format!("rejected: {rule}"),
            other => format!("rejected: {other:?}"),
        },
        Outcome::CreateJoinToken(CreateJoinTokenOutcome::AliasSimilar(entry)) => {
            format!("alias similar to {}", shown(entry))
        }
        Outcome::AppendAuthorities(now) | Outcome::SyncUpstreamBundle(now) => bundle(now),
        Outcome::TaintUpstreamAuthority(UpstreamOutcome::Done(now))
        | Outcome::RevokeUpstreamAuthority(UpstreamOutcome::Done(now)) => bundle(now),
        Outcome::SetFederatedBundle(SetBundleOutcome::Created(now)) => {
            format!("created {}", bundle(now))
        }
        Outcome::SetFederatedBundle(SetBundleOutcome::Set(now)) => format!("set {}", bundle(now)),
        Outcome::UpdateFederatedBundle(UpdateBundleOutcome::Updated(now)) => {
            format!("updated {}", bundle(now))
        }
        Outcome::CreateRelationship(CreateRelationshipOutcome::Created(now)) => {
            format!("created {}", relationship(now))
        }
        Outcome::UpdateRelationship(UpdateRelationshipOutcome::Updated(now)) => {
            format!("updated {}", relationship(now))
        }
        Outcome::PruneBundle(PruneBundleOutcome::Pruned(now)) => format!("pruned {}", bundle(now)),
        Outcome::PrepareAuthority(outcome)
        | Outcome::PublishAuthority(outcome)
        | Outcome::ActivateAuthority(outcome)
        | Outcome::RemoveAuthority(outcome)
        | Outcome::PrepareSuccessor(outcome)
        | Outcome::ActivateRoot(outcome)
        | Outcome::TaintAuthority(outcome)
        | Outcome::RevokeAuthority(outcome)
        | Outcome::PrepareBelowUpstream(outcome) => match outcome {
            AuthorityOutcome::Done(record) => format!("{} {:?}", record.id, record.state),
            other => format!("rejected: {other:?}"),
        },
        other => format!("{other:?}"),
    }
}

fn shown(entry: &RegistrationEntry) -> String {
    let federates: Vec<&str> = entry
        .federates_with
        .iter()
        .map(TrustDomain::as_str)
        .collect();
    let RegistrationEntry {
        id,
        spiffe_id,
        revision,
        ..
    } = entry;
    let path = spiffe_id.path();
    format!("{id} {path} r{revision} federates {federates:?}")
}

fn bundle(bundle: &Bundle) -> String {
    let x509 = bundle.x509_authorities.len();
    let jwt = bundle.jwt_authorities.len();
    let tainted_roots = bundle.x509_authorities.iter().filter(|one| one.tainted);
    let tainted_keys = bundle.jwt_authorities.iter().filter(|one| one.tainted);
    let tainted = match tainted_roots.count() + tainted_keys.count() {
        0 => String::new(),
        count => format!(", {count} tainted"),
    };
    format!(
        "{} sequence {}, {x509} x509, {jwt} jwt{tainted}",
        bundle.trust_domain, bundle.sequence
    )
}

fn relationship(relationship: &FederationRelationship) -> String {
    let FederationRelationship {
        trust_domain,
        endpoint: BundleEndpoint { url, profile },
    } = relationship;
    match profile {
        EndpointProfile::HttpsWeb => format!("{trust_domain} {url} web"),
        EndpointProfile::HttpsSpiffe { endpoint_spiffe_id } => {
            format!("{trust_domain} {url} {endpoint_spiffe_id}")
        }
    }
}
