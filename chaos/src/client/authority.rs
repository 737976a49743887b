//! What an administrator does to rotate the X.509 authority by hand.

use anyhow::Context as _;
use proto::spire::api::server::localauthority::v1::{
    ActivateX509AuthorityRequest, GetX509AuthorityStateRequest, PrepareX509AuthorityRequest,
    RevokeX509AuthorityRequest, TaintX509AuthorityRequest,
    local_authority_client::LocalAuthorityClient,
};
use tonic::transport::Channel;

use super::{Outcome, operator::CALL_DEADLINE, within};

/// The calls of one administrator.
#[derive(Clone, Debug)]
pub struct Authority(LocalAuthorityClient<Channel>);

impl Authority {
    /// Calls through `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(LocalAuthorityClient::new(channel))
    }

    /// The id of the authority that signs.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn active(&mut self) -> anyhow::Result<String> {
        let call = self
            .0
            .get_x509_authority_state(GetX509AuthorityStateRequest {});
        let state = within(CALL_DEADLINE, call).await.required()?;
        Ok(state.active.context("no active authority")?.authority_id)
    }

    /// Makes the next authority; answers with its id.
    ///
    /// # Errors
    /// The server makes none.
    pub async fn prepare(&mut self) -> anyhow::Result<String> {
        let call = self
            .0
            .prepare_x509_authority(PrepareX509AuthorityRequest {});
        let answer = within(CALL_DEADLINE, call).await.required()?;
        let prepared = answer.prepared_authority;
        Ok(prepared.context("no prepared authority")?.authority_id)
    }

    /// Lets the prepared authority sign.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn activate(&mut self, id: &str) -> anyhow::Result<()> {
        let request = ActivateX509AuthorityRequest {
            authority_id: id.to_owned(),
        };
        done(within(CALL_DEADLINE, self.0.activate_x509_authority(request)).await)
    }

    /// Marks the authority before.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn taint(&mut self, id: &str) -> anyhow::Result<()> {
        let request = TaintX509AuthorityRequest {
            authority_id: id.to_owned(),
        };
        done(within(CALL_DEADLINE, self.0.taint_x509_authority(request)).await)
    }

    /// Takes the authority before out of the bundle.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn revoke(&mut self, id: &str) -> anyhow::Result<()> {
        let request = RevokeX509AuthorityRequest {
            authority_id: id.to_owned(),
        };
        done(within(CALL_DEADLINE, self.0.revoke_x509_authority(request)).await)
    }
}

fn done<T>(outcome: Outcome<T>) -> anyhow::Result<()> {
    outcome.required().map(drop)
}
