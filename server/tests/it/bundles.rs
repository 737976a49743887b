//! Bundles: federated ones, deletion modes, pages.

use identity::secret::{KeyType, PrivateKey};
use proto::spire::api::server::bundle::v1::batch_delete_federated_bundle_request::Mode;
use proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchDeleteFederatedBundleRequest,
    CountBundlesRequest, GetFederatedBundleRequest, ListFederatedBundlesRequest,
};
use proto::spire::api::server::entry::v1::GetEntryRequest;
use proto::spire::api::types;
use tonic::Code;

use crate::world::{World, entry};

fn bundle(trust_domain: &str) -> types::Bundle {
    types::Bundle {
        trust_domain: trust_domain.to_owned(),
        sequence_number: 7,
        ..types::Bundle::default()
    }
}

fn jwt_key(key_id: &str) -> types::JwtKey {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    types::JwtKey {
        public_key: key.public_key_der().to_vec(),
        key_id: key_id.to_owned(),
        expires_at: 4_102_444_800,
        tainted: true,
    }
}

async fn create(world: &World, names: &[&str]) {
    let results = world
        .bundles()
        .await
        .batch_create_federated_bundle(BatchCreateFederatedBundleRequest {
            bundle: names.iter().copied().map(bundle).collect(),
            output_mask: None,
        })
        .await
        .unwrap()
        .into_inner()
        .results;
    assert!(
        results
            .iter()
            .all(|result| result.status.as_ref().unwrap().code == 0)
    );
}

async fn delete(world: &World, name: &str, mode: Mode) -> types::Status {
    world
        .bundles()
        .await
        .batch_delete_federated_bundle(BatchDeleteFederatedBundleRequest {
            trust_domains: vec![name.to_owned()],
            mode: mode.into(),
        })
        .await
        .unwrap()
        .into_inner()
        .results
        .remove(0)
        .status
        .unwrap()
}

#[tokio::test]
async fn deletion_modes_decide_what_happens_to_entries() {
    let world = World::start().await;
    create(&world, &["one.test", "two.test"]).await;
    let federated = |path: &str, name: &str| types::Entry {
        federates_with: vec![name.to_owned()],
        ..entry(path, "/p")
    };
    let ids = world
        .create(vec![
            federated("/one", "one.test"),
            federated("/two", "two.test"),
        ])
        .await;
    let mut entries = world.entries().await;
    let mut get = async |index: usize| {
        entries
            .get_entry(GetEntryRequest {
                id: ids.get(index).unwrap().clone(),
                output_mask: None,
            })
            .await
    };

    let refused = delete(&world, "one.test", Mode::Restrict).await;
    assert_eq!(refused.code, i32::from(Code::FailedPrecondition));
    assert!(
        refused
            .message
            .ends_with("federated with 1 registration entries"),
        "{refused:?}"
    );
    assert_eq!(delete(&world, "one.test", Mode::Dissociate).await.code, 0);
    assert_eq!(get(0).await.unwrap().into_inner().federates_with, [""; 0]);

    assert_eq!(delete(&world, "two.test", Mode::Delete).await.code, 0);
    assert_eq!(get(1).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        delete(&world, "two.test", Mode::Delete).await.code,
        i32::from(Code::NotFound)
    );
}

#[tokio::test]
async fn pages_count_the_own_bundle_but_do_not_show_it() {
    let world = World::start().await;
    create(&world, &["a.test", "b.test", "c.test"]).await;
    let mut client = world.bundles().await;
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client
            .list_federated_bundles(ListFederatedBundlesRequest {
                page_size: 2,
                page_token,
                output_mask: None,
            })
            .await
            .unwrap()
            .into_inner();
        if page.next_page_token.is_empty() {
            assert_eq!(page.bundles, []);
            break;
        }
        let names: Vec<String> = page.bundles.into_iter().map(|b| b.trust_domain).collect();
        pages.push(names.join(" "));
        page_token = page.next_page_token;
    }
    assert_eq!(pages, ["a.test", "b.test c.test"]);
    let count = client.count_bundles(CountBundlesRequest {}).await.unwrap();
    assert_eq!(count.into_inner().count, 4);
}

#[tokio::test]
async fn appended_authority_is_in_the_own_bundle_once_and_untainted() {
    let world = World::start().await;
    let mut client = world.bundles().await;
    let key = jwt_key("extra");
    let mut append = async || {
        client
            .append_bundle(AppendBundleRequest {
                jwt_authorities: vec![key.clone()],
                ..AppendBundleRequest::default()
            })
            .await
            .unwrap()
            .into_inner()
    };
    let first = append().await;
    let again = append().await;
    assert_eq!(first, again);
    let appended: Vec<_> = first
        .jwt_authorities
        .iter()
        .filter(|authority| authority.key_id == "extra")
        .map(|authority| (authority.tainted, authority.expires_at))
        .collect();
    assert_eq!(appended, [(false, 4_102_444_800)]);
}

#[tokio::test]
async fn own_bundle_does_not_grow_for_ever() {
    let world = World::start().await;
    let mut client = world.bundles().await;
    let mut append = async |numbers: std::ops::Range<usize>| {
        let jwt_authorities = numbers.map(|number| jwt_key(&format!("k{number}")));
        client
            .append_bundle(AppendBundleRequest {
                jwt_authorities: jwt_authorities.collect(),
                ..AppendBundleRequest::default()
            })
            .await
            .map(|response| response.into_inner().jwt_authorities.len())
    };
    // One is the server's own.
    assert_eq!(append(0..1_023).await.unwrap(), 1_024);
    let status = append(1_023..1_024).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "failed to append bundle: bundle would hold more than 1024 authorities of a kind"
    );
    // What it has already is no growth.
    assert_eq!(append(0..1).await.unwrap(), 1_024);
}

#[tokio::test]
async fn own_trust_domain_is_never_a_federated_one() {
    let world = World::start().await;
    let status = world
        .bundles()
        .await
        .get_federated_bundle(GetFederatedBundleRequest {
            trust_domain: "spiffe://example.org".to_owned(),
            output_mask: None,
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        delete(&world, "example.org", Mode::Delete).await.message,
        "removing the bundle for the server trust domain is not allowed"
    );
}
