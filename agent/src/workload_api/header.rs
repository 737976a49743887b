//! The header that proves a Workload API client.

use tonic::Status;
use tonic::metadata::MetadataMap;

/// Refuses a call without the header that no browser or proxy sends by accident (SPIFFE Workload
/// Endpoint §3).
pub(super) fn check_header(metadata: &MetadataMap) -> Result<(), Status> {
    let mut values = metadata.get_all("workload.spiffe.io").iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value.as_bytes() == b"true" => Ok(()),
        _ => Err(Status::invalid_argument(
            "security header missing from request",
        )),
    }
}
