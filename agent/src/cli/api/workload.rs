//! A client of the Workload API.

use std::{path::Path, time::Duration};

use daemon::{
    command_line::{DialTarget, OutputFormat, RpcError, dial},
    flags::{FlagSet, Parsed},
};
use proto::workload::{
    X509svidRequest, X509svidResponse, spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use crate::cli::SOCKET;

pub(super) type WorkloadClient = SpiffeWorkloadApiClient<Channel>;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The flags that every command has which asks once.
pub(super) fn flags(command: &'static str) -> FlagSet {
    OutputFormat::flag(SOCKET.flags(FlagSet::new(command))).duration_value(
        "timeout",
        DEFAULT_TIMEOUT,
        "How long to wait for the answer.",
    )
}

/// Does what `work` does, for as long as `-timeout` allows.
pub(super) async fn within_timeout<T>(
    parsed: &Parsed,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::time::timeout(parsed.duration("timeout"), work)
        .await
        .unwrap_or_else(|_elapsed| Err(RpcError::deadline_exceeded().into()))
}

/// A client of the socket that the flags name.
pub(super) async fn connect(parsed: &Parsed) -> anyhow::Result<WorkloadClient> {
    connect_to(&SOCKET.resolve(parsed)?).await
}

/// A client of the socket at `path`.
pub(super) async fn connect_to(path: &Path) -> anyhow::Result<WorkloadClient> {
    let channel = dial(path, DialTarget::Path).await?;
    // An answer holds all SVIDs and bundles of the workload and has no pages.
    Ok(WorkloadClient::new(channel).max_decoding_message_size(MAX_ANSWER_LEN_BYTES))
}

const MAX_ANSWER_LEN_BYTES: usize = 64 * 1024 * 1024;

/// A request with the header that proves that it was not sent by a browser (SPIFFE Workload Endpoint §5).
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", header);
    request
}

/// The first answer of a stream of X.509-SVIDs.
pub(super) async fn first_x509_svids(
    client: &mut WorkloadClient,
) -> Result<X509svidResponse, RpcError> {
    let stream = client.fetch_x509svid(request(X509svidRequest {})).await?;
    let first = stream.into_inner().message().await?;
    first.ok_or_else(|| Status::unknown("EOF").into())
}
