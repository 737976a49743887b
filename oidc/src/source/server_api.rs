//! Keys from a server's socket for administrators.

use std::path::Path;

use daemon::{supervisor::chain, unix};
use identity::bundle::JwtAuthority;
use proto::{
    convert,
    spire::api::{
        server::bundle::v1::{GetBundleRequest, bundle_client::BundleClient},
        types::BundleMask,
    },
};
use tracing::warn;

use super::PollError;

/// The JWT authorities of the server's trust domain. A key that does not parse is left out alone.
pub(super) async fn poll(socket: &Path) -> Result<Vec<JwtAuthority>, PollError> {
    let mut client = BundleClient::new(unix::connect(socket).await?);
    let request = GetBundleRequest {
        output_mask: Some(BundleMask {
            jwt_authorities: true,
            ..BundleMask::default()
        }),
    };
    let answer = client.get_bundle(request).await.map_err(Box::new)?;
    let keys = answer.into_inner().jwt_authorities;
    let read = keys.into_iter().filter_map(|key| {
        let kid = key.key_id.clone();
        match convert::bundle::jwt_authorities(&[key]) {
            Ok(mut authorities) => authorities.pop(),
            Err(error) => {
                warn!(error = %chain(&error), kid, "Malformed public key in bundle");
                None
            }
        }
    });
    Ok(read.collect())
}
