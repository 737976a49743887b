//! What the agent says about itself.

use identity::x509::CertificateInfo;
use identity::x509_svid::X509Svid;
use proto::convert;
use proto::spire::agent::debug::v1::debug_server::{Debug, DebugServer};
use proto::spire::agent::debug::v1::get_info_response::Cert;
use proto::spire::agent::debug::v1::{GetInfoRequest, GetInfoResponse};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::About;
use crate::endpoints::{MAX_REQUEST_LEN_BYTES, Parts};

pub(super) fn server(parts: Parts, about: About) -> DebugServer<Service> {
    let service = Service { parts, about };
    DebugServer::new(service).max_decoding_message_size(MAX_REQUEST_LEN_BYTES)
}

pub(super) struct Service {
    parts: Parts,
    about: About,
}

#[tonic::async_trait]
impl Debug for Service {
    async fn get_info(
        &self,
        _request: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        Ok(Response::new(self.info()))
    }
}

impl Service {
    fn info(&self) -> GetInfoResponse {
        let Self { parts, about } = self;
        let x509_svids = count(parts.cache.counts().x509_svids);
        let last_sync = about.last_sync.lock().map_or(0, |at| {
            let ago = Instant::now().saturating_duration_since(at);
            parts.clock.now().saturating_sub(ago).as_secs()
        });
        let uptime = about.started.elapsed().as_secs();
        #[expect(deprecated, reason = "older clients read it")]
        GetInfoResponse {
            svid_chain: self.svid_chain(),
            uptime: i32::try_from(uptime).unwrap_or(i32::MAX),
            svids_count: x509_svids,
            last_sync_success: last_sync,
            cached_x509_svids_count: x509_svids,
            cached_jwt_svids_count: count(parts.jwt_svids.count()),
            // Nothing is stored outside of the agent.
            cached_svidstore_x509_svids_count: 0,
        }
    }

    /// The agent's certificates up to the root.
    fn svid_chain(&self) -> Vec<Cert> {
        let material = self.about.material.load();
        let sent = material.svid().map_or(&[][..], X509Svid::chain);
        let mut chain: Vec<_> = sent
            .iter()
            .filter_map(|certificate| CertificateInfo::parse(certificate).ok())
            .collect();
        let roots = material.bundle(&self.parts.config.trust_domain);
        let mut roots = roots
            .into_iter()
            .flat_map(|bundle| &bundle.x509_authorities)
            .filter_map(|root| CertificateInfo::parse(&root.certificate).ok());
        let issuer = chain.last().and_then(|last| last.authority_key_id.clone());
        let root =
            roots.find(|root| root.subject_key_id.is_some() && root.subject_key_id == issuer);
        chain.extend(root);
        chain.iter().map(cert).collect()
    }
}

fn cert(certificate: &CertificateInfo) -> Cert {
    Cert {
        id: certificate
            .spiffe_id()
            .ok()
            .map(|id| convert::id::to_wire(&id)),
        expires_at: certificate.not_after.as_secs(),
        subject: certificate.subject_text(),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
