//! Makes invites.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, UnixTime};
use identity::tls::AuthorityPin;
use identity::x509::{CertificateInfo, X509Error};
use raft_store::{
    CreateInvite, FileSeal, InviteId, InviteRecord, Proposal, ProposeError, PruneInvites,
    RecordName, SealError, SealProviderError, State, Store,
};
use zeroize::Zeroizing;

use crate::ca::Ca;
use crate::peers::envelope::{self, EnvelopeError};
use crate::peers::join::invite::{Invite, MAX_ADDRESSES};
use crate::peers::join::proof::Verifier;
use crate::peers::name;

/// Makes invites to this cluster. A clone is the same.
#[derive(Clone, Debug)]
pub struct Invitations {
    pub(crate) store: Store,
    pub(crate) ca: Ca,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who holds the key that whoever joins here is handed.
    pub(crate) seal: FileSeal,
    /// Where this member listens.
    pub(crate) own_address: String,
}

/// An invite that was made.
pub struct IssuedInvite {
    /// What the operator carries to the new host. A secret.
    pub text: Zeroizing<String>,
    /// When it ends.
    pub expires_at: UnixTime,
}

impl Invitations {
    /// Makes an invite that is good once within `ttl`. When this returns, every member knows it or
    /// will look for it.
    ///
    /// # Errors
    /// See [`InvitationError`].
    pub async fn issue(&self, ttl: Duration) -> Result<IssuedInvite, InvitationError> {
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(InvitationError::Ttl);
        }
        // An invite that this member could not honour is not made.
        let seal_key = self.store.export_seal_key(&self.seal);
        drop(seal_key.map_err(InvitationError::SealKey)?);
        let now = self.clock.now();
        self.make_room(now).await?;
        let status = self.store.status().ok_or(InvitationError::Stopped)?;
        let authority = self.ca.active_peer_authority();
        let authority = authority.ok_or(InvitationError::NoAuthority)?;
        let info = CertificateInfo::parse(&authority).map_err(InvitationError::Authority)?;
        let pin = AuthorityPin::new(name::trust_domain(&status.cluster_id), &info.public_key_der);
        let id = InviteId::random();
        let secret = envelope::new_key()?;
        let verifier = Verifier::of(&secret)?.to_bytes();
        let expires_at = now.saturating_add(ttl);
        let invite = InviteRecord {
            id,
            verifier: self.store.seal(&RecordName::invite(&id), &verifier)?,
            expires_at,
        };
        let proposal = Proposal::new(now);
        if !self
            .store
            .propose(CreateInvite { invite }, proposal)
            .await?
        {
            return Err(InvitationError::Overtaken);
        }
        let invite = Invite {
            cluster_id: status.cluster_id,
            id: *id.as_bytes(),
            secret,
            authority_spki_sha256: pin.spki_sha256,
            addresses: self.addresses(status.member_id),
        };
        Ok(IssuedInvite {
            text: invite.to_text(),
            expires_at,
        })
    }

    /// Forgets invites that nobody used, and refuses to keep any number of them.
    async fn make_room(&self, now: UnixTime) -> Result<(), InvitationError> {
        let count = || self.store.read(State::invite_count);
        if count() == 0 {
            return Ok(());
        }
        let prune = PruneInvites {
            expired_before: now,
            limit: PRUNED_AT_ONCE,
        };
        self.store.propose(prune, Proposal::new(now)).await?;
        match count() < MAX_INVITES {
            true => Ok(()),
            false => Err(InvitationError::TooMany),
        }
    }

    /// Where members listen, this one first: it has just shown that it is there.
    fn addresses(&self, own_id: u64) -> Vec<String> {
        self.store.read(|state| {
            let others = state.members().filter(|member| {
                member.id != own_id && !member.is_removed && !member.profile.peer_address.is_empty()
            });
            let others = others.map(|member| member.profile.peer_address.to_string());
            let addresses = std::iter::once(self.own_address.clone()).chain(others);
            addresses.take(MAX_ADDRESSES).collect()
        })
    }
}

/// Why no invite was made.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// The lifetime is out of range.
    #[error(
        "an invite must be good for {} seconds at least and {} hours at most",
        MIN_TTL.as_secs(),
        MAX_TTL.as_secs() / 3600
    )]
    Ttl,
    /// Too many are waiting to be used.
    #[error("{MAX_INVITES} invites are waiting to be used; use one, or wait until one is over")]
    TooMany,
    /// The cluster has no peer authority yet.
    #[error(
        "the cluster has no peer authority yet; try again in a moment, and see the log of the leader if it stays so"
    )]
    NoAuthority,
    /// The certificate of the peer authority cannot be read.
    #[error("the certificate of the peer authority cannot be read")]
    Authority(#[source] X509Error),
    /// The secret could not be made.
    #[error("the secret of the invite could not be made")]
    Secret(#[from] EnvelopeError),
    /// This member's seal key is missing, unusable, or not that of the cluster.
    #[error("the seal key cannot be handed out")]
    SealKey(#[source] SealProviderError),
    /// The secret could not be sealed.
    #[error("the secret of the invite could not be sealed")]
    Seal(#[from] SealError),
    /// The store did not take it, or did not say whether it did.
    #[error("the store did not take the invite")]
    Store(#[from] ProposeError),
    /// The keys of the store changed in the meantime.
    #[error("the seal was rotated in the meantime; try again")]
    Overtaken,
    /// This member's store has stopped.
    #[error("the store has stopped")]
    Stopped,
}

const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
const MAX_INVITES: usize = 256;
const PRUNED_AT_ONCE: u32 = 1_000;
