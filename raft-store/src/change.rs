//! What apply tells the rest of the process: which record changed, at which revision.

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::entry::RegistrationEntry;
use identity::federation::FederationRelationship;
use identity::selector::SelectorSet;
use identity::trust_domain::TrustDomain;

use crate::record::{AgentRecord, AuthorityRecord, MemberRecord, Revision};

/// One record's change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The revision that made it. Several changes may share one.
    pub revision: Revision,
    /// What changed.
    pub kind: ChangeKind,
}

/// What changed. `None` before: it came into being; `None` after: it is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// A registration entry.
    Entry {
        /// As it was.
        before: Option<Arc<RegistrationEntry>>,
        /// As it is.
        after: Option<Arc<RegistrationEntry>>,
    },
    /// An agent.
    Agent {
        /// As it was.
        before: Option<Arc<AgentRecord>>,
        /// As it is.
        after: Option<Arc<AgentRecord>>,
    },
    /// A bundle.
    Bundle {
        /// Whose.
        trust_domain: TrustDomain,
        /// As it is.
        after: Option<Arc<Bundle>>,
    },
    /// A federation relationship.
    Relationship {
        /// With whom.
        trust_domain: TrustDomain,
        /// As it is.
        after: Option<Arc<FederationRelationship>>,
    },
    /// An authority.
    Authority {
        /// As it was.
        before: Option<Arc<AuthorityRecord>>,
        /// As it is.
        after: Option<Arc<AuthorityRecord>>,
    },
    /// A member of the cluster.
    Member {
        /// As it was.
        before: Option<Arc<MemberRecord>>,
        /// As it is.
        after: Option<Arc<MemberRecord>>,
    },
    /// The newest command format that may be proposed.
    ClusterVersion,
    /// A setting.
    Setting {
        /// Which.
        key: Box<str>,
    },
}

impl Change {
    /// What the records of this change take in memory at most, roughly: those of any size by what they hold, the
    /// others as if they were of one.
    pub(crate) fn len_bytes(&self) -> usize {
        let held = match &self.kind {
            ChangeKind::Entry { before, after } => both(before, after, entry_len_bytes),
            ChangeKind::Agent { before, after } => both(before, after, agent_len_bytes),
            ChangeKind::Bundle { after, .. } => after.as_deref().map_or(0, bundle_len_bytes),
            ChangeKind::Relationship { .. }
            | ChangeKind::Authority { .. }
            | ChangeKind::Member { .. }
            | ChangeKind::ClusterVersion
            | ChangeKind::Setting { .. } => 0,
        };
        held + RECORD_LEN_BYTES
    }
}

fn both<T>(before: &Option<Arc<T>>, after: &Option<Arc<T>>, len_bytes: fn(&T) -> usize) -> usize {
    let records = before.iter().chain(after);
    records.map(|record| len_bytes(record)).sum()
}

fn entry_len_bytes(entry: &RegistrationEntry) -> usize {
    let dns_names = entry.dns_names.iter().map(|name| name.as_str().len());
    let federates_with = entry.federates_with.iter();
    let federates_with = federates_with.map(|domain| domain.as_str().len());
    selectors_len_bytes(&entry.selectors)
        + dns_names
            .chain(federates_with)
            .map(|len| len + PART_LEN_BYTES)
            .sum::<usize>()
        + entry.spiffe_id.as_str().len()
        + entry.parent_id.as_str().len()
        + entry.hint.len()
}

fn agent_len_bytes(agent: &AgentRecord) -> usize {
    selectors_len_bytes(&agent.selectors)
}

fn selectors_len_bytes(selectors: &SelectorSet) -> usize {
    let parts = selectors.iter();
    // The kind, a colon and the value in one text.
    let parts = parts.map(|selector| selector.kind().len() + 1 + selector.value().len());
    parts.map(|len| len + PART_LEN_BYTES).sum()
}

fn bundle_len_bytes(bundle: &Bundle) -> usize {
    let certificates = bundle
        .x509_authorities
        .iter()
        .map(|one| one.certificate.len());
    let keys = bundle.jwt_authorities.iter();
    let keys = keys.map(|one| one.key_id.len() + one.public_key.len());
    certificates
        .chain(keys)
        .map(|len| len + PART_LEN_BYTES)
        .sum()
}

/// What a record takes beside its parts of any number.
const RECORD_LEN_BYTES: usize = 512;

/// What each of these takes beside its text.
const PART_LEN_BYTES: usize = 24;
