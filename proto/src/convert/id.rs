//! SPIFFE IDs and trust domains on the wire, and the classes that requests demand.

use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::convert::ConvertError;
use crate::spire::api::types;

const PATH_IS_EMPTY: &str = "path is empty";

/// A SPIFFE ID of any trust domain and class.
pub fn spiffe_id(wire: Option<&types::Spiffeid>) -> Result<SpiffeId, ConvertError> {
    let wire = wire.ok_or(ConvertError::MissingId)?;
    let trust_domain = TrustDomain::parse(&wire.trust_domain)?;
    Ok(SpiffeId::from_parts(&trust_domain, &wire.path)?)
}

/// A SPIFFE ID of the own trust domain with a path.
pub fn member_id(
    own: &TrustDomain,
    wire: Option<&types::Spiffeid>,
) -> Result<SpiffeId, ConvertError> {
    let id = spiffe_id(wire)?;
    check_member(own, &id)?;
    Ok(id)
}

/// A SPIFFE ID of the own trust domain that a workload may have.
pub fn workload_id(
    own: &TrustDomain,
    wire: Option<&types::Spiffeid>,
) -> Result<SpiffeId, ConvertError> {
    let id = spiffe_id(wire)?;
    check_workload(own, &id)?;
    Ok(id)
}

/// A SPIFFE ID of the own trust domain that an agent may have.
pub fn agent_id(
    own: &TrustDomain,
    wire: Option<&types::Spiffeid>,
) -> Result<SpiffeId, ConvertError> {
    let id = spiffe_id(wire)?;
    check_agent(own, &id)?;
    Ok(id)
}

/// Refuses an id that is not of the own trust domain or has no path.
pub fn check_member(own: &TrustDomain, id: &SpiffeId) -> Result<(), ConvertError> {
    check_class(own, id, "a member of")
}

/// Refuses an id that a workload of the own trust domain cannot have: the path is empty or reserved.
pub fn check_workload(own: &TrustDomain, id: &SpiffeId) -> Result<(), ConvertError> {
    const CLASS: &str = "a workload in";
    check_class(own, id, CLASS)?;
    if id.is_reserved() {
        return Err(class_error(id, CLASS, "path is in the reserved namespace"));
    }
    Ok(())
}

/// Refuses an id that an agent of the own trust domain cannot have.
pub fn check_agent(own: &TrustDomain, id: &SpiffeId) -> Result<(), ConvertError> {
    const CLASS: &str = "an agent in";
    check_class(own, id, CLASS)?;
    if !id.is_agent() {
        return Err(class_error(id, CLASS, "path is not in the agent namespace"));
    }
    Ok(())
}

/// The wire form.
pub fn to_wire(id: &SpiffeId) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: id.trust_domain().as_str().to_owned(),
        path: id.path().to_owned(),
    }
}

fn check_class(own: &TrustDomain, id: &SpiffeId, class: &'static str) -> Result<(), ConvertError> {
    if id.trust_domain() != own {
        return Err(ConvertError::Foreign {
            id: id.clone(),
            own: own.clone(),
        });
    }
    if id.path().is_empty() {
        return Err(class_error(id, class, PATH_IS_EMPTY));
    }
    Ok(())
}

fn class_error(id: &SpiffeId, class: &'static str, reason: &'static str) -> ConvertError {
    ConvertError::Class {
        id: id.clone(),
        class,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(trust_domain: &str, path: &str) -> types::Spiffeid {
        types::Spiffeid {
            trust_domain: trust_domain.to_owned(),
            path: path.to_owned(),
        }
    }

    fn own() -> TrustDomain {
        TrustDomain::parse("example.org").unwrap()
    }

    type Check = fn(&TrustDomain, Option<&types::Spiffeid>) -> Result<SpiffeId, ConvertError>;

    fn refused(check: Check, trust_domain: &str, path: &str, expected: &str) {
        let error = check(&own(), Some(&wire(trust_domain, path))).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn trust_domain_is_taken_in_both_forms() {
        for name in ["example.org", "spiffe://example.org"] {
            let id = spiffe_id(Some(&wire(name, "/web"))).unwrap();
            assert_eq!(id.as_str(), "spiffe://example.org/web");
            assert_eq!(to_wire(&id), wire("example.org", "/web"));
        }
    }

    #[test]
    fn absent_id_is_asked_for() {
        assert_eq!(spiffe_id(None), Err(ConvertError::MissingId));
        assert_eq!(
            ConvertError::MissingId.to_string(),
            "request must specify SPIFFE ID"
        );
    }

    #[test]
    fn broken_syntax_is_named() {
        let check: Check = workload_id;
        refused(check, "", "/w", "trust domain is missing");
        refused(
            check,
            "Example.org",
            "/w",
            "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores",
        );
        refused(check, "example.org", "w", "path must have a leading slash");
        refused(
            check,
            "example.org",
            "/w/",
            "path cannot have a trailing slash",
        );
        refused(
            check,
            "example.org",
            "/w//x",
            "path cannot contain empty segments",
        );
        refused(
            check,
            "example.org",
            "/w/../x",
            "path cannot contain dot segments",
        );
        refused(
            check,
            "example.org",
            "/ü",
            "path segment characters are limited to letters, numbers, dots, dashes, and underscores",
        );
    }

    #[test]
    fn ids_of_another_trust_domain_are_foreign_to_every_class() {
        for check in [member_id as Check, workload_id, agent_id] {
            refused(
                check,
                "other.test",
                "/x",
                r#""spiffe://other.test/x" is not a member of trust domain "example.org""#,
            );
        }
    }

    #[test]
    fn wrong_class_is_explained() {
        refused(
            workload_id,
            "example.org",
            "",
            r#""spiffe://example.org" is not a workload in trust domain "example.org"; path is empty"#,
        );
        refused(
            workload_id,
            "example.org",
            "/spire/server",
            r#""spiffe://example.org/spire/server" is not a workload in trust domain "example.org"; path is in the reserved namespace"#,
        );
        refused(
            agent_id,
            "example.org",
            "/not-an-agent",
            r#""spiffe://example.org/not-an-agent" is not an agent in trust domain "example.org"; path is not in the agent namespace"#,
        );
        refused(
            member_id,
            "example.org",
            "",
            r#""spiffe://example.org" is not a member of trust domain "example.org"; path is empty"#,
        );
    }

    #[test]
    fn right_class_is_accepted() {
        let agent = wire("example.org", "/spire/agent/join_token/x");
        assert!(agent_id(&own(), Some(&agent)).is_ok());
        assert!(member_id(&own(), Some(&agent)).is_ok());
        assert!(workload_id(&own(), Some(&wire("example.org", "/spireling"))).is_ok());
    }
}
