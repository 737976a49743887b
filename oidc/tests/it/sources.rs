//! Keys by gRPC, from a fake of a server and of an agent on one socket.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use daemon::unix::{self, BindOptions};
use futures_util::stream;
use identity::{
    bundle::{Bundle, JwtAuthority},
    secret::{KeyType, PrivateKey},
    trust_domain::TrustDomain,
};
use proto::{
    convert,
    spire::api::{
        server::bundle::v1::GetBundleRequest,
        types::{self, JwtKey},
    },
    workload::{JwtBundlesRequest, JwtBundlesResponse},
};
use tokio::task::JoinSet;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::Grpc,
    transport::Server,
};
use tonic_prost::ProstCodec;

use crate::process::Provider;

/// A bundle with one JWT key of this id.
pub(crate) fn bundle(key_id: &str) -> Bundle {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let authority = JwtAuthority {
        key_id: key_id.into(),
        public_key: key.public_key_der().to_vec(),
        expires_at: None,
        tainted: false,
    };
    let mut bundle = Bundle::empty(TrustDomain::parse("domain.test").unwrap());
    bundle.jwt_authorities.push(authority);
    bundle
}

/// What the fakes give.
#[derive(Clone)]
struct Fake(Arc<Mutex<Bundle>>);

impl Fake {
    fn get_bundle(&self, request: GetBundleRequest) -> Result<Response<types::Bundle>, Status> {
        let mask = request.output_mask.unwrap();
        assert!(mask.jwt_authorities && !mask.x509_authorities);
        let mut wire = convert::bundle::to_wire(&self.0.lock().unwrap(), Some(&mask));
        // A key that does not parse hides no other.
        wire.jwt_authorities.push(JwtKey {
            key_id: "broken".to_owned(),
            ..JwtKey::default()
        });
        Ok(Response::new(wire))
    }

    fn jwt_bundles(&self, request: &Request<JwtBundlesRequest>) -> JwtBundlesResponse {
        assert_eq!(
            request.metadata().get("workload.spiffe.io").unwrap(),
            "true"
        );
        let jwks = self.0.lock().unwrap().jwt_jwks();
        let bundles = HashMap::from([
            ("spiffe://other.test".to_owned(), b"{}".to_vec()),
            ("spiffe://domain.test".to_owned(), jwks),
        ]);
        JwtBundlesResponse { bundles }
    }
}

impl Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                "/spire.api.server.bundle.v1.Bundle/GetBundle" => {
                    let answer = move |request: Request<GetBundleRequest>| {
                        std::future::ready(fake.get_bundle(request.into_inner()))
                    };
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(tower::service_fn(answer), request).await
                }
                "/SpiffeWorkloadAPI/FetchJWTBundles" => {
                    let answer = move |request: Request<JwtBundlesRequest>| {
                        let first = Ok::<_, Status>(fake.jwt_bundles(&request));
                        std::future::ready(Ok(Response::new(stream::iter([first]))))
                    };
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.server_streaming(tower::service_fn(answer), request)
                        .await
                }
                other => panic!("nobody asks for {other}"),
            })
        })
    }
}

async fn serve(fake: Fake, socket: &Path, tasks: &mut JoinSet<()>) {
    let options = BindOptions {
        socket_mode: 0o777,
        directory_mode: 0o755,
    };
    let listener = unix::bind(socket, options).await.unwrap();
    tasks.spawn(async move {
        let served = Server::builder().serve_with_incoming(fake, listener.incoming());
        served.await.unwrap();
    });
}

async fn keys_come_from(source: &str) {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let fake = Fake(Arc::new(Mutex::new(bundle("first"))));
    let mut provider = Provider::start(folder, source);
    // The source may come up later.
    provider.body_of("/keys", 500).await;
    serve(fake.clone(), &socket, &mut tasks).await;
    let keys = provider.body_of("/keys", 200).await;
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["kid"], "first");
    assert_eq!(keys["keys"][0]["alg"], "ES256");

    *fake.0.lock().unwrap() = bundle("second");
    provider
        .body_containing("/keys", "\"kid\": \"second\"")
        .await;
    // Keys stay while the source is gone.
    tasks.shutdown().await;
    provider.body_of("/keys", 200).await;
    assert_eq!(provider.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_server_are_served_and_followed() {
    keys_come_from("server_api { address = \"unix://FOLDER/api.sock\" poll_interval = \"20ms\" }")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_workload_api_are_served_and_followed() {
    keys_come_from(
        "workload_api { socket_path = \"FOLDER/api.sock\" trust_domain = \"domain.test\" poll_interval = \"20ms\" }",
    )
    .await;
}
