//! Commands about bundles and federation.

use identity::bundle::Bundle;
use identity::federation::{
    BundleEndpoint, BundleEndpointUrl, EndpointProfile, FederationRelationship,
};

use super::line::{Line, id, trust_domain};
use crate::command::*;

pub(super) fn command(line: &Line<'_>) -> Option<Command> {
    let sequence = line
        .number("sequence")
        .map(|number| u64::try_from(number).unwrap());
    Some(match line.word(0) {
        "append" => AppendAuthorities {
            trust_domain: trust_domain(line.word(1)),
            x509: line.x509(),
            jwt: line.jwt(),
        }
        .into(),
        "set-bundle" | "create-bundle" => SetFederatedBundle {
            bundle: Bundle {
                trust_domain: trust_domain(line.word(1)),
                x509_authorities: line.x509(),
                jwt_authorities: line.jwt(),
                refresh_hint_s: 0,
                sequence: sequence.unwrap_or(0),
            },
            mode: match line.word(0) {
                "create-bundle" => SetBundleMode::Create,
                _ => SetBundleMode::Set,
            },
        }
        .into(),
        "update-bundle" => UpdateFederatedBundle {
            trust_domain: trust_domain(line.word(1)),
            change: BundleChange {
                sequence,
                ..BundleChange::default()
            },
        }
        .into(),
        "delete-bundle" => DeleteFederatedBundle {
            trust_domain: trust_domain(line.word(1)),
            mode: match line.word(2) {
                "restrict" => DeleteBundleMode::Restrict,
                "dissociate" => DeleteBundleMode::Dissociate,
                "delete" => DeleteBundleMode::Delete,
                other => panic!("{other}"),
            },
        }
        .into(),
        "prune-bundle" => PruneBundle {
            trust_domain: trust_domain(line.word(1)),
            expired_before: line.time("before"),
        }
        .into(),
        _ => return None,
    })
}

pub(super) fn federation_command(line: &Line<'_>) -> Option<Command> {
    let url = || {
        let url = line.options.get("url");
        url.map(|url| BundleEndpointUrl::parse(url).unwrap())
    };
    let profile = || match line.options.get("endpoint") {
        Some(path) => EndpointProfile::HttpsSpiffe {
            endpoint_spiffe_id: id(path),
        },
        None => EndpointProfile::HttpsWeb,
    };
    let bundle = || {
        let given = line.options.contains_key("x509");
        given.then(|| Bundle {
            x509_authorities: line.x509(),
            ..Bundle::empty(trust_domain(line.word(1)))
        })
    };
    Some(match line.word(0) {
        "federate" => CreateRelationship {
            relationship: FederationRelationship {
                trust_domain: trust_domain(line.word(1)),
                endpoint: BundleEndpoint {
                    url: url().unwrap(),
                    profile: profile(),
                },
            },
            bundle: bundle(),
        }
        .into(),
        "refederate" => UpdateRelationship {
            trust_domain: trust_domain(line.word(1)),
            url: url(),
            profile: (line.has("web") || line.options.contains_key("endpoint")).then(profile),
            bundle: bundle(),
        }
        .into(),
        "separate" => DeleteRelationship {
            trust_domain: trust_domain(line.word(1)),
        }
        .into(),
        _ => return None,
    })
}
