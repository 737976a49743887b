//! Owns the Debug service: what this server says of itself.

use proto::convert;
use proto::spire::api::server::debug::v1::debug_server::Debug;
use proto::spire::api::server::debug::v1::get_info_response::Cert;
use proto::spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse};
use tonic::{Request, Response, Status};

use crate::self_report::{Link, SelfReport};

/// The Debug service.
#[derive(Clone, Debug)]
pub struct DebugApi {
    report: SelfReport,
}

impl DebugApi {
    /// The service over `report`.
    pub fn new(report: SelfReport) -> Self {
        Self { report }
    }
}

#[tonic::async_trait]
impl Debug for DebugApi {
    async fn get_info(
        &self,
        _request: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        let counts = self.report.counts();
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Response::new(GetInfoResponse {
            svid_chain: self.report.svid_chain().iter().map(certificate).collect(),
            uptime: i32::try_from(self.report.uptime().as_secs()).unwrap_or(i32::MAX),
            agents_count: count(counts.agents),
            entries_count: count(counts.entries),
            // SPIRE counts the own one, too, whatever the field is called.
            federated_bundles_count: count(counts.bundles),
        }))
    }
}

fn certificate(link: &Link) -> Cert {
    Cert {
        id: link.spiffe_id.as_ref().map(convert::id::to_wire),
        expires_at: link.not_after.as_secs(),
        subject: link.subject.clone(),
    }
}
