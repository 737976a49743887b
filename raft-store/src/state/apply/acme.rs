//! The command on what an ACME server gave.

use std::sync::Arc;

use crate::command::{KeepAcmeSecret, KeepAcmeSecretOutcome};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn keep_acme_secret(
        &mut self,
        command: &KeepAcmeSecret,
        journal: &mut Journal,
    ) -> KeepAcmeSecretOutcome {
        let secret = &command.secret;
        let present = self.acme_secrets.record(&secret.kind);
        let nonce = present.map(|present| present.sealed_key.nonce);
        if command.in_place_of.is_some() && command.in_place_of != nonce {
            return KeepAcmeSecretOutcome::Overtaken;
        }
        let key_id = secret.sealed_key.key_id;
        if self.data_keys.record(&key_id).is_none() {
            return KeepAcmeSecretOutcome::UnknownDataKey;
        }
        let kept = Arc::new(secret.clone());
        self.acme_secrets.put(secret.kind, kept, journal);
        KeepAcmeSecretOutcome::Kept
    }
}
