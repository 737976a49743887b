//! Keys from an agent's Workload API, to which the provider is a workload like any other.

use std::path::Path;

use daemon::unix;
use identity::{
    bundle::{JwtAuthority, jwt_authorities_from_jwks},
    trust_domain::TrustDomain,
};
use proto::workload::{JwtBundlesRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tonic::{Request, metadata::MetadataValue};

use super::PollError;

/// The JWT authorities of one trust domain.
pub(super) async fn poll(
    socket: &Path,
    trust_domain: &TrustDomain,
) -> Result<Vec<JwtAuthority>, PollError> {
    let channel = unix::connect(socket).await?;
    let mut client =
        SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_ANSWER_LEN_BYTES);
    let mut request = Request::new(JwtBundlesRequest {});
    // Proves that it was not sent by a browser (SPIFFE Workload Endpoint §5).
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", header);
    let answer = client.fetch_jwt_bundles(request).await.map_err(Box::new)?;
    let first = answer.into_inner().message().await.map_err(Box::new)?;
    let bundles = first.ok_or(PollError::NoAnswer)?.bundles;
    let id = format!("spiffe://{trust_domain}");
    let document = bundles.get(&id).ok_or(PollError::NoBundle(id))?;
    Ok(jwt_authorities_from_jwks(document)?)
}

/// An answer holds the bundles of all trust domains and has no pages.
const MAX_ANSWER_LEN_BYTES: usize = 64 * 1024 * 1024;
