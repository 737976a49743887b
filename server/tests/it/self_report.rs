//! What a server tells of itself, and whom.

use proto::spire::api::server::debug::v1::GetInfoRequest;
use proto::spire::api::server::debug::v1::debug_client::DebugClient;
use proto::spire::api::server::logger::v1::GetLoggerRequest;
use proto::spire::api::server::logger::v1::logger_client::LoggerClient;
use tonic::Code;

use crate::world::{World, entry};

#[tokio::test(flavor = "multi_thread")]
async fn server_tells_what_it_holds_and_who_vouches_for_it() {
    let world = World::start().await;
    let agent = world.agent().await;
    world
        .create(vec![entry("/a", "/p"), entry("/b", "/p")])
        .await;
    let mut client = DebugClient::new(world.admin().await);
    let info = client
        .get_info(GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            info.agents_count,
            info.entries_count,
            info.federated_bundles_count
        ),
        (1, 2, 1)
    );
    let ids: Vec<_> = info
        .svid_chain
        .iter()
        .map(|link| link.id.as_ref().unwrap().path.as_str())
        .collect();
    assert_eq!(ids, ["/spire/server", "", ""]);
    let ends: Vec<_> = info.svid_chain.iter().map(|link| link.expires_at).collect();
    assert!(ends.is_sorted(), "{ends:?}");
    assert_eq!(info.svid_chain[0].subject, "O=SPIRE,C=US");

    // Nobody on the network is told, not even that there is such a service.
    for channel in [world.anonymous().await, agent.channel] {
        let refused = DebugClient::new(channel.clone())
            .get_info(GetInfoRequest {})
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(
            refused.message(),
            "unknown service spire.api.server.debug.v1.Debug"
        );
        let refused = LoggerClient::new(channel)
            .get_logger(GetLoggerRequest {})
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    }
}
