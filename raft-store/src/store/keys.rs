//! The ring of data keys: unwrapped as the state has them, and renewed.
//!
//! A renewal is a new key, then every record's key under it, then the old ones go. Each step is a
//! log entry, so whoever comes next goes on where the last one stopped.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::UnixTime;
use identity::secret::SecretBytes;

use super::{Proposal, ProposeError, Store};
use crate::command::{
    AddDataKey, KeepAcmeSecret, KeepAcmeSecretOutcome, PruneInvites, RemoveDataKey,
    ResealAuthority, ResealOutcome,
};
use crate::record::{AcmeSecret, AcmeSecretKind, AuthorityKind, AuthorityRecord};
use crate::seal::{FileSeal, RecordName, SealError, SealProviderError, Witnesses, new_data_key};
use crate::state::State;

/// What a renewal of the data key did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rotation {
    /// The data key that seals now.
    pub data_key: u32,
    /// Records whose key was sealed anew.
    pub resealed: u64,
    /// Data keys that left the ring since the renewal began, whoever dropped them.
    pub removed: Vec<u32>,
    /// Older data keys that stay for now: an unused invitation is sealed with them. They go once
    /// it is over.
    pub kept: Vec<u32>,
}

/// Why a renewal stopped. What was done stays; another call goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The seal provider did not wrap the new key.
    #[error("the new data key cannot be wrapped")]
    Provider(#[source] SealProviderError),
    /// A data key is another one than this member can open.
    #[error("the data keys cannot be opened")]
    Ring(#[source] SealError),
    /// A key could not be opened or sealed anew.
    #[error("{} cannot be sealed anew", .name.as_str())]
    Seal {
        /// Whose key.
        name: RecordName,
        /// Why.
        #[source]
        source: SealError,
    },
    /// A step has no outcome to report.
    #[error("a step of the rotation was not carried out")]
    Store(#[source] ProposeError),
    /// Other members renew it at the same time.
    #[error("the data key is being rotated by another member, ask again")]
    Overtaken,
}

impl Store {
    /// Renews the data key, or goes on with a renewal that stopped half-way.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub async fn rotate_data_key(&self, now: UnixTime) -> Result<Rotation, RotateError> {
        let before = self.data_key_ids();
        let (authorities, acme_secrets) = self.sealed_with_old_keys();
        let is_any = !authorities.is_empty() || !acme_secrets.is_empty();
        let is_half_way = is_any && !self.is_data_key_worn();
        if !is_half_way {
            self.add_data_key(now).await?;
        }
        let mut rotation = self.finish_rotation(now).await?;
        // The leader tends the keys too, and may have dropped some of them first.
        let left = self.data_key_ids();
        let is_gone = |id: &u32| !left.contains(id);
        rotation.removed = before.into_iter().filter(is_gone).collect();
        rotation.kept.retain(|id| left.contains(id));
        Ok(rotation)
    }

    /// What the data keys need now and then: a renewal when the newest has sealed nearly as much as
    /// is safe, and on the leader, the end of one that stopped half-way. `None` when all is well.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub async fn tend_data_keys(&self, now: UnixTime) -> Result<Option<Rotation>, RotateError> {
        if self.is_data_key_worn() {
            return self.rotate_data_key(now).await.map(Some);
        }
        let is_leader = self.status().is_some_and(|status| status.is_leader);
        if !is_leader || self.read(|state| state.data_keys().count()) < 2 {
            return Ok(None);
        }
        let rotation = self.finish_rotation(now).await?;
        let is_something = rotation.resealed > 0 || !rotation.removed.is_empty();
        Ok(is_something.then_some(rotation))
    }

    /// Looks whether what the seal provider holds now opens every data key, as the next start will need it.
    ///
    /// # Errors
    /// The key is missing, unusable, or not the one that the data keys were wrapped with.
    pub fn check_seal_key(&self) -> Result<(), SealProviderError> {
        self.read(Witnesses::of).check(&*self.0.seal)
    }

    /// The seal key that `file` holds, if it opens every data key of the store: for a host that is let into
    /// the cluster, and for nobody else.
    ///
    /// # Errors
    /// The key is missing, unusable, or not the one that the data keys were wrapped with.
    pub fn export_seal_key(&self, file: &FileSeal) -> Result<SecretBytes, SealProviderError> {
        self.read(Witnesses::of).export(file)
    }

    /// Whether this process has sealed nearly as much with the newest data key as is safe.
    fn is_data_key_worn(&self) -> bool {
        self.0.ring.read().is_worn()
    }

    async fn add_data_key(&self, now: UnixTime) -> Result<(), RotateError> {
        for _ in 0..MAX_TRIES {
            let (newest, witnesses) = self.read(|state| {
                let newest = state.data_keys().next_back().map(|key| key.id);
                (newest, Witnesses::of(state))
            });
            let id = newest.unwrap_or(0) + 1;
            let key = new_data_key(id, &witnesses, &*self.0.seal);
            let key = key.map_err(RotateError::Provider)?;
            let added = self.propose(AddDataKey { key }, proposal(now)).await;
            if added.map_err(RotateError::Store)? {
                return Ok(());
            }
        }
        Err(RotateError::Overtaken)
    }

    async fn finish_rotation(&self, now: UnixTime) -> Result<Rotation, RotateError> {
        // No old key goes for a new one that does not open here.
        self.update_ring().map_err(RotateError::Ring)?;
        let mut rotation = Rotation::default();
        let (authorities, acme_secrets) = self.sealed_with_old_keys();
        for authority in authorities {
            self.reseal(&authority, now).await?;
            rotation.resealed += 1;
        }
        for secret in acme_secrets {
            self.reseal_acme(secret.kind, now).await?;
            rotation.resealed += 1;
        }
        self.prune_invites(now).await?;
        let ids = self.data_key_ids();
        let Some((&newest, old)) = ids.split_last() else {
            return Ok(rotation);
        };
        rotation.data_key = newest;
        for &id in old {
            if self.read(|state| state.is_sealed_with(id)) {
                rotation.kept.push(id);
                continue;
            }
            let removed = self.propose(RemoveDataKey { id }, proposal(now)).await;
            if removed.map_err(RotateError::Store)? {
                rotation.removed.push(id);
            }
        }
        Ok(rotation)
    }

    /// Those of the ring as the state has it, the newest last.
    fn data_key_ids(&self) -> Vec<u32> {
        self.read(|state| state.data_keys().map(|key| key.id).collect())
    }

    /// Clears away what is over. A write that frees nothing is not made.
    async fn prune_invites(&self, now: UnixTime) -> Result<(), RotateError> {
        if !self.read(|state| state.invites().any(|invite| invite.expires_at < now)) {
            return Ok(());
        }
        let prune = PruneInvites {
            expired_before: now,
            limit: MAX_INVITES,
        };
        let pruned = self.propose(prune, proposal(now)).await;
        pruned.map(|_| ()).map_err(RotateError::Store)
    }

    /// Seals one authority's key anew. Another member may do the same at the same time, and drop
    /// the old data key before this one has read with it: then the record is read again.
    async fn reseal(&self, authority: &AuthorityRecord, now: UnixTime) -> Result<(), RotateError> {
        let AuthorityRecord { kind, ref id, .. } = *authority;
        let name = RecordName::authority(kind, id);
        for _ in 0..MAX_TRIES {
            let Some(current) = self.read(|state| state.authority(kind, id).cloned()) else {
                // Removed meanwhile: there is nothing left to seal.
                return Ok(());
            };
            let Some(sealed_key) = &current.sealed_key else {
                return Ok(());
            };
            let opened = self.unseal(&name, sealed_key);
            let sealed_key = match opened.and_then(|key| self.seal(&name, &key)) {
                Ok(sealed) => sealed,
                Err(SealError::UnknownDataKey(_)) => continue,
                Err(source) => return Err(RotateError::Seal { name, source }),
            };
            let command = ResealAuthority {
                kind,
                id: id.clone(),
                sealed_key,
            };
            let outcome = self.propose(command, proposal(now)).await;
            match outcome.map_err(RotateError::Store)? {
                ResealOutcome::Resealed | ResealOutcome::NotFound => return Ok(()),
                ResealOutcome::UnknownDataKey => {}
            }
        }
        Err(RotateError::Overtaken)
    }

    /// As [`Self::reseal`]. Whoever keeps another one meanwhile has sealed it with the newest key, or it is
    /// read again.
    async fn reseal_acme(&self, kind: AcmeSecretKind, now: UnixTime) -> Result<(), RotateError> {
        let name = RecordName::acme(kind);
        for _ in 0..MAX_TRIES {
            let Some(current) = self.read(|state| state.acme_secret(kind).cloned()) else {
                return Ok(());
            };
            let opened = self.unseal(&name, &current.sealed_key);
            let sealed_key = match opened.and_then(|key| self.seal(&name, &key)) {
                Ok(sealed) => sealed,
                Err(SealError::UnknownDataKey(_)) => continue,
                Err(source) => return Err(RotateError::Seal { name, source }),
            };
            let command = KeepAcmeSecret {
                secret: AcmeSecret {
                    sealed_key,
                    ..AcmeSecret::clone(&current)
                },
                in_place_of: Some(current.sealed_key.nonce),
            };
            let outcome = self.propose(command, proposal(now)).await;
            if outcome.map_err(RotateError::Store)? == KeepAcmeSecretOutcome::Kept {
                return Ok(());
            }
        }
        Err(RotateError::Overtaken)
    }

    /// Records whose key is sealed with another data key than the newest.
    fn sealed_with_old_keys(&self) -> (Vec<Arc<AuthorityRecord>>, Vec<Arc<AcmeSecret>>) {
        let old = |state: &State| {
            let newest = state.data_keys().next_back().map(|key| key.id);
            let acme_secrets = state
                .acme_secrets()
                .filter(|secret| Some(secret.sealed_key.key_id) != newest)
                .cloned()
                .collect();
            let authorities = AuthorityKind::ALL
                .into_iter()
                .flat_map(|kind| state.authorities(kind))
                .filter(|authority| {
                    let sealed_key = authority.sealed_key.as_ref();
                    sealed_key.is_some_and(|key| Some(key.key_id) != newest)
                })
                .cloned()
                .collect();
            (authorities, acme_secrets)
        };
        self.read(old)
    }

    /// Unwraps data keys that the state has and the ring has not, and drops those that it has no
    /// more.
    pub(super) fn update_ring(&self) -> Result<(), SealError> {
        let ids = self.data_key_ids();
        if self.0.ring.read().ids().eq(ids.iter().copied()) {
            return Ok(());
        }
        let keys: Vec<_> = self.read(|state| state.data_keys().cloned().collect());
        let mut ring = self.0.ring.write();
        ring.retain(&ids);
        for key in keys {
            if ring.contains(key.id) {
                continue;
            }
            let added = ring.add(&key, &*self.0.seal);
            added.map_err(|source| SealError::Provider { id: key.id, source })?;
        }
        Ok(())
    }
}

fn proposal(now: UnixTime) -> Proposal {
    Proposal {
        deadline: DEADLINE,
        ..Proposal::new(now)
    }
}

/// How long one step of a renewal may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often one step is tried while other members rotate too.
const MAX_TRIES: u32 = 3;

/// Invitations that are cleared away in one step.
const MAX_INVITES: u32 = 1000;
