//! Commands on bundles.

use std::sync::Arc;

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use identity::entry::RegistrationEntry;
use identity::trust_domain::TrustDomain;

use crate::command::{
    AppendAuthorities, DeleteBundleMode, DeleteBundleOutcome, DeleteFederatedBundle, PruneBundle,
    PruneBundleOutcome, SetBundleMode, SetBundleOutcome, SetFederatedBundle, UpdateBundleOutcome,
    UpdateFederatedBundle,
};
use crate::record::Sequence;
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn append_authorities(
        &mut self,
        command: &AppendAuthorities,
        journal: &mut Journal,
    ) -> Arc<Bundle> {
        self.append(&command.trust_domain, &command.x509, &command.jwt, journal)
    }

    pub(super) fn append(
        &mut self,
        trust_domain: &TrustDomain,
        x509: &[X509Authority],
        jwt: &[JwtAuthority],
        journal: &mut Journal,
    ) -> Arc<Bundle> {
        let Some((sequence, present)) = self.bundles.find(trust_domain) else {
            let mut bundle = Bundle::empty(trust_domain.clone());
            merge(&mut bundle, x509, jwt);
            let sequence = self.next_sequence();
            return self.bundles.put(sequence, bundle, journal);
        };
        let mut bundle = Bundle::clone(present);
        if !merge(&mut bundle, x509, jwt) {
            return Arc::clone(present);
        }
        bundle.sequence = bundle.sequence.saturating_add(1);
        self.bundles.put(sequence, bundle, journal)
    }

    /// Changes a bundle that is there; its sequence rises if that made a difference.
    pub(super) fn alter_bundle(
        &mut self,
        trust_domain: &TrustDomain,
        journal: &mut Journal,
        change: impl FnOnce(&mut Bundle),
    ) {
        let Some((sequence, present)) = self.bundles.find(trust_domain) else {
            return;
        };
        let mut bundle = Bundle::clone(present);
        change(&mut bundle);
        if bundle != **present {
            bundle.sequence = bundle.sequence.saturating_add(1);
            self.bundles.put(sequence, bundle, journal);
        }
    }

    pub(super) fn set_federated_bundle(
        &mut self,
        command: &SetFederatedBundle,
        journal: &mut Journal,
    ) -> SetBundleOutcome {
        let known = self.bundles.find(&command.bundle.trust_domain);
        match (known.map(|(sequence, _)| sequence), command.mode) {
            (Some(_), SetBundleMode::Create) => SetBundleOutcome::Exists,
            (Some(sequence), SetBundleMode::Set) => {
                let bundle = command.bundle.clone();
                SetBundleOutcome::Set(self.bundles.put(sequence, bundle, journal))
            }
            (None, _) => {
                let sequence = self.next_sequence();
                let bundle = command.bundle.clone();
                SetBundleOutcome::Created(self.bundles.put(sequence, bundle, journal))
            }
        }
    }

    pub(super) fn update_federated_bundle(
        &mut self,
        command: &UpdateFederatedBundle,
        journal: &mut Journal,
    ) -> UpdateBundleOutcome {
        let Some((sequence, present)) = self.bundles.find(&command.trust_domain) else {
            return UpdateBundleOutcome::NotFound;
        };
        let mut bundle = Bundle::clone(present);
        let change = command.change.clone();
        if let Some(authorities) = change.x509_authorities {
            bundle.x509_authorities = authorities;
        }
        if let Some(authorities) = change.jwt_authorities {
            bundle.jwt_authorities = authorities;
        }
        bundle.refresh_hint_s = change.refresh_hint_s.unwrap_or(bundle.refresh_hint_s);
        bundle.sequence = change.sequence.unwrap_or(bundle.sequence);
        UpdateBundleOutcome::Updated(self.bundles.put(sequence, bundle, journal))
    }

    pub(super) fn delete_federated_bundle(
        &mut self,
        command: &DeleteFederatedBundle,
        journal: &mut Journal,
    ) -> DeleteBundleOutcome {
        let Some((sequence, _)) = self.bundles.find(&command.trust_domain) else {
            return DeleteBundleOutcome::NotFound;
        };
        let users: Vec<(Sequence, Arc<RegistrationEntry>)> = self
            .entries
            .federating_with(&command.trust_domain)
            .map(|(sequence, entry)| (sequence, Arc::clone(entry)))
            .collect();
        if command.mode == DeleteBundleMode::Restrict && !users.is_empty() {
            let count = u64::try_from(users.len()).unwrap_or(u64::MAX);
            return DeleteBundleOutcome::InUse(count);
        }
        for (sequence, entry) in users {
            match command.mode {
                DeleteBundleMode::Restrict | DeleteBundleMode::Delete => {
                    self.entries.remove(sequence, journal);
                }
                DeleteBundleMode::Dissociate => {
                    let mut entry = RegistrationEntry::clone(&entry);
                    entry
                        .federates_with
                        .retain(|trust_domain| *trust_domain != command.trust_domain);
                    self.entries.replace(sequence, entry, journal);
                }
            }
        }
        self.bundles.remove(sequence, journal);
        DeleteBundleOutcome::Deleted
    }

    pub(super) fn prune_bundle(
        &mut self,
        command: &PruneBundle,
        journal: &mut Journal,
    ) -> PruneBundleOutcome {
        let Some((sequence, present)) = self.bundles.find(&command.trust_domain) else {
            return PruneBundleOutcome::NotFound;
        };
        let mut bundle = Bundle::clone(present);
        let before = command.expired_before;
        bundle
            .x509_authorities
            .retain(|authority| !is_over(end_of(authority), before));
        bundle
            .jwt_authorities
            .retain(|authority| !is_over(authority.expires_at, before));
        if bundle == **present {
            return PruneBundleOutcome::Unchanged;
        }
        if bundle.x509_authorities.is_empty() {
            return PruneBundleOutcome::WouldBeEmpty;
        }
        bundle.sequence = bundle.sequence.saturating_add(1);
        PruneBundleOutcome::Pruned(self.bundles.put(sequence, bundle, journal))
    }
}

/// Adds what the bundle does not hold, and lets a key that it holds live longer; whether it changed.
fn merge(bundle: &mut Bundle, x509: &[X509Authority], jwt: &[JwtAuthority]) -> bool {
    let mut changed = false;
    for authority in x509 {
        let held = &mut bundle.x509_authorities;
        if held
            .iter()
            .all(|other| other.certificate != authority.certificate)
        {
            held.push(authority.clone());
            changed = true;
        }
    }
    for authority in jwt {
        let held = &mut bundle.jwt_authorities;
        let known = held.iter_mut().find(|one| one.key_id == authority.key_id);
        let Some(known) = known else {
            held.push(authority.clone());
            changed = true;
            continue;
        };
        // Another key under the same id would leave it open which of the two a token means.
        let is_same = known.public_key == authority.public_key;
        if is_same && lives_longer(authority.expires_at, known.expires_at) {
            known.expires_at = authority.expires_at;
            changed = true;
        }
    }
    changed
}

/// Whether a key with the first end outlives one with the other; without an end it does not end.
fn lives_longer(end: Option<UnixTime>, other: Option<UnixTime>) -> bool {
    match (end, other) {
        (Some(end), Some(other)) => end > other,
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

fn is_over(end: Option<UnixTime>, before: UnixTime) -> bool {
    end.is_some_and(|end| end < before)
}

/// End of an X.509 authority, read from the certificate. One that cannot be read is kept.
fn end_of(authority: &X509Authority) -> Option<UnixTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(&authority.certificate).ok()?;
    Some(UnixTime::from_secs(
        certificate.validity().not_after.timestamp(),
    ))
}
