//! Rate limits as callers feel them.

use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use tokio::time::{Duration, Instant};
use tonic::{Code, Request};

use crate::world::{World, attest_request};

#[tokio::test]
async fn second_attestation_waits_and_one_in_a_hurry_is_refused() {
    let world = World::start_with(|config| config.rate_limit.attestation = true).await;
    let mut client = AgentClient::new(world.anonymous().await);
    let attest = || tokio_stream::once(attest_request("no such token", Vec::new()));
    let first = client.attest_agent(attest()).await.unwrap_err();
    assert_eq!(first.code(), Code::InvalidArgument);

    let mut hurried = Request::new(attest());
    hurried.set_timeout(Duration::from_millis(500));
    let refused = client.attest_agent(hurried).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(
        refused
            .message()
            .starts_with("rejecting request due to attest agent rate limiting: "),
        "{refused:?}"
    );

    let start = Instant::now();
    let second = client.attest_agent(attest()).await.unwrap_err();
    assert_eq!(second.code(), Code::InvalidArgument);
    assert!(
        start.elapsed() > Duration::from_millis(300),
        "{:?}",
        start.elapsed()
    );
}
