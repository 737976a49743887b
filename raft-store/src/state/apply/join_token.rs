//! Commands on join tokens.

use std::sync::Arc;

use crate::command::{
    CreateEntryOutcome, CreateJoinToken, CreateJoinTokenOutcome, DiscardJoinToken, EntryRule,
    PruneJoinTokens,
};
use crate::record::{JoinTokenHash, JoinTokenRecord};
use crate::state::State;
use crate::state::journal::Journal;

impl State {
    pub(super) fn create_join_token(
        &mut self,
        command: &CreateJoinToken,
        journal: &mut Journal,
    ) -> CreateJoinTokenOutcome {
        if self.join_tokens.record(&command.hash).is_some() {
            return CreateJoinTokenOutcome::Exists;
        }
        if let Some(alias) = &command.alias {
            match self.create_entry(alias, journal) {
                CreateEntryOutcome::Created(_) => {}
                CreateEntryOutcome::Similar(similar) => {
                    return CreateJoinTokenOutcome::AliasSimilar(similar);
                }
                CreateEntryOutcome::IdTaken => return CreateJoinTokenOutcome::AliasIdTaken,
                CreateEntryOutcome::Invalid(rule) => {
                    return CreateJoinTokenOutcome::AliasInvalid(rule);
                }
                CreateEntryOutcome::UnknownFederatedBundle(_) => {
                    return CreateJoinTokenOutcome::AliasInvalid(EntryRule::FederationUnknown);
                }
            }
        }
        let token = JoinTokenRecord {
            hash: command.hash,
            expires_at: command.expires_at,
        };
        self.join_tokens.put(command.hash, Arc::new(token), journal);
        CreateJoinTokenOutcome::Created
    }

    pub(super) fn discard_join_token(
        &mut self,
        command: &DiscardJoinToken,
        journal: &mut Journal,
    ) -> bool {
        self.join_tokens.remove(&command.hash, journal).is_some()
    }

    pub(super) fn prune_join_tokens(
        &mut self,
        command: &PruneJoinTokens,
        journal: &mut Journal,
    ) -> u64 {
        let limit = usize::try_from(command.limit).unwrap_or(usize::MAX);
        let due: Vec<JoinTokenHash> = self
            .join_tokens
            .iter()
            .filter(|(_, token)| token.expires_at < command.expired_before)
            .take(limit)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in &due {
            self.join_tokens.remove(hash, journal);
        }
        u64::try_from(due.len()).unwrap_or(u64::MAX)
    }
}
