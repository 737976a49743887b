//! What a plugin above a server says comes through, now and later.

use std::time::Duration;

use identity::bundle::JwtAuthority;
use identity::secret::{KeyType, PrivateKey};
use plugin_host::Kind;
use plugin_host::upstream_authority::UpstreamAuthority;
use tokio::time::Instant;
use tonic::Code;

use crate::world::{START, World, child_settings};

async fn world(order: &str) -> (World, UpstreamAuthority) {
    let data = format!("order = \"{order}\"");
    let world = World::with(&child_settings(Kind::UpstreamAuthority, &data)).await;
    let upstream = UpstreamAuthority::new(world.plugin.clone());
    (world, upstream)
}

fn jwt_key() -> JwtAuthority {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    JwtAuthority {
        key_id: "k".into(),
        public_key: key.public_key_der().to_vec(),
        expires_at: None,
        tainted: false,
    }
}

#[tokio::test]
async fn intermediate_and_later_roots_come_through() {
    let (world, upstream) = world("mint").await;
    assert_eq!(upstream.bundle().await, Ok(None));
    let minted = upstream.mint(b"csr".to_vec(), 3600).await.unwrap();
    assert_eq!((minted.chain.len(), minted.roots.len()), (1, 1));
    let deadline = Instant::now() + START;
    loop {
        let (roots, _) = upstream.bundle().await.unwrap().unwrap();
        if roots.len() == 2 {
            assert!(roots[0].tainted && !roots[1].tainted);
            break;
        }
        assert!(Instant::now() < deadline, "roots do not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(upstream.publish_jwt_key(&jwt_key()).await, Ok(None));
    upstream.rest();
    assert_eq!(upstream.bundle().await, Ok(None));
    world.stop().await;
}

#[tokio::test]
async fn plugin_with_a_bundle_is_asked_for_it() {
    let (world, upstream) = world("bundle").await;
    let (roots, keys) = upstream.bundle().await.unwrap().unwrap();
    assert_eq!((roots.len(), keys.len()), (1, 0));
    let key = jwt_key();
    assert_eq!(upstream.publish_jwt_key(&key).await, Ok(Some(vec![key])));
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_named() {
    for (order, code, text) in [
        ("deny", Code::PermissionDenied, "not convinced"),
        ("none", Code::Internal, "plugin closed stream unexpectedly"),
        ("garbage", Code::Internal, "plugin response is unusable"),
        (
            "huge",
            Code::ResourceExhausted,
            "decoded message length too large",
        ),
        (
            "crash",
            Code::Unavailable,
            "connection to the plugin was lost",
        ),
        (
            "hang",
            Code::DeadlineExceeded,
            "plugin did not answer within 3s",
        ),
    ] {
        let (world, upstream) = world(order).await;
        let error = upstream.mint(b"csr".to_vec(), 3600).await.unwrap_err();
        assert_eq!(error.code, code, "{order}: {error}");
        assert!(error.text.contains(text), "{order}: {error}");
        assert!(
            error.to_string().starts_with("upstreamauthority(mine): "),
            "{error}"
        );
        world.stop().await;
    }
}
