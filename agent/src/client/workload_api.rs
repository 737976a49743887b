//! Calls to another Workload API of this host.

use std::path::Path;

use daemon::supervisor::chain;
use identity::trust_domain::TrustDomain;
use proto::workload::X509BundlesRequest;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tonic::Request;
use tonic::metadata::MetadataValue;

/// The authorities of `trust_domain`, concatenated, as the Workload API at `socket` tells them first.
///
/// # Errors
/// It cannot be reached, or has none; in words.
pub async fn first_x509_bundle(
    socket: &Path,
    trust_domain: &TrustDomain,
) -> Result<Vec<u8>, String> {
    let channel = daemon::unix::connect(socket)
        .await
        .map_err(|error| chain(&error))?;
    let mut request = Request::new(X509BundlesRequest {});
    let yes = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", yes);
    let mut answers = SpiffeWorkloadApiClient::new(channel)
        .fetch_x509_bundles(request)
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let answer = answers
        .message()
        .await
        .map_err(|status| status.message().to_owned())?;
    let mut bundles = answer.map(|answer| answer.bundles).unwrap_or_default();
    bundles
        .remove(&trust_domain.id_string())
        .ok_or_else(|| format!("it has no trust bundle for trust domain \"{trust_domain}\""))
}
