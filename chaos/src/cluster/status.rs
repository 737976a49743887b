//! What the members say of the cluster.

use std::time::Duration;

use proto::conclave::cluster::v1::{
    MemberStatus, StatusRequest, StatusResponse, cluster_client::ClusterClient, member_status::Role,
};
use tonic::transport::Channel;

use crate::client::within;

/// One member's view of the cluster.
#[derive(Clone, Debug)]
pub struct Status(pub StatusResponse);

/// A member that cannot be reached is waited for a second by the one that is asked.
const DEADLINE: Duration = Duration::from_secs(5);

impl Status {
    /// Asks through a member's admin socket.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask(admin: Channel) -> anyhow::Result<Self> {
        let mut client = ClusterClient::new(admin);
        let answer = within(DEADLINE, client.status(StatusRequest {})).await;
        Ok(Self(answer.required()?))
    }

    /// The leader's member id, if that member knows one.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        Some(self.0.leader).filter(|id| *id != 0)
    }

    /// The term: it grows with every election.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.0.term
    }

    /// The id of the member with that peer address.
    #[must_use]
    pub fn id_at(&self, peer_address: &str) -> Option<u64> {
        let member = self
            .0
            .members
            .iter()
            .find(|member| member.peer_address == peer_address);
        member.map(|member| member.id)
    }

    /// Whether `count` members vote, all of them answer, one leads, and none is behind by more than `lag`.
    #[must_use]
    pub fn is_whole(&self, count: usize, lag: u64) -> bool {
        let fine = |member: &MemberStatus| {
            let votes = matches!(member.role(), Role::Leader | Role::Voter);
            votes && member.is_reachable && member.log_lag <= lag
        };
        let members = &self.0.members;
        self.leader().is_some() && members.len() == count && members.iter().all(fine)
    }
}
