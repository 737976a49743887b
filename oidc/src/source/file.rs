//! Keys from a file with a SPIFFE bundle.

use std::path::Path;

use daemon::bounded_file;
use identity::{
    bundle::{Bundle, JwtAuthority, MAX_JWKS_LEN_BYTES},
    trust_domain::TrustDomain,
};

use super::PollError;

/// The JWT authorities in the file.
pub(super) async fn poll(path: &Path) -> Result<Vec<JwtAuthority>, PollError> {
    let document = bounded_file::read_waiting(path, MAX_JWKS_LEN_BYTES).await?;
    // The document does not say whose keys it holds, and nothing here depends on it.
    let unnamed = TrustDomain::parse("unnamed").expect("invariant: a valid name");
    Ok(Bundle::from_spiffe_jwks(&unnamed, &document)?.jwt_authorities)
}
