//! A Workload API that says what a test tells it to say.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use daemon::unix::{self, BindOptions};
use futures_util::stream;
use identity::secret::PrivateKey;
use proto::workload::{X509svid, X509svidRequest, X509svidResponse};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// A Workload API on a socket of its own, until it is dropped.
pub(crate) struct WorkloadApi {
    folder: TempDir,
    said: watch::Sender<Option<X509svidResponse>>,
    _serving: JoinSet<()>,
}

impl WorkloadApi {
    /// One that has no identity for anybody.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = BindOptions {
            socket_mode: 0o777,
            directory_mode: 0o755,
        };
        let listener = unix::bind(&folder.path().join("api.sock"), options)
            .await
            .unwrap();
        let (said, heard) = watch::channel(None);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let service = Identities(heard);
            let served = Server::builder().serve_with_incoming(service, listener.incoming());
            served.await.unwrap();
        });
        Self {
            folder,
            said,
            _serving: serving,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Path::join(self.folder.path(), "api.sock")
    }

    /// Tells this identity to all who ask and asked.
    pub(crate) fn tell(&self, chain: &[CertificateDer<'_>], key: &PrivateKey, roots: Vec<u8>) {
        let svid = X509svid {
            x509_svid: chain.iter().flat_map(|one| one.iter().copied()).collect(),
            x509_svid_key: key.pkcs8().expose().to_vec(),
            bundle: roots,
            ..X509svid::default()
        };
        self.said.send_replace(Some(X509svidResponse {
            svids: vec![svid],
            ..X509svidResponse::default()
        }));
    }

    /// Has no identity any more.
    pub(crate) fn deny(&self) {
        self.said.send_replace(None);
    }
}

#[derive(Clone)]
struct Identities(watch::Receiver<Option<X509svidResponse>>);

impl Service<http::Request<Body>> for Identities {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut heard = self.0.clone();
        heard.mark_changed();
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
            assert_eq!(request.headers()["workload.spiffe.io"], "true");
            let answer = move |_request: Request<X509svidRequest>| {
                let updates = stream::unfold(heard.clone(), async |mut heard| {
                    heard.changed().await.ok()?;
                    let said = heard.borrow_and_update().clone();
                    let denied = || Status::permission_denied("no identity issued");
                    Some((said.ok_or_else(denied), heard))
                });
                std::future::ready(Ok::<_, Status>(Response::new(updates)))
            };
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc
                .server_streaming(tower::service_fn(answer), request)
                .await)
        })
    }
}
