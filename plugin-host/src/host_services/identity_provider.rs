//! Gives a plugin the identity of the server, private key and all, so that it can speak in its name.

use std::sync::Arc;

use proto::convert::plugin_bundle;
use proto::spire::hostservice::server::identityprovider::v1::identity_provider_server as generated;
use proto::spire::hostservice::server::identityprovider::v1::{
    FetchX509IdentityRequest, FetchX509IdentityResponse, X509Identity,
};
use tonic::{Request, Response, Status};

use super::IdentityProvider;

pub(super) struct Service(Arc<dyn IdentityProvider>);

pub(super) fn server(
    identity: Arc<dyn IdentityProvider>,
) -> generated::IdentityProviderServer<Service> {
    generated::IdentityProviderServer::new(Service(identity))
}

#[tonic::async_trait]
impl generated::IdentityProvider for Service {
    async fn fetch_x509_identity(
        &self,
        _: Request<FetchX509IdentityRequest>,
    ) -> Result<Response<FetchX509IdentityResponse>, Status> {
        let (svid, bundle) = self.0.identity().ok_or_else(|| {
            Status::failed_precondition("IdentityProvider host service has not been initialized")
        })?;
        Ok(Response::new(FetchX509IdentityResponse {
            identity: Some(X509Identity {
                cert_chain: svid.chain().iter().map(|der| der.to_vec()).collect(),
                private_key: svid.key().pkcs8().expose().to_vec(),
            }),
            bundle: Some(plugin_bundle(&bundle)),
        }))
    }
}
