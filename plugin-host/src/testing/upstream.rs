//! An upstream authority that does what it was configured with: `mint`, `bundle`, `garbage`, `none`, or as
//! the attestors do.

use daemon::router::Router;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use identity::testing::TestAuthority;
use proto::spire::plugin::server::upstreamauthority::v1::upstream_authority_server::{
    UpstreamAuthority, UpstreamAuthorityServer,
};
use proto::spire::plugin::server::upstreamauthority::v1::{
    MintX509caRequest, MintX509caResponse, PublishJwtKeyRequest, PublishJwtKeyResponse,
    SubscribeToLocalBundleRequest, SubscribeToLocalBundleResponse,
};
use proto::spire::plugin::types::X509Certificate;
use tonic::{Request, Response, Status};

use super::attestors::{HUGE_VALUE_BYTES, misbehave};
use super::services::State;

pub(super) fn add(router: Router, state: &State) -> Router {
    router.with(UpstreamAuthorityServer::new(state.clone()))
}

fn root(tainted: bool) -> X509Certificate {
    let authority = TestAuthority::new("example.org")
        .bundle()
        .x509_authorities
        .remove(0);
    X509Certificate {
        asn1: authority.certificate.to_vec(),
        tainted,
    }
}

#[tonic::async_trait]
impl UpstreamAuthority for State {
    type MintX509CAAndSubscribeStream = BoxStream<'static, Result<MintX509caResponse, Status>>;

    async fn mint_x509ca_and_subscribe(
        &self,
        request: Request<MintX509caRequest>,
    ) -> Result<Response<Self::MintX509CAAndSubscribeStream>, Status> {
        let order = self.order();
        misbehave(&order).await?;
        let request = request.into_inner();
        if request.csr.is_empty() || request.preferred_ttl != 3600 {
            return Err(Status::invalid_argument("not as asked for"));
        }
        let first = match order.as_str() {
            "none" => return Ok(Response::new(stream::empty().boxed())),
            "garbage" => X509Certificate {
                asn1: b"garbage".to_vec(),
                tainted: false,
            },
            "huge" => X509Certificate {
                asn1: vec![0; HUGE_VALUE_BYTES],
                tainted: false,
            },
            _ => root(false),
        };
        let minted = MintX509caResponse {
            x509_ca_chain: vec![first],
            upstream_x509_roots: vec![root(false)],
        };
        let changed = MintX509caResponse {
            x509_ca_chain: Vec::new(),
            upstream_x509_roots: vec![root(true), root(false)],
        };
        let answers = stream::iter([Ok(minted), Ok(changed)]);
        Ok(Response::new(answers.chain(stream::pending()).boxed()))
    }

    type PublishJWTKeyAndSubscribeStream =
        BoxStream<'static, Result<PublishJwtKeyResponse, Status>>;

    async fn publish_jwt_key_and_subscribe(
        &self,
        request: Request<PublishJwtKeyRequest>,
    ) -> Result<Response<Self::PublishJWTKeyAndSubscribeStream>, Status> {
        if self.order() != "bundle" {
            return Err(Status::unimplemented("JWT keys are not published"));
        }
        let answer = PublishJwtKeyResponse {
            upstream_jwt_keys: request.into_inner().jwt_key.into_iter().collect(),
        };
        let answers = stream::once(async { Ok(answer) });
        Ok(Response::new(answers.chain(stream::pending()).boxed()))
    }

    type SubscribeToLocalBundleStream =
        BoxStream<'static, Result<SubscribeToLocalBundleResponse, Status>>;

    async fn subscribe_to_local_bundle(
        &self,
        _: Request<SubscribeToLocalBundleRequest>,
    ) -> Result<Response<Self::SubscribeToLocalBundleStream>, Status> {
        if self.order() != "bundle" {
            return Err(Status::unimplemented("no bundle"));
        }
        let answer = SubscribeToLocalBundleResponse {
            upstream_x509_roots: vec![root(false)],
            upstream_jwt_keys: Vec::new(),
        };
        let answers = stream::once(async { Ok(answer) });
        Ok(Response::new(answers.chain(stream::pending()).boxed()))
    }
}
