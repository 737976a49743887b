//! Federation between servers, and with endpoints that are not what they should be.

mod clusters;
mod endpoint;
mod lies;
mod publishing;
mod relationships;
mod web_certificates;

use std::time::Duration;

use identity::bundle::Bundle;
use proto::convert;
use proto::spire::api::server::bundle::v1::{
    BatchSetFederatedBundleRequest, GetBundleRequest, GetFederatedBundleRequest,
};
use proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use proto::spire::api::server::trustdomain::v1::{
    BatchCreateFederationRelationshipRequest, RefreshBundleRequest,
};
use proto::spire::api::types;
use proto::spire::api::types::federation_relationship::BundleEndpointProfile;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::Channel;

use crate::world::World;

/// How long what is fetched may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

async fn relationships(world: &World) -> TrustDomainClient<Channel> {
    TrustDomainClient::new(world.admin().await)
}

/// A relationship of profile `https_spiffe`, or with an empty id, of `https_web`.
fn relationship(trust_domain: &str, url: &str, id: &str) -> types::FederationRelationship {
    let profile = match id.is_empty() {
        true => BundleEndpointProfile::HttpsWeb(types::HttpsWebProfile {}),
        false => BundleEndpointProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: id.to_owned(),
        }),
    };
    types::FederationRelationship {
        trust_domain: trust_domain.to_owned(),
        bundle_endpoint_url: url.to_owned(),
        bundle_endpoint_profile: Some(profile),
        trust_domain_bundle: None,
    }
}

async fn federate(world: &World, relationship: types::FederationRelationship) {
    let request = BatchCreateFederationRelationshipRequest {
        federation_relationships: vec![relationship],
        output_mask: None,
    };
    let created = relationships(world)
        .await
        .batch_create_federation_relationship(request)
        .await
        .unwrap()
        .into_inner();
    let status = created.results[0].status.as_ref().unwrap();
    assert_eq!(status.code, 0, "{status:?}");
}

async fn refresh(world: &World, trust_domain: &str) -> Result<(), Status> {
    let request = RefreshBundleRequest {
        trust_domain: trust_domain.to_owned(),
    };
    let mut client = relationships(world).await;
    client.refresh_bundle(request).await.map(|_| ())
}

async fn hold_bundle(world: &World, bundle: &Bundle) {
    let request = BatchSetFederatedBundleRequest {
        bundle: vec![convert::bundle::to_wire(bundle, None)],
        output_mask: None,
    };
    let mut client = world.bundles().await;
    let set = client.batch_set_federated_bundle(request).await.unwrap();
    let result = set.into_inner().results.remove(0);
    assert_eq!(result.status.unwrap().message, "OK");
}

/// The bundle of another trust domain, as the server has it.
async fn held_bundle(world: &World, trust_domain: &str) -> Option<Bundle> {
    let request = GetFederatedBundleRequest {
        trust_domain: trust_domain.to_owned(),
        output_mask: None,
    };
    let mut client = world.bundles().await;
    let found = client.get_federated_bundle(request).await.ok()?;
    Some(convert::bundle::received(found.get_ref()).unwrap())
}

async fn own_bundle(world: &World) -> Bundle {
    let mut client = world.bundles().await;
    let own = client.get_bundle(GetBundleRequest::default()).await;
    convert::bundle::received(own.unwrap().get_ref()).unwrap()
}

/// Waits until the bundle of `trust_domain` pleases `is_right`.
async fn arrives(world: &World, trust_domain: &str, is_right: impl Fn(&Bundle) -> bool) -> Bundle {
    let deadline = Instant::now() + ARRIVES_WITHIN;
    loop {
        let held = held_bundle(world, trust_domain).await;
        if let Some(held) = held.clone().filter(&is_right) {
            return held;
        }
        assert!(Instant::now() < deadline, "still {held:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
