//! Whether this member's clock is right, as far as the other voters' clocks tell.
//!
//! What a member makes and decides by its clock holds for all of them: the lives of authorities and SVIDs, and what
//! has expired. So a member that a majority contradicts gives up the lead, and its signers ask here.

use std::time::Duration;

use parking_lot::Mutex;

use super::member::Shared;
use crate::codec::wire;

/// What the other voters' clocks say about this member's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClockVerdict {
    /// A majority has about the same time, or nobody is known to have another.
    #[default]
    Agreed,
    /// Another voter has another time, and no majority agrees on either.
    Disputed {
        /// Who has another time.
        with: u64,
        /// By how many seconds this clock is ahead of that one; behind, if negative.
        ahead_secs: i64,
    },
    /// A majority agrees on another time.
    Contradicted {
        /// By how many seconds this clock is ahead; behind, if negative.
        ahead_secs: i64,
    },
}

impl ClockVerdict {
    /// Judges by what other voters have, of so many voters in all. `None` if too few are known to tell.
    fn of(others: &[Reading], voters: usize) -> Option<Self> {
        let is_majority = |count: usize| count > voters / 2;
        let with_time_of = |one: &Reading| {
            let same = others.iter().filter(|other| other.is_near(one.ahead_secs));
            same.count()
        };
        let far = || others.iter().filter(|other| !other.is_near(0));
        if let Some(one) = far().find(|one| is_majority(with_time_of(one))) {
            let ahead_secs = one.ahead_secs;
            return Some(Self::Contradicted { ahead_secs });
        }
        let near = others.len() - far().count();
        if is_majority(1 + near) {
            return Some(Self::Agreed);
        }
        far().next().map(|other| Self::Disputed {
            with: other.member_id,
            ahead_secs: other.ahead_secs,
        })
    }
}

/// By how much this member's clock is ahead of another's.
#[derive(Clone, Copy, Debug)]
struct Reading {
    member_id: u64,
    ahead_secs: i64,
}

impl Reading {
    /// A member of before tells no time.
    fn of(answer: &wire::StatusResponse, own_secs: i64) -> Option<Self> {
        Some(Self {
            member_id: answer.member_id,
            ahead_secs: own_secs.saturating_sub(answer.unix_secs?),
        })
    }

    const fn is_near(&self, ahead_secs: i64) -> bool {
        self.ahead_secs.abs_diff(ahead_secs) <= TOLERANCE_SECS
    }
}

/// The last verdict.
#[derive(Debug, Default)]
pub(super) struct Clocks(Mutex<ClockVerdict>);

impl Clocks {
    pub(super) fn verdict(&self) -> ClockVerdict {
        *self.0.lock()
    }

    fn replace(&self, verdict: ClockVerdict) -> ClockVerdict {
        std::mem::replace(&mut *self.0.lock(), verdict)
    }
}

impl Shared {
    /// Judges this member's clock by what other voters have just answered. While too few answer to tell, the last
    /// verdict stands.
    pub(super) fn judge_clock(&self, answers: &[wire::StatusResponse]) -> ClockVerdict {
        let own_secs = self.clock.now().as_secs();
        let readings = answers
            .iter()
            .filter_map(|answer| Reading::of(answer, own_secs));
        let readings: Vec<Reading> = readings.collect();
        let Some(verdict) = ClockVerdict::of(&readings, self.raft.voter_ids().count()) else {
            return self.clocks.verdict();
        };
        let before = self.clocks.replace(verdict);
        if std::mem::discriminant(&before) != std::mem::discriminant(&verdict) {
            tell(verdict);
        }
        verdict
    }

    /// Asks the other voters for their time, each for a second at most.
    pub(super) async fn compare_clocks(&self) -> ClockVerdict {
        let answers = self.ask_other_voters(false, ASK_DEADLINE).await;
        self.judge_clock(&answers)
    }
}

fn tell(verdict: ClockVerdict) {
    match verdict {
        ClockVerdict::Agreed => tracing::info!("clock agrees with the other members' again"),
        ClockVerdict::Disputed { with, ahead_secs } => tracing::warn!(
            ahead_secs,
            member_id = with,
            "clock differs from that of another member, and no majority agrees on either"
        ),
        ClockVerdict::Contradicted { ahead_secs } => tracing::error!(
            ahead_secs,
            "clock is wrong: a majority of the members agrees on another time"
        ),
    }
}

/// Far more than hosts that ask a time service differ by.
const TOLERANCE_SECS: u64 = 60;

const ASK_DEADLINE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ahead_secs: &[i64], voters: usize) -> Option<ClockVerdict> {
        let readings = (2..)
            .zip(ahead_secs)
            .map(|(member_id, ahead_secs)| Reading {
                member_id,
                ahead_secs: *ahead_secs,
            });
        ClockVerdict::of(&readings.collect::<Vec<_>>(), voters)
    }

    const AGREED: Option<ClockVerdict> = Some(ClockVerdict::Agreed);

    fn contradicted(ahead_secs: i64) -> Option<ClockVerdict> {
        Some(ClockVerdict::Contradicted { ahead_secs })
    }

    #[test]
    fn a_majority_of_one_time_is_believed() {
        assert_eq!(verdict(&[3_600, 3_590], 3), contradicted(3_600));
        assert_eq!(verdict(&[0, -90, -80, -95], 5), contradicted(-90));
        // Who does not vote is told by those that do.
        assert_eq!(verdict(&[61], 1), contradicted(61));
    }

    #[test]
    fn a_majority_that_agrees_needs_nobody_else() {
        assert_eq!(verdict(&[], 1), AGREED);
        assert_eq!(verdict(&[60, 3_600], 3), AGREED);
        assert_eq!(verdict(&[-60], 3), AGREED);
        assert_eq!(verdict(&[1, 2, 90, 90], 5), AGREED);
    }

    #[test]
    fn clocks_that_all_differ_and_one_against_one_decide_nothing() {
        let disputed = |ahead_secs| {
            let with = 2;
            Some(ClockVerdict::Disputed { with, ahead_secs })
        };
        assert_eq!(verdict(&[61], 2), disputed(61));
        assert_eq!(verdict(&[-61], 3), disputed(-61));
        assert_eq!(verdict(&[3_600, -3_600], 3), disputed(3_600));
        assert_eq!(verdict(&[i64::MAX, i64::MIN], 3), disputed(i64::MAX));
    }

    #[test]
    fn too_few_that_answer_tell_nothing() {
        assert_eq!(verdict(&[], 2), None);
        assert_eq!(verdict(&[0], 5), None);
    }
}
