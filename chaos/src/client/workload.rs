//! What a workload asks of its agent.

use std::{path::Path, time::Duration};

use proto::workload::{
    JwtsvidRequest, X509svidRequest, X509svidResponse,
    spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tonic::{Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use super::{Outcome, dial, within};

/// A process of the calling user, as a client of an agent; a clone shares the connection.
#[derive(Clone, Debug)]
pub struct Workload(SpiffeWorkloadApiClient<Channel>);

/// A subscription of a thousand SVIDs is larger than the usual limit.
const MAX_ANSWER_LEN_BYTES: usize = 64 << 20;
/// The header without which no agent answers (SPIFFE Workload Endpoint §6).
const SECURITY_HEADER: &str = "workload.spiffe.io";

impl Workload {
    /// Connects to the Workload API at `socket`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let client = SpiffeWorkloadApiClient::new(dial::unix(socket).await?);
        Ok(Self(client.max_decoding_message_size(MAX_ANSWER_LEN_BYTES)))
    }

    /// Asks for a JWT-SVID: one for an audience that was not asked for before needs the server.
    pub async fn jwt(&self, audience: String, spiffe_id: &str, deadline: Duration) -> Outcome<()> {
        let request = with_header(JwtsvidRequest {
            audience: vec![audience],
            spiffe_id: spiffe_id.to_owned(),
        });
        let mut client = self.0.clone();
        let answer = within(deadline, client.fetch_jwtsvid(request)).await;
        answer.and_then(|answer| {
            if answer.svids.is_empty() {
                Outcome::Undecided("an empty answer".to_owned())
            } else {
                Outcome::Done(())
            }
        })
    }

    /// Asks for the X.509-SVIDs once.
    pub async fn x509(&self, deadline: Duration) -> Outcome<X509svidResponse> {
        let call = async {
            let message = self.clone().watch().await?.message().await?;
            let message = message.ok_or_else(|| Status::unavailable("the stream ended at once"))?;
            Ok(tonic::Response::new(message))
        };
        within(deadline, call).await
    }

    /// Subscribes to the X.509-SVIDs.
    ///
    /// # Errors
    /// The agent's refusal.
    pub async fn watch(&self) -> Result<Streaming<X509svidResponse>, Status> {
        let mut client = self.0.clone();
        let answers = client
            .fetch_x509svid(with_header(X509svidRequest {}))
            .await?;
        Ok(answers.into_inner())
    }
}

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::from_static("true");
    request.metadata_mut().insert(SECURITY_HEADER, value);
    request
}
