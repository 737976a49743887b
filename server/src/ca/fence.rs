//! Owns the fence around signing: a member that was cut off from its cluster for too long signs nothing any more,
//! because it would not know who was banned and what was deleted meanwhile; nor does one whose clock a majority
//! contradicts, because nobody would believe what it signs, or would for too long.

use std::time::Duration;

use raft_store::Store;

use crate::time_check::{self, WrongClock};

/// Lets sign whoever heard from a quorum lately, and knows what time it is.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    store: Store,
    /// `None` for a cluster of one, which is its own quorum.
    limit: Option<Duration>,
}

impl Fence {
    pub(super) const fn new(store: Store, limit: Option<Duration>) -> Self {
        Self { store, limit }
    }

    /// Whether this member may sign.
    ///
    /// # Errors
    /// How long ago it heard from a quorum, or how wrong its clock is.
    pub(super) fn check(&self) -> Result<(), Suspended> {
        time_check::check(&self.store)?;
        let Some(limit) = self.limit else {
            return Ok(());
        };
        Ok(judge(self.store.freshness(), limit)?)
    }
}

fn judge(age: Option<Duration>, limit: Duration) -> Result<(), Stale> {
    match age {
        Some(age) if age < limit => Ok(()),
        age => Err(Stale { age, limit }),
    }
}

/// Why this member may not sign now. Another one can.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Suspended {
    /// It was cut off.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// Its clock is wrong.
    #[error("signing is suspended: {0}")]
    WrongClock(#[from] WrongClock),
}

/// This member heard from a quorum of its cluster too long ago to sign for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "signing is suspended: this server {}, and signs for {} s after that (signing_max_staleness); \
     check the network between the servers, or ask another one",
    heard(*.age),
    .limit.as_secs()
)]
pub struct Stale {
    /// How long ago that was; `None` if it never did since its start.
    pub age: Option<Duration>,
    /// How long ago it may be.
    pub limit: Duration,
}

fn heard(age: Option<Duration>) -> String {
    age.map_or_else(
        || "has not heard from a quorum of its cluster yet".to_owned(),
        |age| {
            let seconds = age.as_secs();
            format!("heard from a quorum of its cluster {seconds} s ago")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(600);

    #[test]
    fn only_who_heard_from_a_quorum_lately_may_sign() {
        assert_eq!(judge(Some(Duration::ZERO), LIMIT), Ok(()));
        assert_eq!(judge(Some(LIMIT - Duration::from_millis(1)), LIMIT), Ok(()));
        for age in [Some(LIMIT), Some(LIMIT * 2), None] {
            assert_eq!(judge(age, LIMIT), Err(Stale { age, limit: LIMIT }));
        }
    }

    #[test]
    fn refusal_names_the_cause_and_the_setting() {
        let text = judge(Some(Duration::from_secs(601)), LIMIT)
            .unwrap_err()
            .to_string();
        assert!(text.contains("quorum of its cluster 601 s ago"), "{text}");
        assert!(text.contains("signing_max_staleness"), "{text}");
        let text = judge(None, LIMIT).unwrap_err().to_string();
        assert!(text.contains("has not heard from a quorum"), "{text}");
    }
}
