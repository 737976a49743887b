//! What the operator decided about authorities and SVIDs, taken from the config once.

use std::time::Duration;

use identity::{secret::KeyType, trust_domain::TrustDomain};

use crate::{ca::DistinguishedName, config::Config};

/// Lifetimes, key types and names of everything that is signed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Lifetime of an intermediate and of a JWT key.
    pub ca_ttl: Duration,
    /// Key type of X.509 authorities and of the server's own SVID.
    pub ca_key_type: KeyType,
    /// Key type of JWT authorities.
    pub jwt_key_type: KeyType,
    /// Subject of CA certificates; each adds its serial number.
    pub ca_subject: DistinguishedName,
    /// Subject of SVIDs; a DNS name adds a common name.
    pub svid_subject: DistinguishedName,
    /// Whether there are JWT authorities at all.
    pub jwt_enabled: bool,
    /// The `iss` claim.
    pub jwt_issuer: Option<String>,
    /// Default lifetime of X.509-SVIDs of workloads and of the server.
    pub x509_svid_ttl: Duration,
    /// Default lifetime of JWT-SVIDs.
    pub jwt_svid_ttl: Duration,
    /// Lifetime of agents' X.509-SVIDs.
    pub agent_ttl: Duration,
    /// How long this member may sign after it heard from a quorum of its cluster; `None` for a
    /// cluster of one.
    pub signing_max_staleness: Option<Duration>,
    /// The trust domain of the cluster's members; `None` if there is no cluster, and so no
    /// authority for members.
    pub peer_trust_domain: Option<TrustDomain>,
}

impl Policy {
    /// The policy that the config asks for.
    pub fn from_config(config: &Config) -> Self {
        let subject = &config.ca_subject;
        Self {
            trust_domain: config.trust_domain.clone(),
            ca_ttl: config.ca_ttl,
            ca_key_type: config.ca_key_type,
            jwt_key_type: config.jwt_key_type,
            ca_subject: DistinguishedName::new(
                &subject.country,
                &subject.organization,
                &subject.common_name,
            ),
            svid_subject: DistinguishedName::svid_default(),
            jwt_enabled: !config.disable_jwt_svids,
            jwt_issuer: config.jwt_issuer.clone(),
            x509_svid_ttl: config.default_x509_svid_ttl,
            jwt_svid_ttl: config.default_jwt_svid_ttl,
            agent_ttl: config.agent_ttl,
            signing_max_staleness: config
                .cluster
                .as_ref()
                .map(|cluster| cluster.signing_max_staleness),
            peer_trust_domain: None,
        }
    }

    /// The same for a member of the cluster whose members are in `trust_domain`.
    #[must_use]
    pub fn with_peers(self, trust_domain: TrustDomain) -> Self {
        Self {
            peer_trust_domain: Some(trust_domain),
            ..self
        }
    }

    /// Lifetime of a root: ten intermediates, and a year at least.
    ///
    /// The root stays in every bundle, so it is replaced as seldom as forced rotation and the
    /// habit of replacing keys allow.
    pub fn root_ttl(&self) -> Duration {
        self.ca_ttl.saturating_mul(10).max(ROOT_TTL_MIN)
    }
}

/// Lifetime of an authority that signs members' certificates. A member that was away for longer
/// than an authority and its successor has to join anew.
pub(super) const PEER_AUTHORITY_TTL: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// Lifetime of a member's certificate.
pub(super) const PEER_CERTIFICATE_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Lifetime of what is signed for a trial only.
pub(super) const THROWAWAY_TTL: Duration = Duration::from_secs(60);

const ROOT_TTL_MIN: Duration = Duration::from_secs(365 * 24 * 3600);
