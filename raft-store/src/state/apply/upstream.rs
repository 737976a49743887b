//! Commands of a server that has an upstream.

use std::sync::Arc;

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::trust_domain::TrustDomain;
use rustls_pki_types::CertificateDer;

use crate::command::{
    AuthorityOutcome, PrepareBelowUpstream, RevokeUpstreamAuthority, SyncUpstreamBundle,
    TaintUpstreamAuthority, UpstreamOutcome,
};
use crate::record::{AuthorityKind, AuthorityRecord, AuthorityState, Sequence};
use crate::state::State;
use crate::state::apply::authority::{is_jwt_key, is_root};
use crate::state::apply::rotation::is_of_no_use;
use crate::state::journal::Journal;

const INTERMEDIATE: AuthorityKind = AuthorityKind::X509Intermediate;

impl State {
    pub(super) fn prepare_below_upstream(
        &mut self,
        command: &PrepareBelowUpstream,
        journal: &mut Journal,
    ) -> AuthorityOutcome {
        let id = &command.authority.id;
        let is_coming = self.authorities.is_one_coming(INTERMEDIATE);
        if self.authorities.find(INTERMEDIATE, id).is_some()
            || (command.only_if_none_is_coming && is_coming)
        {
            return AuthorityOutcome::SlotTaken;
        }
        if !self.can_open(&command.authority) {
            return AuthorityOutcome::UnknownDataKey;
        }
        let (mut leaving, mut staying): (Vec<_>, Vec<_>) = self
            .of_kind(INTERMEDIATE)
            .into_iter()
            .partition(|(_, authority)| is_of_no_use(authority));
        let room = usize::try_from(command.at_most).unwrap_or(usize::MAX);
        while staying.len() >= room {
            let Some(oldest) = dispensable(&staying) else {
                return AuthorityOutcome::Full;
            };
            leaving.push(staying.remove(oldest));
        }
        for (sequence, _) in leaving {
            self.authorities.remove(sequence, journal);
        }
        self.append(&command.trust_domain, &command.roots, &[], journal);
        let authority = AuthorityRecord {
            kind: INTERMEDIATE,
            state: AuthorityState::Published,
            ..command.authority.clone()
        };
        let sequence = self.next_sequence();
        AuthorityOutcome::Done(self.authorities.put(sequence, authority, journal))
    }

    pub(super) fn sync_upstream_bundle(
        &mut self,
        command: &SyncUpstreamBundle,
        journal: &mut Journal,
    ) -> Arc<Bundle> {
        let trust_domain = &command.trust_domain;
        let synced = self.synced(command);
        // Made on the way if there is none.
        self.append(trust_domain, &[], &[], journal);
        self.alter_bundle(trust_domain, journal, |bundle| *bundle = synced.clone());
        self.bundle(trust_domain)
            .cloned()
            .unwrap_or_else(|| Arc::new(synced))
    }

    /// Whether [`SyncUpstreamBundle`] would change something.
    #[must_use]
    pub fn lacks_of_upstream(&self, command: &SyncUpstreamBundle) -> bool {
        let held = self.bundle(&command.trust_domain);
        held.is_none_or(|held| **held != self.synced(command))
    }

    /// The own bundle with what an upstream's says.
    fn synced(&self, command: &SyncUpstreamBundle) -> Bundle {
        let SyncUpstreamBundle {
            trust_domain,
            x509,
            jwt,
        } = command;
        let held = self.bundle(trust_domain);
        let mut bundle = held.map_or_else(
            || Bundle::empty(trust_domain.clone()),
            |held| Bundle::clone(held),
        );
        let own_roots = self.of_kind(AuthorityKind::X509Root);
        let is_own = |root: &X509Authority| own_roots.iter().any(|(_, own)| is_root(root, own));
        let own_keys = self.of_kind(AuthorityKind::Jwt);
        let is_own_key = |key: &JwtAuthority| own_keys.iter().any(|(_, own)| is_jwt_key(key, own));
        let roots = &mut bundle.x509_authorities;
        for root in x509 {
            let known = roots
                .iter_mut()
                .find(|one| one.certificate == root.certificate);
            match known {
                Some(known) => known.tainted |= root.tainted,
                None => roots.push(root.clone()),
            }
        }
        let is_given = |held: &X509Authority| {
            x509.is_empty() || x509.iter().any(|root| root.certificate == held.certificate)
        };
        roots.retain(|held| !held.tainted || is_given(held) || is_own(held));
        let keys = &mut bundle.jwt_authorities;
        for key in jwt.iter().filter(|key| !is_own_key(key)) {
            match keys.iter_mut().find(|one| one.key_id == key.key_id) {
                Some(known) => known.tainted |= key.tainted,
                None => keys.push(key.clone()),
            }
        }
        let is_key_given =
            |held: &JwtAuthority| jwt.is_empty() || jwt.iter().any(|key| key.key_id == held.key_id);
        keys.retain(|held| !held.tainted || is_key_given(held) || is_own_key(held));
        bundle
    }

    pub(super) fn taint_upstream_authority(
        &mut self,
        command: &TaintUpstreamAuthority,
        journal: &mut Journal,
    ) -> UpstreamOutcome {
        let TaintUpstreamAuthority {
            trust_domain,
            subject_key_id,
            certificates,
        } = command;
        let held = self.held(trust_domain, certificates);
        if held.is_empty() {
            return UpstreamOutcome::NotFound;
        }
        if held.iter().all(|root| root.tainted) {
            return UpstreamOutcome::AlreadyTainted;
        }
        let (in_use, old): (Vec<_>, Vec<_>) = self
            .signed_by(subject_key_id)
            .into_iter()
            .partition(|(_, authority)| signs_or_will(authority));
        if !in_use.is_empty() {
            return UpstreamOutcome::InUse;
        }
        for (sequence, authority) in old {
            if authority.state == AuthorityState::Old {
                let tainted = AuthorityRecord {
                    state: AuthorityState::Tainted,
                    sealed_key: None,
                    ..AuthorityRecord::clone(&authority)
                };
                self.authorities.put(sequence, tainted, journal);
            }
        }
        self.alter_bundle(trust_domain, journal, |bundle| {
            for root in &mut bundle.x509_authorities {
                root.tainted |= certificates.contains(&root.certificate);
            }
        });
        self.done(trust_domain)
    }

    pub(super) fn revoke_upstream_authority(
        &mut self,
        command: &RevokeUpstreamAuthority,
        journal: &mut Journal,
    ) -> UpstreamOutcome {
        let RevokeUpstreamAuthority {
            trust_domain,
            subject_key_id,
            certificates,
        } = command;
        let held = self.held(trust_domain, certificates);
        if held.is_empty() {
            return UpstreamOutcome::NotFound;
        }
        if !held.iter().all(|root| root.tainted) {
            return UpstreamOutcome::NotTainted;
        }
        for (sequence, authority) in self.signed_by(subject_key_id) {
            if authority.state == AuthorityState::Tainted {
                self.move_to(AuthorityState::Revoked, sequence, &authority, journal);
            }
        }
        self.alter_bundle(trust_domain, journal, |bundle| {
            let roots = &mut bundle.x509_authorities;
            roots.retain(|root| !certificates.contains(&root.certificate));
        });
        self.done(trust_domain)
    }

    fn done(&self, trust_domain: &TrustDomain) -> UpstreamOutcome {
        let bundle = self.bundle(trust_domain).cloned();
        bundle.map_or(UpstreamOutcome::NotFound, UpstreamOutcome::Done)
    }

    /// Those of the roots that the bundle holds, as it holds them.
    fn held(
        &self,
        trust_domain: &TrustDomain,
        roots: &[CertificateDer<'static>],
    ) -> Vec<X509Authority> {
        let bundle = self.bundle(trust_domain);
        let held = bundle.map_or(&[][..], |bundle| &bundle.x509_authorities);
        let named = held.iter().filter(|root| roots.contains(&root.certificate));
        named.cloned().collect()
    }

    /// The intermediates that name this key as their issuer's.
    fn signed_by(&self, subject_key_id: &str) -> Vec<(Sequence, Arc<AuthorityRecord>)> {
        let mut intermediates = self.of_kind(INTERMEDIATE);
        intermediates.retain(|(_, one)| one.issuer_id.as_deref() == Some(subject_key_id));
        intermediates
    }
}

/// Which one can go: what it signed stays good without its record.
fn dispensable(authorities: &[(Sequence, Arc<AuthorityRecord>)]) -> Option<usize> {
    let mut of_no_more_use = authorities
        .iter()
        .enumerate()
        .filter(|(_, (_, authority))| {
            matches!(
                authority.state,
                AuthorityState::Old | AuthorityState::Tainted
            )
        });
    of_no_more_use.next().map(|(at, _)| at)
}

fn signs_or_will(authority: &AuthorityRecord) -> bool {
    match authority.state {
        AuthorityState::Prepared | AuthorityState::Published | AuthorityState::Active => true,
        AuthorityState::Old | AuthorityState::Tainted | AuthorityState::Revoked => false,
    }
}
