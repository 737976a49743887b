//! Owns the question whether this member may go by its clock.
//!
//! What is made or removed by a clock that is far off is lost for all: authorities of the future, entries that had days
//! to live. So whoever does such a thing for the cluster asks the other members for their time first.

use raft_store::{ClockVerdict, Store};

/// Asks the other members for their time, which takes a second if one does not answer.
///
/// # Errors
/// A majority has another time, or one member has and no majority agrees.
pub(crate) async fn confirm(store: &Store) -> Result<(), WrongClock> {
    WrongClock::by(store.compare_clocks().await).map_or(Ok(()), Err)
}

/// Whether others are known to contradict this member's clock, as of the last comparison.
///
/// # Errors
/// A majority has another time.
pub(crate) fn check(store: &Store) -> Result<(), WrongClock> {
    match WrongClock::by(store.clock_verdict()) {
        None | Some(WrongClock::Disputed { .. }) => Ok(()),
        Some(contradicted @ WrongClock::Contradicted { .. }) => Err(contradicted),
    }
}

/// This member's clock cannot be gone by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrongClock {
    /// A majority of the members agrees on another time.
    #[error(
        "the clock of this server is {} that of a majority of the members; correct it",
        distance(*.ahead_secs)
    )]
    Contradicted {
        /// By how many seconds it is ahead; behind, if negative.
        ahead_secs: i64,
    },
    /// Another member has another time, and no majority agrees on either.
    #[error(
        "the clock of this server is {} that of member {with}, and no majority agrees on either; \
         correct the one that is wrong",
        distance(*.ahead_secs)
    )]
    Disputed {
        /// Who.
        with: u64,
        /// By how many seconds this clock is ahead; behind, if negative.
        ahead_secs: i64,
    },
}

impl WrongClock {
    fn by(verdict: ClockVerdict) -> Option<Self> {
        match verdict {
            ClockVerdict::Agreed => None,
            ClockVerdict::Disputed { with, ahead_secs } => {
                Some(Self::Disputed { with, ahead_secs })
            }
            ClockVerdict::Contradicted { ahead_secs } => Some(Self::Contradicted { ahead_secs }),
        }
    }
}

fn distance(ahead_secs: i64) -> String {
    let seconds = ahead_secs.unsigned_abs();
    match ahead_secs {
        0.. => format!("{seconds} s ahead of"),
        _ => format!("{seconds} s behind"),
    }
}
