//! What apply tells the rest of the process: which record changed, at which revision.

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::entry::RegistrationEntry;
use identity::federation::FederationRelationship;
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
