//! Commands on authorities: each step changes the record, and where it shows, the own bundle.

use identity::bundle::{JwtAuthority, X509Authority};
use identity::trust_domain::TrustDomain;

use crate::command::{
    ActivateAuthority, AuthorityOutcome, PrepareAuthority, PublishAuthority, RemoveAuthority,
    ResealAuthority, ResealOutcome,
};
use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn prepare_authority(
        &mut self,
        command: &PrepareAuthority,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let AuthorityRecord { kind, id, .. } = &command.authority;
        if self.authorities.is_one_coming(*kind) || self.authorities.find(*kind, id).is_some() {
            return AuthorityOutcome::SlotTaken;
        }
        if !self.can_open(&command.authority) {
            return AuthorityOutcome::UnknownDataKey;
        }
        let authority = AuthorityRecord {
            state: AuthorityState::Prepared,
            ..command.authority.clone()
        };
        let sequence = self.next_sequence();
        AuthorityOutcome::Done(self.authorities.put(sequence, authority, journal))
    }

    pub(super) fn publish_authority(
        &mut self,
        command: &PublishAuthority,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let Some((sequence, authority)) = self.authorities.find(command.kind, &command.id) else {
            return AuthorityOutcome::NotFound;
        };
        if authority.state != AuthorityState::Prepared {
            return AuthorityOutcome::WrongState(authority.state);
        }
        let authority = AuthorityRecord {
            state: AuthorityState::Published,
            ..AuthorityRecord::clone(authority)
        };
        self.enter_bundle(&authority, &command.trust_domain, journal);
        AuthorityOutcome::Done(self.authorities.put(sequence, authority, journal))
    }

    pub(super) fn activate_authority(
        &mut self,
        command: &ActivateAuthority,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let Some((sequence, authority)) = self.authorities.find(command.kind, &command.id) else {
            return AuthorityOutcome::NotFound;
        };
        if authority.state != AuthorityState::Published {
            return AuthorityOutcome::WrongState(authority.state);
        }
        let authority = AuthorityRecord {
            state: AuthorityState::Active,
            ..AuthorityRecord::clone(authority)
        };
        self.retire_active(command.kind, journal);
        if authority.upstream_chain.is_some() {
            // Nothing is signed below the own root any more.
            self.retire_active(AuthorityKind::X509Root, journal);
        }
        AuthorityOutcome::Done(self.authorities.put(sequence, authority, journal))
    }

    /// Lets the active authority of a kind become old.
    fn retire_active(&mut self, kind: AuthorityKind, journal: &mut Journal) {
        if let Some((sequence, active)) = self.authorities.active(kind) {
            let old = AuthorityRecord {
                state: AuthorityState::Old,
                ..AuthorityRecord::clone(active)
            };
            self.authorities.put(sequence, old, journal);
        }
    }

    pub(super) fn remove_authority(
        &mut self,
        command: &RemoveAuthority,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let Some((sequence, authority)) = self.authorities.find(command.kind, &command.id) else {
            return AuthorityOutcome::NotFound;
        };
        if authority.state == AuthorityState::Active {
            return AuthorityOutcome::WrongState(authority.state);
        }
        let authority = authority.clone();
        self.authorities.remove(sequence, journal);
        self.leave_bundle(&authority, &command.trust_domain, journal);
        AuthorityOutcome::Done(authority)
    }

    pub(super) fn reseal_authority(
        &mut self,
        command: &ResealAuthority,
        journal: &mut Journal,
    ) -> ResealOutcome {
        let Some((sequence, authority)) = self.authorities.find(command.kind, &command.id) else {
            return ResealOutcome::NotFound;
        };
        // Its key went meanwhile, and does not come back.
        if authority.sealed_key.is_none() {
            return ResealOutcome::NotFound;
        }
        let key_id = command.sealed_key.key_id;
        if self.data_keys.record(&key_id).is_none() {
            return ResealOutcome::UnknownDataKey;
        }
        let authority = AuthorityRecord {
            sealed_key: Some(command.sealed_key.clone()),
            ..AuthorityRecord::clone(authority)
        };
        self.authorities.put(sequence, authority, journal);
        ResealOutcome::Resealed
    }

    /// Whether the authority has a key, sealed with a data key of the ring.
    pub(super) fn can_open(&self, authority: &AuthorityRecord) -> bool {
        let sealed_key = authority.sealed_key.as_ref();
        sealed_key.is_some_and(|sealed| self.data_keys.record(&sealed.key_id).is_some())
    }

    pub(super) fn enter_bundle(
        &mut self,
        authority: &AuthorityRecord,
        trust_domain: &TrustDomain,
        journal: &mut Journal,
    ) {
        match (authority.kind, &authority.certificate) {
            (AuthorityKind::X509Root, Some(certificate)) => {
                let root = X509Authority {
                    certificate: certificate.clone(),
                    tainted: false,
                };
                self.append(trust_domain, &[root], &[], journal);
            }
            (AuthorityKind::Jwt, _) => {
                let key = JwtAuthority {
                    key_id: authority.id.clone(),
                    public_key: authority.public_key.clone(),
                    expires_at: Some(authority.not_after),
                    tainted: false,
                };
                self.append(trust_domain, &[], &[key], journal);
            }
            (
                AuthorityKind::X509Root | AuthorityKind::X509Intermediate | AuthorityKind::Peer,
                _,
            ) => {}
        }
    }

    pub(super) fn leave_bundle(
        &mut self,
        authority: &AuthorityRecord,
        trust_domain: &TrustDomain,
        journal: &mut Journal,
    ) {
        self.alter_bundle(trust_domain, journal, |bundle| {
            let roots = &mut bundle.x509_authorities;
            roots.retain(|root| !is_root(root, authority));
            let keys = &mut bundle.jwt_authorities;
            keys.retain(|key| !is_jwt_key(key, authority));
        });
    }
}

/// Whether `root` is how this authority stands in the bundle.
pub(super) fn is_root(root: &X509Authority, authority: &AuthorityRecord) -> bool {
    authority.kind == AuthorityKind::X509Root
        && Some(&root.certificate) == authority.certificate.as_ref()
}

/// Whether `key` is how this authority stands in the bundle.
pub(super) fn is_jwt_key(key: &JwtAuthority, authority: &AuthorityRecord) -> bool {
    authority.kind == AuthorityKind::Jwt && key.key_id == authority.id
}
