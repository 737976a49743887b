//! The leader makes consensus follow the records of members: who was admitted learns and then
//! votes, who was removed goes, and who moved is found at the new address.
//!
//! One step at a time, each chosen anew from what is so: after a crash or a change of leader the
//! next one goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Peer;
use super::member::Shared;
use crate::command::{Command, SetClusterVersion};

/// Tends the membership while this member leads.
pub(super) async fn tend(shared: Arc<Shared>) {
    let mut leadership = shared.leadership();
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = Progress::default();
    loop {
        if leadership.wait_for(|now| now.is_leader).await.is_err() {
            return;
        }
        due.tick().await;
        progress.note(&shared);
        let step = next_step(&View::of(&shared, &progress));
        if let Some(step) = step {
            take(&shared, step).await;
        }
        shared.links.retain(|id| shared.is_known(id));
        raise_version(&shared).await;
    }
}

/// What there is to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// A change that an earlier leader began.
    Finish,
    /// Members listen elsewhere.
    Move(BTreeMap<u64, Peer>),
    /// This member was removed: another must lead.
    HandOver,
    RemoveVoters(BTreeSet<u64>),
    RemoveLearners(BTreeSet<u64>),
    AddLearners(BTreeMap<u64, Peer>),
    Promote(BTreeSet<u64>),
}

/// Members as recorded, and as consensus has them.
#[derive(Clone, Debug, Default)]
struct View {
    own_id: u64,
    /// Those present, with their addresses.
    present: BTreeMap<u64, String>,
    /// A change is in the log and not committed.
    is_changing: bool,
    is_joint: bool,
    voters: BTreeSet<u64>,
    /// Voters and learners.
    nodes: BTreeMap<u64, String>,
    caught_up: BTreeSet<u64>,
}

impl View {
    fn of(shared: &Shared, progress: &Progress) -> Self {
        let records = shared.model.state.read();
        let present = records.members().filter(|member| !member.is_removed);
        let present = present
            .map(|member| (member.id, member.profile.peer_address.to_string()))
            .collect();
        drop(records);
        let metrics = shared.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let changed_at = *metrics.membership_config.log_id();
        let membership = metrics.membership_config.membership();
        Self {
            own_id: shared.identity.member_id,
            present,
            is_changing: changed_at.is_some_and(|at| at.index() > shared.model.applied().index),
            is_joint: membership.get_joint_config().len() > 1,
            voters: membership.voter_ids().collect(),
            nodes: membership
                .nodes()
                .map(|(id, peer)| (*id, peer.address.clone()))
                .collect(),
            caught_up: progress.caught_up(),
        }
    }
}

fn next_step(view: &View) -> Option<Step> {
    // It takes a quorum, which may be long in coming. Another change would be refused until then.
    if view.is_changing {
        return None;
    }
    if view.is_joint {
        return Some(Step::Finish);
    }
    // Nobody announced yet: the first member is about to.
    if view.present.is_empty() {
        return None;
    }
    let moved: BTreeMap<u64, Peer> = view
        .nodes
        .iter()
        .filter_map(|(id, known)| {
            let recorded = view.present.get(id)?;
            (recorded != known).then(|| (*id, peer(recorded)))
        })
        .collect();
    if !moved.is_empty() {
        return Some(Step::Move(moved));
    }
    let gone = |id: &&u64| !view.present.contains_key(id);
    let gone_learners: BTreeSet<u64> = view
        .nodes
        .keys()
        .filter(|id| !view.voters.contains(id))
        .filter(gone)
        .copied()
        .collect();
    if !gone_learners.is_empty() {
        return Some(Step::RemoveLearners(gone_learners));
    }
    let gone_voters: BTreeSet<u64> = view.voters.iter().filter(gone).copied().collect();
    if gone_voters.contains(&view.own_id) && view.voters.len() > 1 {
        return Some(Step::HandOver);
    }
    if !gone_voters.is_empty() && gone_voters.len() < view.voters.len() {
        return Some(Step::RemoveVoters(gone_voters));
    }
    let new: BTreeMap<u64, Peer> = view
        .present
        .iter()
        .filter(|(id, _)| !view.nodes.contains_key(id))
        .map(|(id, address)| (*id, peer(address)))
        .collect();
    if !new.is_empty() {
        return Some(Step::AddLearners(new));
    }
    let ready = view.nodes.keys().filter(|id| !view.voters.contains(id));
    let ready: BTreeSet<u64> = ready
        .filter(|id| view.caught_up.contains(id))
        .copied()
        .collect();
    (!ready.is_empty()).then_some(Step::Promote(ready))
}

fn peer(address: &str) -> Peer {
    Peer {
        address: address.to_owned(),
    }
}

async fn take(shared: &Shared, step: Step) {
    let step = match step {
        Step::Promote(caught_up) => match shared.able_to_vote(&caught_up).await {
            able if able.is_empty() => return,
            able => Step::Promote(able),
        },
        step => step,
    };
    tracing::info!(?step, "membership changes");
    let change = match step.clone() {
        Step::HandOver => {
            shared.hand_over(None).await.ok();
            return;
        }
        Step::Finish => ChangeMembers::AddVoterIds(BTreeSet::new()),
        Step::Move(moved) => ChangeMembers::SetNodes(moved),
        Step::RemoveVoters(ids) => ChangeMembers::RemoveVoters(ids),
        Step::RemoveLearners(ids) => ChangeMembers::RemoveNodes(ids),
        Step::AddLearners(new) => ChangeMembers::AddNodes(new),
        Step::Promote(ids) => ChangeMembers::AddVoterIds(ids),
    };
    // Not retained: a removed voter is not to stay as a learner.
    let changing = shared.raft.change_membership(change, false);
    match timeout(CHANGE_DEADLINE, changing).await {
        Ok(Ok(_)) => {}
        // The next look sees what is left to do.
        Ok(Err(error)) => tracing::warn!(?step, %error, "membership not changed yet"),
        Err(_) => tracing::warn!(?step, "membership change takes long"),
    }
}

/// Proposes the newest format that every member understands.
pub(super) async fn raise_version(shared: &Shared) {
    let Some(version) = shared.model.state.read().next_cluster_version() else {
        return;
    };
    let voters: Vec<u64> = shared.raft.voter_ids().collect();
    // Without its record nobody knows what a voter understands, and apply would refuse.
    let are_recorded = {
        let state = shared.model.state.read();
        voters.iter().all(|id| state.member(*id).is_some())
    };
    if !are_recorded {
        return;
    }
    let command = Command::SetClusterVersion(SetClusterVersion { version, voters });
    match shared.propose_own(command, CHANGE_DEADLINE).await {
        Ok(outcome) => tracing::info!(version, ?outcome, "cluster version"),
        Err(error) => tracing::info!(version, ?error, "cluster version not raised yet"),
    }
}

/// Who keeps up, and for how many looks.
#[derive(Debug, Default)]
struct Progress(BTreeMap<u64, u32>);

impl Progress {
    fn note(&mut self, shared: &Shared) {
        let metrics = shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let Some(replication) = &metrics.replication else {
            self.0.clear();
            return;
        };
        self.0.retain(|id, _| replication.contains_key(id));
        for (id, matched) in replication {
            let matched = matched.as_ref().map_or(0, |matched| matched.index());
            let has_most = matched > 0 && last.saturating_sub(matched) <= MAX_LAG;
            // One that has gone silent would count for the quorum and never answer.
            let keeps_up = has_most && shared.is_in_touch(*id);
            let rounds = self.0.entry(*id).or_default();
            *rounds = if keeps_up {
                rounds.saturating_add(1)
            } else {
                0
            };
        }
    }

    fn caught_up(&self) -> BTreeSet<u64> {
        let stable = self
            .0
            .iter()
            .filter(|(_, rounds)| **rounds >= STABLE_ROUNDS);
        stable.map(|(id, _)| *id).collect()
    }
}

/// How often the leader looks.
const EVERY: Duration = Duration::from_millis(200);

/// Entries that a member may be behind and still count as caught up.
const MAX_LAG: u64 = 1_000;

/// Looks in a row at which a learner must have kept up before it votes.
const STABLE_ROUNDS: u32 = 3;

/// How long one change may take until the leader looks again.
const CHANGE_DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn view(present: &[u64], voters: &[u64], learners: &[u64]) -> View {
        let address = |id: &u64| (*id, format!("host-{id}:8083"));
        View {
            own_id: 1,
            present: present.iter().map(address).collect(),
            is_changing: false,
            is_joint: false,
            voters: voters.iter().copied().collect(),
            nodes: voters.iter().chain(learners).map(address).collect(),
            caught_up: BTreeSet::new(),
        }
    }

    fn ids(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn nothing_is_done_when_consensus_has_what_is_recorded() {
        assert_eq!(next_step(&view(&[1, 4, 7], &[1, 4, 7], &[])), None);
        assert_eq!(next_step(&view(&[], &[1], &[])), None);
    }

    #[test]
    fn an_admitted_member_learns_and_votes_once_it_has_caught_up() {
        let new = BTreeMap::from([(4, peer("host-4:8083"))]);
        let admitted = view(&[1, 4], &[1], &[]);
        assert_eq!(next_step(&admitted), Some(Step::AddLearners(new)));
        let mut learning = view(&[1, 4], &[1], &[4]);
        assert_eq!(next_step(&learning), None);
        learning.caught_up = ids(&[4]);
        assert_eq!(next_step(&learning), Some(Step::Promote(ids(&[4]))));
    }

    #[test]
    fn a_change_that_waits_for_a_quorum_is_left_to_it() {
        let mut begun = view(&[1, 4], &[1], &[4]);
        begun.is_joint = true;
        begun.is_changing = true;
        assert_eq!(next_step(&begun), None);
        begun.is_changing = false;
        assert_eq!(next_step(&begun), Some(Step::Finish));
    }

    #[test]
    fn a_removed_member_goes_whether_it_votes_or_learns() {
        let voter = view(&[1, 4], &[1, 4, 7], &[]);
        assert_eq!(next_step(&voter), Some(Step::RemoveVoters(ids(&[7]))));
        let learner = view(&[1, 4], &[1, 4], &[7]);
        assert_eq!(next_step(&learner), Some(Step::RemoveLearners(ids(&[7]))));
    }

    #[test]
    fn a_removed_leader_hands_over_first() {
        let leader = view(&[4, 7], &[1, 4, 7], &[]);
        assert_eq!(next_step(&leader), Some(Step::HandOver));
    }

    #[test]
    fn a_member_that_moved_is_found_again_and_a_begun_change_comes_first() {
        let mut moved = view(&[1, 4], &[1, 4], &[]);
        moved.present.insert(4, "elsewhere:8083".to_owned());
        let wanted = BTreeMap::from([(4, peer("elsewhere:8083"))]);
        assert_eq!(next_step(&moved), Some(Step::Move(wanted)));
        moved.is_joint = true;
        assert_eq!(next_step(&moved), Some(Step::Finish));
    }
}
