//! Keys from a file with a SPIFFE bundle.

use std::{io, path::Path};

use identity::{
    bundle::{Bundle, JwtAuthority, MAX_JWKS_LEN_BYTES},
    trust_domain::TrustDomain,
};
use tokio::io::AsyncReadExt as _;

use super::PollError;

/// The JWT authorities in the file.
pub(super) async fn poll(path: &Path) -> Result<Vec<JwtAuthority>, PollError> {
    let file = tokio::fs::File::open(path).await?;
    let mut document = Vec::new();
    let limit = u64::try_from(MAX_JWKS_LEN_BYTES).map_err(io::Error::other)? + 1;
    file.take(limit).read_to_end(&mut document).await?;
    // The document does not say whose keys it holds, and nothing here depends on it.
    let unnamed = TrustDomain::parse("unnamed").expect("invariant: a valid name");
    Ok(Bundle::from_spiffe_jwks(&unnamed, &document)?.jwt_authorities)
}
