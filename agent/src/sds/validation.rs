//! How an Envoy validates its peers, which depends on what it says of itself.

use daemon::number::parse_bool;
use prost_types::value::Kind;
use proto::envoy::config::core::v3::Node;
use proto::envoy::config::core::v3::node::UserAgentVersionType;

/// The form of a validation context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Validation {
    /// Envoy's SPIFFE validator: an SVID is checked by the bundle of its own trust domain.
    Spiffe,
    /// Certificates in PEM, each of which vouches for every name.
    Pem,
}

/// What an operator writes into the metadata of an Envoy that must not use the SPIFFE validator.
const DISABLE_KEY: &str = "disable_spiffe_cert_validation";

/// The last version of Envoy that has no SPIFFE validator that can be relied on.
const LAST_WITHOUT: (u32, u32) = (1, 17);

impl Validation {
    /// The form for `node`; `default` is the agent's setting, which the node's metadata overrides.
    pub(super) fn of(node: Option<&Node>, default: Self) -> Self {
        let wanted = node.and_then(override_of).unwrap_or(default);
        match node.is_some_and(is_too_old) {
            true => Self::Pem,
            false => wanted,
        }
    }
}

/// What the metadata says; anything but a truth value says nothing.
fn override_of(node: &Node) -> Option<Validation> {
    let value = node.metadata.as_ref()?.fields.get(DISABLE_KEY)?;
    let is_disabled = match value.kind.as_ref()? {
        Kind::BoolValue(value) => *value,
        Kind::StringValue(text) => parse_bool(text)?,
        Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => {
            return None;
        }
    };
    Some(match is_disabled {
        true => Validation::Pem,
        false => Validation::Spiffe,
    })
}

/// An Envoy that does not tell its version counts as a new one.
fn is_too_old(node: &Node) -> bool {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type
    else {
        return false;
    };
    let version = build.version.unwrap_or_default();
    (version.major_number, version.minor_number) <= LAST_WITHOUT
}

#[cfg(test)]
mod tests {
    use prost_types::{Struct, Value};
    use proto::envoy::config::core::v3::BuildVersion;
    use proto::envoy::r#type::v3::SemanticVersion;

    use super::*;

    fn node(kind: Option<Kind>, version: Option<(u32, u32)>) -> Node {
        let metadata = kind.map(|kind| Struct {
            fields: [(DISABLE_KEY.to_owned(), Value { kind: Some(kind) })].into(),
        });
        let build = |(major_number, minor_number)| {
            UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
                version: Some(SemanticVersion {
                    major_number,
                    minor_number,
                    patch: 9,
                }),
            })
        };
        Node {
            metadata,
            user_agent_version_type: version.map(build),
            ..Node::default()
        }
    }

    #[test]
    fn metadata_goes_before_the_setting() {
        let (spiffe, pem) = (Validation::Spiffe, Validation::Pem);
        assert_eq!(Validation::of(None, spiffe), spiffe);
        assert_eq!(Validation::of(None, pem), pem);
        let check = |kind: Kind, default, expected| {
            let found = Validation::of(Some(&node(Some(kind.clone()), None)), default);
            assert_eq!(found, expected, "{kind:?} over {default:?}");
        };
        check(Kind::BoolValue(true), spiffe, pem);
        check(Kind::BoolValue(false), pem, spiffe);
        check(Kind::StringValue("True".to_owned()), spiffe, pem);
        check(Kind::StringValue("0".to_owned()), pem, spiffe);
        check(Kind::StringValue("yes".to_owned()), spiffe, spiffe);
        check(Kind::NumberValue(1.0), spiffe, spiffe);
        check(Kind::NullValue(0), pem, pem);
    }

    #[test]
    fn old_envoys_get_pem_whatever_they_say() {
        let no = Some(Kind::BoolValue(false));
        for (version, expected) in [
            (None, Validation::Spiffe),
            (Some((1, 17)), Validation::Pem),
            (Some((0, 30)), Validation::Pem),
            (Some((1, 18)), Validation::Spiffe),
            (Some((2, 0)), Validation::Spiffe),
        ] {
            let node = node(no.clone(), version);
            assert_eq!(
                Validation::of(Some(&node), Validation::Spiffe),
                expected,
                "{version:?}"
            );
        }
    }
}
