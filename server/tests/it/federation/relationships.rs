//! Relationships as the API keeps them, and that each begins with a look at its endpoint.

use identity::federation::{BundleEndpoint, BundleEndpointUrl, EndpointProfile};
use identity::spiffe_id::SpiffeId;
use identity::testing::TestAuthority;
use identity::trust_domain::TrustDomain;
use proto::convert;
use proto::spire::api::server::trustdomain::v1::{
    BatchDeleteFederationRelationshipRequest, BatchUpdateFederationRelationshipRequest,
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
};
use proto::spire::api::types;
use tonic::Code;

use super::endpoint::{FakeEndpoint, Say};
use super::{arrives, federate, held_bundle, hold_bundle, refresh, relationship, relationships};
use crate::world::World;

const PARTNER: &str = "partner.test";
const SERVER: &str = "spiffe://partner.test/spire/server";

async fn update(world: &World, relationship: types::FederationRelationship) {
    let request = BatchUpdateFederationRelationshipRequest {
        federation_relationships: vec![relationship],
        input_mask: None,
        output_mask: None,
    };
    let mut client = relationships(world).await;
    let updated = client.batch_update_federation_relationship(request).await;
    let result = updated.unwrap().into_inner().results.remove(0);
    assert_eq!(result.status.unwrap().message, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_fetched_as_soon_as_it_can_be() {
    let world = World::start().await;
    let mut partner = TestAuthority::new(PARTNER);
    let svid = partner.x509_svid("/spire/server");
    let first = partner.bundle();
    let endpoint = FakeEndpoint::start(Some(svid), Say::ok(&first.to_spiffe_jwks())).await;
    let unreachable = relationship(PARTNER, "https://127.0.0.1:1/", SERVER);

    // There is nothing to believe the endpoint with, and nobody at its address.
    federate(&world, unreachable).await;
    refresh(&world, PARTNER).await.unwrap_err();
    // The address comes before what to believe.
    update(&world, relationship(PARTNER, &endpoint.url(), SERVER)).await;
    refresh(&world, PARTNER).await.unwrap_err();
    assert_eq!(held_bundle(&world, PARTNER).await, None);

    // Set by hand, and outdated: what the endpoint has comes in its place at once.
    let outdated = identity::bundle::Bundle {
        sequence: 0,
        jwt_authorities: Vec::new(),
        ..first.clone()
    };
    hold_bundle(&world, &outdated).await;
    arrives(&world, PARTNER, |bundle| *bundle == first).await;

    partner.rotate_and_taint();
    let second = partner.bundle();
    endpoint.say(Say::ok(&second.to_spiffe_jwks()));
    refresh(&world, PARTNER).await.unwrap();
    let held = held_bundle(&world, PARTNER).await.unwrap();
    assert_eq!(held.x509_authorities.len(), 2);
    assert_eq!(held.sequence, second.sequence);
    assert!(
        held.x509_authorities
            .iter()
            .all(|authority| !authority.tainted)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relationship_may_bring_the_bundle_that_its_endpoint_is_believed_with() {
    let world = World::start().await;
    let partner = TestAuthority::new(PARTNER);
    let svid = partner.x509_svid("/spire/server");
    let bundle = partner.bundle();
    let mut moved_on = bundle.clone();
    (moved_on.sequence, moved_on.refresh_hint_s) = (8, 300);
    let endpoint = FakeEndpoint::start(Some(svid), Say::ok(&moved_on.to_spiffe_jwks())).await;
    let begun = types::FederationRelationship {
        trust_domain_bundle: Some(convert::bundle::to_wire(&bundle, None)),
        ..relationship(PARTNER, &endpoint.url(), SERVER)
    };
    federate(&world, begun).await;
    arrives(&world, PARTNER, |held| *held == moved_on).await;

    // The bundle outlives the relationship.
    let request = BatchDeleteFederationRelationshipRequest {
        trust_domains: vec![PARTNER.to_owned(), PARTNER.to_owned(), String::new()],
    };
    let mut client = relationships(&world).await;
    let deleted = client.batch_delete_federation_relationship(request).await;
    let results = deleted.unwrap().into_inner().results.into_iter();
    let codes: Vec<_> = results.map(|result| result.status.unwrap().code).collect();
    assert_eq!(
        codes,
        [0, Code::NotFound.into(), Code::InvalidArgument.into()]
    );
    assert_eq!(held_bundle(&world, PARTNER).await, Some(moved_on));
    let refused = refresh(&world, PARTNER).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn relationships_of_the_config_come_first_and_are_not_listed() {
    let partner = TestAuthority::new(PARTNER);
    let svid = partner.x509_svid("/spire/server");
    let bundle = partner.bundle();
    let endpoint = FakeEndpoint::start(Some(svid), Say::ok(&bundle.to_spiffe_jwks())).await;
    let configured = BundleEndpoint {
        url: BundleEndpointUrl::parse(&endpoint.url()).unwrap(),
        profile: EndpointProfile::HttpsSpiffe {
            endpoint_spiffe_id: SpiffeId::parse(SERVER).unwrap(),
        },
    };
    let world = World::start_with(|config| {
        let name = TrustDomain::parse(PARTNER).unwrap();
        config.federation.federates_with.insert(name, configured);
    })
    .await;
    let outdated = identity::bundle::Bundle {
        sequence: 0,
        jwt_authorities: Vec::new(),
        ..bundle.clone()
    };
    hold_bundle(&world, &outdated).await;
    arrives(&world, PARTNER, |held| *held == bundle).await;

    let mut client = relationships(&world).await;
    let list = ListFederationRelationshipsRequest::default();
    let listed = client.list_federation_relationships(list.clone()).await;
    assert!(
        listed
            .unwrap()
            .into_inner()
            .federation_relationships
            .is_empty()
    );
    let get = GetFederationRelationshipRequest {
        trust_domain: PARTNER.to_owned(),
        output_mask: None,
    };
    let got = client.get_federation_relationship(get).await;
    assert_eq!(got.unwrap_err().code(), Code::NotFound);

    // One of the same trust domain is kept, and is not asked.
    federate(
        &world,
        relationship(PARTNER, "https://127.0.0.1:1/", SERVER),
    )
    .await;
    let listed = client.list_federation_relationships(list).await.unwrap();
    assert_eq!(listed.into_inner().federation_relationships.len(), 1);
    refresh(&world, PARTNER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_they_ended() {
    let world = World::start().await;
    for number in 0..5 {
        let name = format!("{number}.test");
        federate(&world, relationship(&name, "https://127.0.0.1:1/", "")).await;
    }
    let mut client = relationships(&world).await;
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListFederationRelationshipsRequest {
            output_mask: Some(types::FederationRelationshipMask::default()),
            page_size: 2,
            page_token,
        };
        let page = client.list_federation_relationships(request).await;
        let page = page.unwrap().into_inner();
        let found = page.federation_relationships.into_iter();
        names.extend(found.map(|one| one.trust_domain));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["0.test", "1.test", "2.test", "3.test", "4.test"]);
    let request = ListFederationRelationshipsRequest {
        page_size: 2,
        page_token: "garbage".to_owned(),
        output_mask: None,
    };
    let refused = client.list_federation_relationships(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::Internal);
}
