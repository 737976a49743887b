//! Changes of who leads and who belongs, which only the leader can decide.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, sleep, sleep_until};
use wire::change_request::Change as Asked;
use wire::change_response::Result as Answer;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::forward::address_of;
use super::leadership::Leadership;
use super::member::Shared;
use super::propose::Written;
use super::removals::Judged;
use crate::codec::wire;
use crate::command::{Command, RemoveMember};
use crate::peer::Lane;

/// Why the membership was not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    NotFound,
    LastMember,
    /// Too few are in touch of the voters that there are, or of those that would be left.
    WouldLoseQuorum {
        voters: u32,
        reachable: u32,
    },
    /// The member cannot lead: it does not vote, or is not in touch.
    NotAble,
    NoLeader,
}

impl Shared {
    /// Has the leader record that this member is removed, unless that must not be. A leader that is to go hands over
    /// first, and its successor is asked.
    pub(super) async fn ask_removal(
        &self,
        member_id: u64,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let request = Asked::CheckRemoval(member_id);
        self.ask_leader(request, deadline).await.map(|_| ())
    }

    /// Waits until the record here says that this member is removed, or others say so of this one itself; tells
    /// whether it came to that.
    pub(super) async fn recorded_as_removed(&self, member_id: u64, deadline: Instant) -> bool {
        let is_told = || member_id == self.identity.member_id && self.links.is_expelled();
        while !self.is_recorded_as_removed(member_id) && !is_told() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(RETRY).await;
        }
        true
    }

    /// Hands the lead to this member, or the best one, and tells who leads then.
    pub(super) async fn transfer(
        &self,
        to: Option<u64>,
        deadline: Instant,
    ) -> Result<u64, Refusal> {
        let before = *self.leadership().borrow();
        if to.is_some() && to == before.leader {
            return before.leader.ok_or(Refusal::NoLeader);
        }
        let request = Asked::TransferTo(to.unwrap_or(0));
        let successor = self.ask_leader(request, deadline).await?;
        let mut leadership = self.leadership();
        let has_changed = |now: &Leadership| now.term > before.term && now.leader.is_some();
        let led = tokio::select! {
            led = leadership.wait_for(has_changed) => led.ok().and_then(|now| now.leader),
            () = sleep_until(deadline) => None,
        };
        match led {
            Some(leader) if leader == successor || to.is_none() => Ok(leader),
            Some(_) => Err(Refusal::NotAble),
            None => Err(Refusal::NoLeader),
        }
    }

    /// Asks the leader, which may be this member, until one answers.
    async fn ask_leader(&self, asked: Asked, deadline: Instant) -> Result<u64, Refusal> {
        let mut leadership = self.leadership();
        // Whether some leader may have done it without a word.
        let mut is_open = false;
        loop {
            let known = *leadership.borrow_and_update();
            let answer = match known.leader {
                Some(_) if known.is_leader => Some(self.decide(asked).await),
                Some(leader) => self.ask_change(leader, asked).await,
                None => None,
            };
            match answer {
                Some(Answer::Accepted(id)) => return Ok(id),
                Some(Answer::NotFound(_)) => match asked {
                    Asked::CheckRemoval(id) if is_open => return Ok(id),
                    Asked::CheckRemoval(_) | Asked::TransferTo(_) => return Err(Refusal::NotFound),
                },
                Some(Answer::LastMember(_)) => return Err(Refusal::LastMember),
                Some(Answer::QuorumLoss(wire::QuorumLoss { voters, reachable })) => {
                    return Err(Refusal::WouldLoseQuorum { voters, reachable });
                }
                Some(Answer::NotAble(_)) => return Err(Refusal::NotAble),
                Some(Answer::NotLeader(_)) => {}
                None => is_open |= known.leader.is_some(),
            }
            tokio::select! {
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return Err(Refusal::NoLeader);
                    }
                }
                () = sleep(RETRY) => {}
                () = sleep_until(deadline) => return Err(Refusal::NoLeader),
            }
        }
    }

    async fn ask_change(&self, leader: u64, asked: Asked) -> Option<Answer> {
        let address = address_of(&self.raft, leader)?;
        let request = Request::Change(wire::ChangeRequest {
            change: Some(asked),
        });
        let asked = self
            .links
            .ask(leader, &address, Lane::Forward, request, ASK_DEADLINE);
        match asked.await {
            Ok(Response::Change(answer)) => answer.result,
            Ok(_) | Err(_) => None,
        }
    }

    /// The leader's decision.
    pub(super) async fn decide(&self, asked: Asked) -> Answer {
        let leadership = *self.leadership().borrow();
        if !leadership.is_leader {
            let leader = leadership.leader.unwrap_or(0);
            return Answer::NotLeader(wire::NotLeader { leader });
        }
        match asked {
            Asked::CheckRemoval(member_id) => self.decide_removal(member_id, leadership.term).await,
            Asked::TransferTo(0) => self.decide_transfer(None).await,
            Asked::TransferTo(member_id) => self.decide_transfer(Some(member_id)).await,
        }
    }

    async fn decide_transfer(&self, to: Option<u64>) -> Answer {
        if to.is_some_and(|id| address_of(&self.raft, id).is_none()) {
            return Answer::NotFound(true);
        }
        match self.hand_over(to).await {
            Ok(successor) => Answer::Accepted(successor),
            Err(Refusal::LastMember) => Answer::LastMember(true),
            Err(_) => Answer::NotAble(true),
        }
    }

    /// Records the removal itself: nobody else knows of all removals that are under way.
    async fn decide_removal(&self, member_id: u64, term: u64) -> Answer {
        let now: BTreeSet<u64> = self.raft.voter_ids().collect();
        let answering = self.answering(&now).await;
        // Those that vote now write the removal, those that are left all that follows.
        if let Some(loss) = quorum_loss(&now, &answering) {
            return Answer::QuorumLoss(loss);
        }
        // What earlier leaders recorded is known from here on, and they record no more.
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        if confirmed.is_err() {
            return undecided();
        }
        let judge = |going: &BTreeSet<u64>| {
            if !self.is_present(member_id) {
                return Judged::Refused(Answer::NotFound(true));
            }
            let left = self.voters_without(member_id, going);
            if left.is_empty() {
                return Judged::Refused(Answer::LastMember(true));
            }
            match quorum_loss(&left, &answering) {
                Some(loss) => Judged::Refused(Answer::QuorumLoss(loss)),
                None if member_id == self.identity.member_id => Judged::HandOver,
                None => Judged::Goes,
            }
        };
        match self.removals.judge(term, member_id, judge) {
            Judged::Refused(answer) => answer,
            // Its last act: whoever leads next is asked again.
            Judged::HandOver => match self.hand_over(None).await {
                Ok(leader) => Answer::NotLeader(wire::NotLeader { leader }),
                Err(_) => Answer::NotAble(true),
            },
            Judged::Goes => {
                let command = Command::RemoveMember(RemoveMember { id: member_id });
                let written = self.write_as_leader(command).await;
                if written != Written::Unknown {
                    self.removals.end(member_id);
                }
                match written {
                    Written::Applied => Answer::Accepted(member_id),
                    Written::NotAppended | Written::Unknown => undecided(),
                }
            }
        }
    }

    /// Who of these may vote now: it answers and is ready, and with it a majority answers.
    pub(super) async fn able_to_vote(&self, members: &BTreeSet<u64>) -> BTreeSet<u64> {
        let now: BTreeSet<u64> = self.raft.voter_ids().collect();
        let others = now
            .union(members)
            .filter(|id| **id != self.identity.member_id);
        let answers = self
            .ask_members(others.copied().collect(), false, PROBE_DEADLINE)
            .await;
        let is_able = |answer: &&wire::StatusResponse| {
            members.contains(&answer.member_id) && answer.is_ready != Some(false)
        };
        let able = answers
            .iter()
            .filter(is_able)
            .map(|answer| answer.member_id);
        let able: BTreeSet<u64> = able.collect();
        let answering = answers.iter().map(|answer| answer.member_id);
        let answering = answering.chain([self.identity.member_id]).collect();
        let voters = now.union(&able).copied().collect();
        match quorum_loss(&voters, &answering) {
            Some(_) => BTreeSet::new(),
            None => able,
        }
    }

    /// Who of these answers now. When they answered last is not enough: a removal that is begun
    /// without a quorum cannot be ended.
    async fn answering(&self, members: &BTreeSet<u64>) -> BTreeSet<u64> {
        let own_id = self.identity.member_id;
        let others = members.iter().copied().filter(|id| *id != own_id);
        let answers = self
            .ask_members(others.collect(), false, PROBE_DEADLINE)
            .await;
        let answering = answers.into_iter().map(|answer| answer.member_id);
        let own = members.get(&own_id).copied();
        answering.chain(own).collect()
    }

    /// The voters that would be left without this one and those on their way out.
    fn voters_without(&self, member_id: u64, going: &BTreeSet<u64>) -> BTreeSet<u64> {
        let state = self.model.state.read();
        let is_removed = |id: u64| state.member(id).is_some_and(|member| member.is_removed);
        let voters = self.raft.voter_ids();
        voters
            .filter(|id| *id != member_id && !going.contains(id) && !is_removed(*id))
            .collect()
    }

    /// Asks another voter to lead, the given one or else the one with most of the log.
    pub(super) async fn hand_over(&self, to: Option<u64>) -> Result<u64, Refusal> {
        let own_id = self.identity.member_id;
        let others: Vec<u64> = self.raft.voter_ids().filter(|id| *id != own_id).collect();
        if others.is_empty() {
            return Err(Refusal::LastMember);
        }
        let able = others.into_iter().filter(|id| self.is_in_touch(*id));
        let successor = match to {
            Some(id) => able.into_iter().find(|able| *able == id),
            None => able.max_by_key(|id| self.matched(*id)),
        };
        let successor = successor.ok_or(Refusal::NotAble)?;
        tracing::info!(successor, "handing over the lead");
        let triggered = self.raft.trigger().transfer_leader(successor).await;
        triggered.map(|()| successor).ok().ok_or(Refusal::NoLeader)
    }

    /// How much of the log a member has, as the leader knows.
    fn matched(&self, member_id: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref()?.get(&member_id)?.as_ref()?;
        Some(matched.index())
    }

    /// Whether a member answered the leader lately.
    pub(super) fn is_in_touch(&self, member_id: u64) -> bool {
        let contact = self.links.last_contact(member_id);
        member_id == self.identity.member_id || contact.is_some_and(|at| at.elapsed() < IN_TOUCH)
    }

    /// Waits until consensus has no such member any more, and tells whether it came to that.
    pub(super) async fn gone(self: &Arc<Self>, member_id: u64, deadline: Instant) -> bool {
        let is_own = member_id == self.identity.member_id;
        let mut refusals = Refusals::default();
        while address_of(&self.raft, member_id).is_some() {
            if is_own && (self.links.is_expelled() || self.is_forgotten(&mut refusals).await) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(RETRY).await;
        }
        true
    }

    /// Whether consensus goes on without this member, which nobody tells it: a member that answered
    /// before refuses it now. It does so once the change that needed this member's vote is decided.
    async fn is_forgotten(&self, refusals: &mut Refusals) -> bool {
        let leader = self.leadership().borrow().leader;
        let other = leader.filter(|id| *id != self.identity.member_id);
        let Some((id, address)) = other.and_then(|id| Some((id, address_of(&self.raft, id)?)))
        else {
            return false;
        };
        let answer = self.ask_status(id, &address, false, PROBE_DEADLINE).await;
        match answer {
            Some(_) => *refusals = Refusals { by: id, count: 0 },
            None if refusals.by == id => refusals.count += 1,
            None => {}
        }
        refusals.count >= ENOUGH_REFUSALS
    }
}

/// Too few of these answer, if so.
fn quorum_loss(voters: &BTreeSet<u64>, answering: &BTreeSet<u64>) -> Option<wire::QuorumLoss> {
    let size = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    let reachable = voters.intersection(answering).count();
    (reachable <= voters.len() / 2).then(|| wire::QuorumLoss {
        voters: size(voters.len()),
        reachable: size(reachable),
    })
}

/// To be asked again: whoever leads then knows.
const fn undecided() -> Answer {
    Answer::NotLeader(wire::NotLeader { leader: 0 })
}

/// How long ago the last answer of a member in touch may be: several heartbeats.
const IN_TOUCH: Duration = Duration::from_millis(1_000);

/// How often a leader has refused a member that it answered before.
#[derive(Default)]
struct Refusals {
    by: u64,
    count: u32,
}

/// A single one may be an accident of the network.
const ENOUGH_REFUSALS: u32 = 3;

/// How long the leader may take to decide.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

/// How long a member may take to show that it is there.
const PROBE_DEADLINE: Duration = Duration::from_millis(500);

/// Pause before the leader is asked again.
const RETRY: Duration = Duration::from_millis(20);
