//! Federation relationships on the wire. A bundle that comes with one is the trust domain's own.

use identity::bundle::Bundle;
use identity::federation::{
    BundleEndpoint, BundleEndpointUrl, EndpointProfile, FederationRelationship,
};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::convert::error::InPart as _;
use crate::convert::{ConvertError, bundle};
use crate::spire::api::types;
use types::federation_relationship::BundleEndpointProfile as WireProfile;

/// The mask that chooses every field.
pub const EVERY_FIELD: types::FederationRelationshipMask = types::FederationRelationshipMask {
    bundle_endpoint_url: true,
    bundle_endpoint_profile: true,
    trust_domain_bundle: true,
};

/// The trust domain that a request names, as a name or in the `spiffe://` form.
pub fn trust_domain(name: &str) -> Result<TrustDomain, ConvertError> {
    TrustDomain::parse(name).in_part("failed to parse trust domain")
}

/// A relationship from an administrator, with the bundle that it brings.
pub fn new(
    wire: &types::FederationRelationship,
) -> Result<(FederationRelationship, Option<Bundle>), ConvertError> {
    const WHAT: &str = "failed to convert federation relationship";
    parse(wire).in_part(WHAT)
}

/// The wire form, cut to the fields of the mask; the trust domain is always there.
pub fn to_wire(
    relationship: &FederationRelationship,
    bundle: Option<&Bundle>,
    mask: Option<&types::FederationRelationshipMask>,
) -> types::FederationRelationship {
    let mask = mask.unwrap_or(&EVERY_FIELD);
    let BundleEndpoint { url, profile } = &relationship.endpoint;
    types::FederationRelationship {
        trust_domain: relationship.trust_domain.as_str().to_owned(),
        bundle_endpoint_url: match mask.bundle_endpoint_url {
            true => url.as_str().to_owned(),
            false => String::new(),
        },
        bundle_endpoint_profile: mask
            .bundle_endpoint_profile
            .then(|| profile_to_wire(profile)),
        trust_domain_bundle: bundle
            .filter(|_| mask.trust_domain_bundle)
            .map(|bundle| bundle::to_wire(bundle, None)),
    }
}

/// The checks come in SPIRE's order, for the first one that fails is what a caller sees.
fn parse(
    wire: &types::FederationRelationship,
) -> Result<(FederationRelationship, Option<Bundle>), ConvertError> {
    let trust_domain = trust_domain(&wire.trust_domain)?;
    let endpoint = BundleEndpoint {
        url: BundleEndpointUrl::parse(&wire.bundle_endpoint_url)?,
        profile: profile(wire.bundle_endpoint_profile.as_ref())?,
    };
    let bundle = wire.trust_domain_bundle.as_ref();
    let bundle = bundle
        .map(|wire| bundle_of(&trust_domain, wire))
        .transpose()?;
    let relationship = FederationRelationship {
        trust_domain,
        endpoint,
    };
    Ok((relationship, bundle))
}

fn profile(wire: Option<&WireProfile>) -> Result<EndpointProfile, ConvertError> {
    match wire {
        Some(WireProfile::HttpsWeb(_)) => Ok(EndpointProfile::HttpsWeb),
        Some(WireProfile::HttpsSpiffe(profile)) => Ok(EndpointProfile::HttpsSpiffe {
            endpoint_spiffe_id: SpiffeId::parse(&profile.endpoint_spiffe_id)
                .in_part("failed to parse endpoint SPIFFE ID")?,
        }),
        None => Err(ConvertError::NoEndpointProfile),
    }
}

fn profile_to_wire(profile: &EndpointProfile) -> WireProfile {
    match profile {
        EndpointProfile::HttpsWeb => WireProfile::HttpsWeb(types::HttpsWebProfile {}),
        EndpointProfile::HttpsSpiffe { endpoint_spiffe_id } => {
            WireProfile::HttpsSpiffe(types::HttpsspiffeProfile {
                endpoint_spiffe_id: endpoint_spiffe_id.to_string(),
            })
        }
    }
}

fn bundle_of(trust_domain: &TrustDomain, wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let bundle = bundle::administered(wire).in_part("failed to parse bundle")?;
    if bundle.trust_domain != *trust_domain {
        return Err(ConvertError::ForeignBundle {
            bundle: bundle.trust_domain,
            relationship: trust_domain.clone(),
        });
    }
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(url: &str, profile: Option<WireProfile>) -> types::FederationRelationship {
        types::FederationRelationship {
            trust_domain: "a.test".to_owned(),
            bundle_endpoint_url: url.to_owned(),
            bundle_endpoint_profile: profile,
            trust_domain_bundle: None,
        }
    }

    fn spiffe(id: &str) -> WireProfile {
        WireProfile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: id.to_owned(),
        })
    }

    fn web() -> WireProfile {
        WireProfile::HttpsWeb(types::HttpsWebProfile {})
    }

    #[test]
    fn relationships_survive_the_way_there_and_back() {
        for profile in [web(), spiffe("spiffe://other.test/s")] {
            let sent = types::FederationRelationship {
                trust_domain_bundle: Some(types::Bundle {
                    trust_domain: "a.test".to_owned(),
                    refresh_hint: 60,
                    ..types::Bundle::default()
                }),
                ..wire("https://a.test:8443/b", Some(profile))
            };
            let (relationship, bundle) = new(&sent).unwrap();
            assert_eq!(to_wire(&relationship, bundle.as_ref(), None), sent);
            let masked = to_wire(&relationship, bundle.as_ref(), Some(&<_>::default()));
            assert_eq!(
                masked,
                types::FederationRelationship {
                    trust_domain: "a.test".to_owned(),
                    ..<_>::default()
                }
            );
        }
    }

    #[test]
    fn broken_rules_are_told_in_order() {
        let check = |wire: &types::FederationRelationship, expected: &str| {
            let error = new(wire).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("failed to convert federation relationship: {expected}")
            );
        };
        let mut other = wire("x", None);
        other.trust_domain.clear();
        check(
            &other,
            "failed to parse trust domain: trust domain is missing",
        );
        check(
            &wire("x", None),
            "bundle endpoint URL must use the https scheme",
        );
        check(
            &wire("https://a/", None),
            "unsupported bundle endpoint profile type: <nil>",
        );
        check(
            &wire("https://a/", Some(spiffe(""))),
            "failed to parse endpoint SPIFFE ID: cannot be empty",
        );
        let mut foreign = wire("https://a/", Some(web()));
        foreign.trust_domain_bundle = Some(types::Bundle {
            trust_domain: "b.test".to_owned(),
            ..types::Bundle::default()
        });
        check(
            &foreign,
            "trust domain bundle (\"b.test\") must match the trust domain of the federation \
             relationship (\"a.test\")",
        );
        foreign.trust_domain_bundle = Some(types::Bundle {
            trust_domain: "a.test".to_owned(),
            x509_authorities: vec![types::X509Certificate {
                asn1: b"x".to_vec(),
                tainted: false,
            }],
            ..types::Bundle::default()
        });
        check(
            &foreign,
            "failed to parse bundle: unable to parse X.509 authority: x509: malformed certificate",
        );
    }
}
