//! The steps of a rotation by hand.

use std::sync::Arc;

use crate::command::{
    ActivateRoot, AuthorityOutcome, PrepareSuccessor, RevokeAuthority, TaintAuthority,
};
use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState, Sequence};
use crate::state::State;
use crate::state::apply::authority::{is_jwt_key, is_root};
use crate::state::journal::Journal;

impl State {
    pub(super) fn prepare_successor(
        &mut self,
        command: &PrepareSuccessor,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let AuthorityRecord { kind, ref id, .. } = command.authority;
        if self.authorities.find(kind, id).is_some() {
            return AuthorityOutcome::SlotTaken;
        }
        if !self.can_open(&command.authority) {
            return AuthorityOutcome::UnknownDataKey;
        }
        let (leaving, staying): (Vec<_>, Vec<_>) = self
            .of_kind(kind)
            .into_iter()
            .partition(|(_, authority)| is_of_no_use(authority));
        let room = usize::try_from(command.at_most).unwrap_or(usize::MAX);
        if staying.len() >= room {
            return AuthorityOutcome::Full;
        }
        for (sequence, authority) in leaving {
            self.authorities.remove(sequence, journal);
            self.leave_bundle(&authority, &command.trust_domain, journal);
        }
        let authority = AuthorityRecord {
            state: AuthorityState::Published,
            ..command.authority.clone()
        };
        self.enter_bundle(&authority, &command.trust_domain, journal);
        let sequence = self.next_sequence();
        AuthorityOutcome::Done(self.authorities.put(sequence, authority, journal))
    }

    pub(super) fn activate_root(
        &mut self,
        command: &ActivateRoot,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        const INTERMEDIATE: AuthorityKind = AuthorityKind::X509Intermediate;
        let root = self.authorities.find(AuthorityKind::X509Root, &command.id);
        let Some((sequence, root)) = root.map(|(sequence, root)| (sequence, Arc::clone(root)))
        else {
            return AuthorityOutcome::NotFound;
        };
        if root.state != AuthorityState::Published {
            return AuthorityOutcome::WrongState(root.state);
        }
        let intermediate = &command.intermediate;
        if self
            .authorities
            .find(INTERMEDIATE, &intermediate.id)
            .is_some()
        {
            return AuthorityOutcome::SlotTaken;
        }
        if !self.can_open(intermediate) {
            return AuthorityOutcome::UnknownDataKey;
        }
        for (sequence, authority) in self.of_kind(AuthorityKind::X509Root) {
            if authority.state == AuthorityState::Active {
                self.move_to(AuthorityState::Old, sequence, &authority, journal);
            }
        }
        for (sequence, authority) in self.of_kind(INTERMEDIATE) {
            match authority.state {
                AuthorityState::Active => {
                    self.move_to(AuthorityState::Old, sequence, &authority, journal);
                }
                AuthorityState::Prepared | AuthorityState::Published => {
                    self.authorities.remove(sequence, journal);
                }
                AuthorityState::Old | AuthorityState::Tainted | AuthorityState::Revoked => {}
            }
        }
        let intermediate = AuthorityRecord {
            kind: INTERMEDIATE,
            state: AuthorityState::Active,
            issuer_id: Some(command.id.clone()),
            ..intermediate.clone()
        };
        let place = self.next_sequence();
        self.authorities.put(place, intermediate, journal);
        AuthorityOutcome::Done(self.move_to(AuthorityState::Active, sequence, &root, journal))
    }

    pub(super) fn taint_authority(
        &mut self,
        command: &TaintAuthority,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let TaintAuthority { kind, ref id, .. } = *command;
        let Some((sequence, authority)) = self.authorities.find(kind, id) else {
            return AuthorityOutcome::NotFound;
        };
        if authority.state != AuthorityState::Old {
            return AuthorityOutcome::WrongState(authority.state);
        }
        let authority = AuthorityRecord {
            state: AuthorityState::Tainted,
            sealed_key: None,
            ..AuthorityRecord::clone(authority)
        };
        let below: Vec<_> = match kind {
            AuthorityKind::X509Root => self
                .of_kind(AuthorityKind::X509Intermediate)
                .into_iter()
                .filter(|(_, intermediate)| intermediate.issuer_id.as_ref() == Some(id))
                .collect(),
            AuthorityKind::X509Intermediate | AuthorityKind::Jwt | AuthorityKind::Peer => {
                Vec::new()
            }
        };
        let is_active = |(_, one): &(_, Arc<AuthorityRecord>)| one.state == AuthorityState::Active;
        if below.iter().any(is_active) {
            // A member of an older format let the root before sign on for a moment.
            return AuthorityOutcome::WrongState(AuthorityState::Active);
        }
        for (sequence, _) in below {
            self.authorities.remove(sequence, journal);
        }
        self.alter_bundle(&command.trust_domain, journal, |bundle| {
            for root in &mut bundle.x509_authorities {
                root.tainted |= is_root(root, &authority);
            }
            for key in &mut bundle.jwt_authorities {
                key.tainted |= is_jwt_key(key, &authority);
            }
        });
        AuthorityOutcome::Done(self.authorities.put(sequence, authority, journal))
    }

    pub(super) fn revoke_authority(
        &mut self,
        command: &RevokeAuthority,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let RevokeAuthority { kind, ref id, .. } = *command;
        let Some((sequence, authority)) = self.authorities.find(kind, id) else {
            return AuthorityOutcome::NotFound;
        };
        if authority.state != AuthorityState::Tainted {
            return AuthorityOutcome::WrongState(authority.state);
        }
        let authority = Arc::clone(authority);
        self.leave_bundle(&authority, &command.trust_domain, journal);
        AuthorityOutcome::Done(self.move_to(AuthorityState::Revoked, sequence, &authority, journal))
    }

    pub(super) fn move_to(
        &mut self,
        state: AuthorityState,
        sequence: Sequence,
        authority: &AuthorityRecord,
        journal: &mut Journal,
    ) -> Arc<AuthorityRecord> {
        let authority = AuthorityRecord {
            state,
            ..authority.clone()
        };
        self.authorities.put(sequence, authority, journal)
    }

    pub(super) fn of_kind(&self, kind: AuthorityKind) -> Vec<(Sequence, Arc<AuthorityRecord>)> {
        let of_kind = self.authorities.of_kind(kind);
        of_kind
            .map(|(sequence, authority)| (sequence, Arc::clone(authority)))
            .collect()
    }
}

/// Whether nobody holds anything that this authority signed, or is to believe it.
pub(super) fn is_of_no_use(authority: &AuthorityRecord) -> bool {
    match authority.state {
        AuthorityState::Prepared | AuthorityState::Published | AuthorityState::Revoked => true,
        AuthorityState::Active | AuthorityState::Old | AuthorityState::Tainted => false,
    }
}
