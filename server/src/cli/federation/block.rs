//! A relationship as operators read it.

use proto::spire::api::types::{
    FederationRelationship, federation_relationship::BundleEndpointProfile,
};

/// The lines of a relationship.
pub(super) fn block(relationship: &FederationRelationship) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        text.push_str(&format!("{label:<26}: {value}\n"));
    };
    line("Trust domain", &relationship.trust_domain);
    line("Bundle endpoint URL", &relationship.bundle_endpoint_url);
    match &relationship.bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsWeb(_)) => line("Bundle endpoint profile", "https_web"),
        Some(BundleEndpointProfile::HttpsSpiffe(profile)) => {
            line("Bundle endpoint profile", "https_spiffe");
            line("Endpoint SPIFFE ID", &profile.endpoint_spiffe_id);
        }
        None => {}
    }
    text
}
