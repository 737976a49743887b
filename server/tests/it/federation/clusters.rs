//! Two clusters that federate both ways, each of which loses its leader.

use std::sync::Mutex;
use std::time::Duration;

use daemon::port::free_port;
use identity::trust_domain::TrustDomain;
use proto::spire::api::server::localauthority::v1::PrepareX509AuthorityRequest;
use proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use server::federation::{BundleEndpointSettings, EndpointProof};

use super::{arrives, federate, held_bundle, hold_bundle, own_bundle, refresh, relationship};
use crate::world::World;

const EAST: &str = "east.test";
const WEST: &str = "west.test";

/// A cluster of three, each member with a bundle endpoint at one of the ports.
async fn cluster(trust_domain: &str, ports: [u16; 3]) -> [World; 3] {
    let ports = Mutex::new(ports.into_iter());
    World::cluster_of(&|config| {
        config.trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let port = ports.lock().unwrap().next().unwrap();
        config.federation.bundle_endpoint = Some(BundleEndpointSettings {
            address: format!("127.0.0.1:{port}"),
            refresh_hint: Duration::from_secs(3600),
            proof: EndpointProof::ServerSvid,
        });
    })
    .await
}

/// A new root enters the own bundle.
async fn prepare_root(world: &World) {
    let mut client = LocalAuthorityClient::new(world.admin().await);
    let request = PrepareX509AuthorityRequest::default();
    client.prepare_x509_authority(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_follow_each_other_through_the_loss_of_their_leaders() {
    let ports = || [(); 3].map(|()| free_port().unwrap());
    let (east_ports, west_ports) = (ports(), ports());
    let mut east = cluster(EAST, east_ports).await;
    let mut west = cluster(WEST, west_ports).await;
    // What each begins with, and where it looks: at a member that does not lead.
    hold_bundle(&east[1], &own_bundle(&west[0]).await).await;
    hold_bundle(&west[1], &own_bundle(&east[0]).await).await;
    let url = |port: u16| format!("https://127.0.0.1:{port}/");
    let to_west = relationship(WEST, &url(west_ports[1]), "spiffe://west.test/spire/server");
    let to_east = relationship(EAST, &url(east_ports[1]), "spiffe://east.test/spire/server");
    federate(&east[2], to_west).await;
    federate(&west[2], to_east).await;
    // The leader looks at once, and so the hint of the endpoint arrives, which no API gives.
    arrives(&east[1], WEST, |bundle| bundle.refresh_hint_s == 3600).await;
    arrives(&west[1], EAST, |bundle| bundle.refresh_hint_s == 3600).await;

    // Whoever leads next looks at once, too: nobody else would for a quarter of an hour.
    prepare_root(&east[2]).await;
    west[0].stop().await.unwrap();
    let known = arrives(&west[1], EAST, |bundle| bundle.x509_authorities.len() == 2).await;
    let own = own_bundle(&east[1]).await;
    assert_eq!(known.x509_authorities, own.x509_authorities);
    assert_eq!(known.sequence, own.sequence);

    // A cluster without its leader still publishes.
    prepare_root(&west[1]).await;
    east[0].stop().await.unwrap();
    arrives(&east[1], WEST, |bundle| bundle.x509_authorities.len() == 2).await;
    // Any member fetches by hand.
    refresh(&east[2], WEST).await.unwrap();
    refresh(&west[2], EAST).await.unwrap();
    assert_eq!(
        held_bundle(&east[2], WEST).await.unwrap().x509_authorities,
        own_bundle(&west[2]).await.x509_authorities
    );
}
