//! Whether a server or agent says that it serves.

use std::path::Path;

use proto::grpc::health::v1::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::dial;

/// Asks the process behind a socket once.
///
/// # Errors
/// Nobody answers.
pub async fn is_serving(socket: &Path) -> anyhow::Result<bool> {
    let mut client = HealthClient::new(dial::unix(socket).await?);
    let response = client.check(HealthCheckRequest::default()).await?;
    Ok(response.into_inner().status() == ServingStatus::Serving)
}
