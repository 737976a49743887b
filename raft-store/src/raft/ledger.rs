//! What members acknowledged to this one as their leader, and who does not keep to it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::Vote;

/// Accounts of members, told of in the log once each time.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<BTreeMap<u64, Account>>);

#[derive(Debug, Default)]
struct Account {
    /// Under which leader what follows was acknowledged.
    vote: Option<Vote>,
    /// Index of the last entry.
    through: u64,
    has_forgotten: bool,
    takes_nothing: bool,
    /// How long entries that it has not answered may be on their way.
    transit: Duration,
}

impl Ledger {
    /// A member has made the log durable through this entry.
    pub(super) fn note_accepted(&self, member_id: u64, vote: &Vote, through: u64) {
        let mut accounts = self.0.lock();
        let account = accounts.entry(member_id).or_default();
        if account.vote.as_ref() == Some(vote) {
            account.through = account.through.max(through);
        } else {
            account.vote = Some(*vote);
            account.through = through;
        }
        if std::mem::take(&mut account.takes_nothing) {
            tracing::info!(member_id, "member takes entries of the log again");
        }
    }

    /// A member has another entry here, or none.
    pub(super) fn note_conflict(&self, member_id: u64, vote: &Vote, index: u64) {
        let mut accounts = self.0.lock();
        let account = accounts.entry(member_id).or_default();
        // What another leader was told may rightly be gone.
        if account.vote.as_ref() != Some(vote) || index > account.through {
            return;
        }
        if !std::mem::replace(&mut account.has_forgotten, true) {
            tracing::error!(
                member_id,
                index,
                acknowledged = account.through,
                "member has forgotten entries that it had acknowledged: its disk was put back to an older copy, or lost what was written. It is sent them again; until it has them, the loss of another member can cost acknowledged writes. Remove it and invite it anew unless the cause is known"
            );
        }
        account.through = 0;
    }

    /// A member left entries without an answer for too long.
    pub(super) fn note_untaken(&self, member_id: u64) {
        let mut accounts = self.0.lock();
        let account = accounts.entry(member_id).or_default();
        if !std::mem::replace(&mut account.takes_nothing, true) {
            tracing::warn!(
                member_id,
                "member takes no entries of the log, whether it answers otherwise or not: its disk may stall, or the network drop what is large"
            );
        }
    }

    /// How long the entries that are on their way to a member may be.
    pub(super) fn note_transit(&self, member_id: u64, transit: Duration) {
        self.0.lock().entry(member_id).or_default().transit = transit;
    }

    /// How long the entries that are on their way to anybody may be.
    pub(super) fn longest_transit(&self) -> Duration {
        let accounts = self.0.lock();
        let transits = accounts.values().map(|account| account.transit);
        transits.max().unwrap_or_default()
    }

    /// Forgets members that are not among these.
    pub(super) fn retain(&self, is_member: impl Fn(u64) -> bool) {
        self.0.lock().retain(|id, _| is_member(*id));
    }

    #[cfg(test)]
    pub(super) fn has_forgotten(&self, member_id: u64) -> bool {
        let accounts = self.0.lock();
        accounts
            .get(&member_id)
            .is_some_and(|account| account.has_forgotten)
    }
}
