//! A change of who belongs that is under way: what holds, what is to come, and who is waited for.
//!
//! Consensus follows the newest membership in the log from the moment it is there, committed or not:
//! while too few of its voters are there nothing is written, this change included.

use std::collections::BTreeSet;

use openraft::type_config::async_runtime::watch::WatchReceiver as _;

use super::StoredMembership;
use super::member::Shared;

/// A change of who belongs, as the log of the member that was asked has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MembershipChange {
    /// The newest membership that is known to be committed.
    pub committed: Membership,
    /// The newest of all, if that is another. There is none half-way, before the leader's next step.
    pub pending: Option<Membership>,
    /// Where the newest stands in the log.
    pub index: u64,
    /// Each set of its voters without a majority that has it. Empty: it is committed, or about to be.
    pub missing: Vec<MissingVoters>,
}

/// Who belongs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Membership {
    /// Who votes.
    pub voters: BTreeSet<u64>,
    /// Who voted before: half-way through a change of voters a majority of these is needed, too.
    pub outgoing_voters: BTreeSet<u64>,
    /// Who gets the log without a vote.
    pub learners: BTreeSet<u64>,
}

/// Voters of whom some must answer before anything is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MissingVoters {
    /// So many of them.
    pub count: usize,
    /// Voters that are not known to have the membership in their logs.
    pub members: BTreeSet<u64>,
}

impl Shared {
    /// The change that is under way, as this member's log has it. `log_end` tells where a member's
    /// log ends, if it answered: one that does not answer is waited for, whatever it has.
    pub(super) fn membership_change(
        &self,
        log_end: impl Fn(u64) -> Option<u64>,
    ) -> Option<MembershipChange> {
        let (committed, newest) = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let committed = metrics.committed_membership_config.clone();
            (committed, metrics.membership_config.clone())
        };
        under_way(&committed, &newest, log_end)
    }
}

fn under_way(
    committed: &StoredMembership,
    newest: &StoredMembership,
    log_end: impl Fn(u64) -> Option<u64>,
) -> Option<MembershipChange> {
    // Before the first entry there is nothing to be changed.
    let index = newest.log_id().as_ref()?.index();
    committed.log_id().as_ref()?;
    let is_pending = newest.log_id() > committed.log_id();
    let sets = newest.get_joint_config();
    if !is_pending && sets.len() < 2 {
        return None;
    }
    let mut missing: Vec<MissingVoters> = Vec::new();
    for voters in sets {
        let has_it = |id: &&u64| log_end(**id).is_some_and(|end| end >= index);
        let having = voters.iter().filter(has_it).count();
        let count = (voters.len() / 2 + 1).saturating_sub(having);
        let members: BTreeSet<u64> = voters.iter().filter(|id| !has_it(id)).copied().collect();
        let wanted = MissingVoters { count, members };
        if count > 0 && !missing.contains(&wanted) {
            missing.push(wanted);
        }
    }
    Some(MembershipChange {
        committed: Membership::of(committed),
        pending: is_pending.then(|| Membership::of(newest)),
        index,
        missing,
    })
}

impl Membership {
    fn of(stored: &StoredMembership) -> Self {
        // The last set is the one that a change leads to.
        let (voters, before) = match stored.get_joint_config().split_last() {
            Some((last, before)) => (last.clone(), before),
            None => (BTreeSet::new(), [].as_slice()),
        };
        Self {
            voters,
            outgoing_voters: before.iter().flatten().copied().collect(),
            learners: stored.membership().learner_ids().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Peer;
    use super::super::convert::log_id;
    use super::*;
    use crate::codec::wire;

    fn ids(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn at(index: u64, sets: &[&[u64]], nodes: &[u64]) -> StoredMembership {
        let nodes = nodes.iter().map(|id| (*id, Peer::default()));
        let nodes: BTreeMap<u64, Peer> = nodes.collect();
        let sets = sets.iter().map(|set| ids(set)).collect();
        let membership = openraft::Membership::new(sets, nodes).unwrap();
        let position = log_id(wire::LogPosition {
            term: 1,
            leader: 1,
            index,
        });
        StoredMembership::new(Some(position), membership)
    }

    fn missing(count: usize, members: &[u64]) -> MissingVoters {
        let members = ids(members);
        MissingVoters { count, members }
    }

    #[test]
    fn nothing_is_under_way_before_the_first_entry_and_once_all_is_committed() {
        let none = StoredMembership::default();
        let first = at(0, &[&[1]], &[1]);
        let nobody = |_| None;
        assert_eq!(under_way(&none, &none, nobody), None);
        assert_eq!(under_way(&none, &first, nobody), None);
        assert_eq!(under_way(&first, &first, nobody), None);
    }

    #[test]
    fn a_second_member_that_left_during_its_promotion_is_waited_for() {
        let learning = at(7, &[&[1]], &[1, 5]);
        let promoting = at(9, &[&[1], &[1, 5]], &[1, 5]);
        let away = |id| (id == 1).then_some(12);
        let change = under_way(&learning, &promoting, away).unwrap();
        let expected = MembershipChange {
            committed: Membership {
                voters: ids(&[1]),
                learners: ids(&[5]),
                ..Membership::default()
            },
            pending: Some(Membership {
                voters: ids(&[1, 5]),
                outgoing_voters: ids(&[1]),
                learners: BTreeSet::new(),
            }),
            index: 9,
            missing: vec![missing(1, &[5])],
        };
        assert_eq!(change, expected);
        // There, and without the entry yet.
        let behind = |id| Some(if id == 1 { 12 } else { 8 });
        let change = under_way(&learning, &promoting, behind).unwrap();
        assert_eq!(change.missing, [missing(1, &[5])]);
        let change = under_way(&learning, &promoting, |_| Some(9)).unwrap();
        assert_eq!(change.missing, []);
    }

    #[test]
    fn half_way_both_majorities_are_waited_for() {
        let joint = at(9, &[&[1, 2, 3], &[1, 2, 3, 4, 5]], &[1, 2, 3, 4, 5]);
        let change = under_way(&joint, &joint, |id| (id == 1).then_some(20)).unwrap();
        assert_eq!(change.pending, None);
        assert_eq!(change.committed.outgoing_voters, ids(&[1, 2, 3]));
        let both = [missing(1, &[2, 3]), missing(2, &[2, 3, 4, 5])];
        assert_eq!(change.missing, both);
    }
}
