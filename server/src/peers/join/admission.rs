//! The member's side of a join: verifies the proof, makes the host a member, gives it what it needs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::Clock;
use identity::hex;
use identity::secret::SecretBytes;
use identity::trust_domain::TrustDomain;
use identity::x509::Csr;
use raft_store::{
    AdmitMember, AdmitOutcome, AuthorityKind, FileSeal, InviteId, InviteRecord, PeerAddress,
    Proposal, ProposeError, ReadError, RecordName, RequestId, Store,
};
use rustls_pki_types::CertificateDer;

use crate::ca::Ca;
use crate::domain_pin;
use crate::peers::connector::Connector;
use crate::peers::join::proof::{Exporter, Verifier};
use crate::peers::name;

/// Lets hosts in.
pub(crate) struct Admission {
    pub(crate) cluster_id: [u8; 16],
    pub(crate) store: Store,
    pub(crate) ca: Ca,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seal: FileSeal,
    pub(crate) connector: Connector,
}

/// What a host asks for, and by what right.
pub(crate) struct Application {
    pub(crate) cluster_id: [u8; 16],
    pub(crate) invite: InviteId,
    /// What the config of the host says; `None` if it is of a version that does not tell.
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) csr: Csr,
    pub(crate) member: AdmitMember,
    /// What the proof is about.
    pub(crate) parameters: Vec<u8>,
    pub(crate) proof: Vec<u8>,
}

/// What a new member gets.
pub(crate) struct Welcome {
    pub(crate) member_id: u64,
    pub(crate) certificate_chain: Vec<CertificateDer<'static>>,
    pub(crate) peer_authorities: Vec<CertificateDer<'static>>,
    pub(crate) wrapped_seal_key: Vec<u8>,
}

impl Admission {
    /// Which cluster hosts are let into.
    pub(crate) fn cluster_id(&self) -> &[u8; 16] {
        &self.cluster_id
    }

    /// Lets a host in.
    pub(crate) async fn admit(
        &self,
        application: Application,
        exporter: &Exporter,
    ) -> Result<Welcome, Refusal> {
        if application.cluster_id != self.cluster_id {
            return Err(Refusal::WrongCluster {
                own: hex::lower(&self.cluster_id),
            });
        }
        let invite = self.invite(application.invite).await?;
        let verifier = self.verifier(&invite)?;
        if !verifier.accepts(&application.proof, exporter, &application.parameters) {
            return Err(Refusal::WrongProof);
        }
        if self.clock.now() >= invite.expires_at {
            return Err(Refusal::Expired);
        }
        application
            .csr
            .verify_signature()
            .map_err(|error| Refusal::Unacceptable(error.to_string()))?;
        // What can fail without the invite being used up comes first.
        let pinned = self.store.read(domain_pin::pinned);
        is_of(pinned, application.trust_domain.as_ref())?;
        let seal_key = self.seal_key()?;
        let wrapped_seal_key = verifier.wrap(exporter, &seal_key).map_err(internal)?;
        if self.ca.active_peer_authority().is_none() {
            return Err(Refusal::Unavailable("no peer authority is active".into()));
        }
        let peer_address = application.member.profile.peer_address.clone();
        let member_id = self.make_member(application.member).await?;
        let member = name::member(&self.cluster_id, member_id);
        let issued = self
            .ca
            .sign_peer_certificate(&member, application.csr.spki_der());
        tracing::info!(member_id, %peer_address, "admitted a member");
        Ok(Welcome {
            member_id,
            certificate_chain: issued.map_err(internal)?.chain,
            peer_authorities: self.authorities(),
            wrapped_seal_key,
        })
    }

    /// The invite, as this member knows it, or as the cluster does: it may have been made on
    /// another member a moment ago.
    async fn invite(&self, id: InviteId) -> Result<Arc<InviteRecord>, Refusal> {
        let held = || self.store.read(|state| state.invite(&id).cloned());
        if let Some(invite) = held() {
            return Ok(invite);
        }
        let confirmed = self.store.linearizable(CONFIRM_WITHIN).await;
        confirmed.map_err(|error| match error {
            ReadError::NoQuorum => Refusal::Unavailable("no quorum".into()),
            ReadError::Stopped(_) => internal(error),
        })?;
        held().ok_or(Refusal::NoSuchInvite)
    }

    fn verifier(&self, invite: &InviteRecord) -> Result<Verifier, Refusal> {
        let name = RecordName::invite(&invite.id);
        let bytes = self.store.unseal(&name, &invite.verifier);
        Verifier::from_bytes(&bytes.map_err(internal)?)
            .ok_or_else(|| Refusal::Unavailable("the invite's record is damaged".into()))
    }

    fn seal_key(&self) -> Result<SecretBytes, Refusal> {
        self.store.export_seal_key(&self.seal).map_err(internal)
    }

    /// Uses up the invite. A member at the same address that is gone makes room: its host is the
    /// one that comes back.
    async fn make_member(&self, member: AdmitMember) -> Result<u64, Refusal> {
        match self.propose(member.clone()).await? {
            AdmitOutcome::AddressTaken { by } if !self.is_there(by).await => {
                self.remove(by).await?;
                settled(self.propose(member).await?)
            }
            outcome => settled(outcome),
        }
    }

    async fn is_there(&self, member_id: u64) -> bool {
        let record = self.store.read(|state| state.member(member_id).cloned());
        let Some(record) = record else {
            return false;
        };
        let peer = PeerAddress {
            cluster_id: self.cluster_id,
            member_id,
            address: record.profile.peer_address.to_string(),
        };
        self.connector.is_there(&peer).await
    }

    async fn remove(&self, member_id: u64) -> Result<(), Refusal> {
        tracing::info!(member_id, "removing the member whose host joins anew");
        let proposal = Proposal::new(self.clock.now());
        let removed = self.store.remove_member(member_id, proposal).await;
        removed.map_err(|error| Refusal::AddressTaken {
            by: member_id,
            cause: daemon::supervisor::chain(&error),
        })
    }

    async fn propose(&self, member: AdmitMember) -> Result<AdmitOutcome, Refusal> {
        let proposal = Proposal {
            deadline: PROPOSE_WITHIN,
            request_id: RequestId::random(),
            ..Proposal::new(self.clock.now())
        };
        self.store
            .propose(member, proposal)
            .await
            .map_err(|error: ProposeError| Refusal::Unavailable(daemon::supervisor::chain(&error)))
    }

    fn authorities(&self) -> Vec<CertificateDer<'static>> {
        self.store.read(|state| {
            let authorities = state.authorities(AuthorityKind::Peer);
            authorities
                .filter_map(|authority| authority.certificate.clone())
                .collect()
        })
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admission").finish_non_exhaustive()
    }
}

/// Holds a host to the trust domain of the cluster. The state knows that: it is newer than the invite, and
/// nobody makes one before the name is written down.
fn is_of(cluster: Option<String>, host: Option<&TrustDomain>) -> Result<(), Refusal> {
    match (cluster, host) {
        (Some(own), Some(asked)) if own != asked.as_str() => Err(Refusal::WrongTrustDomain {
            own,
            asked: asked.to_string(),
        }),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

fn settled(outcome: AdmitOutcome) -> Result<u64, Refusal> {
    match outcome {
        AdmitOutcome::Admitted { member_id } => Ok(member_id),
        AdmitOutcome::NoSuchInvite => Err(Refusal::NoSuchInvite),
        AdmitOutcome::Expired => Err(Refusal::Expired),
        AdmitOutcome::AddressTaken { by } => Err(Refusal::AddressTaken {
            by,
            cause: "it answers there".to_owned(),
        }),
        AdmitOutcome::FormatUnsupported { cluster_version } => Err(Refusal::Unacceptable(format!(
            "the cluster uses commands of format {cluster_version}, which this version does not understand; run the version that the other members run"
        ))),
    }
}

/// Why a host was not let in. Told to the host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The invite is for another cluster.
    #[error("the invite is for another cluster than {own}")]
    WrongCluster { own: String },
    /// It was used, has gone, or never was.
    #[error("there is no such invite: it was used already, or is long over")]
    NoSuchInvite,
    /// It is too old.
    #[error("the invite is over")]
    Expired,
    /// The secret is not that of the invite.
    #[error("the proof does not fit the invite")]
    WrongProof,
    /// The host would sign other identities than the members do.
    #[error("this cluster is of trust domain {own:?}, but the config of the host says {asked:?}")]
    WrongTrustDomain { own: String, asked: String },
    /// Another member listens there.
    #[error("member {by} has this peer address: {cause}")]
    AddressTaken { by: u64, cause: String },
    /// The host asks for what no member may have.
    #[error("{0}")]
    Unacceptable(String),
    /// Not now, or not here.
    #[error("this member cannot let anybody in now: {0}")]
    Unavailable(String),
}

/// What a member finds wrong with itself; another one may do better.
fn internal(error: impl std::error::Error + 'static) -> Refusal {
    Refusal::Unavailable(daemon::supervisor::chain(&error))
}

const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
const PROPOSE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_that_does_not_tell_its_trust_domain_is_taken_at_its_invite() {
        let cluster = || Some("example.org".to_owned());
        let host = |name| TrustDomain::parse(name).unwrap();
        assert!(is_of(cluster(), Some(&host("example.org"))).is_ok());
        assert!(is_of(cluster(), None).is_ok());
        let refused = is_of(cluster(), Some(&host("other.test"))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this cluster is of trust domain \"example.org\", but the config of the host says \
             \"other.test\""
        );
    }
}
