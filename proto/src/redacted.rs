//! `Debug` for the messages that hold a private key or a bearer token: it names the message and
//! shows what identifies it, never the secret.

use std::fmt;

use crate::conclave::cluster;
use crate::spire::{api, hostservice, plugin as plugins, service};
use crate::{envoy, plugin, spiffe, workload};

macro_rules! redact {
    ($message:ty, $name:literal, [$($shown:ident),*]) => {
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name)
                    $(.field(stringify!($shown), &self.$shown))*
                    .finish_non_exhaustive()
            }
        }
    };
}

redact!(workload::Jwtsvid, "Jwtsvid", [spiffe_id, hint]);
redact!(workload::Witsvid, "Witsvid", [spiffe_id, hint]);
redact!(workload::X509svid, "X509svid", [spiffe_id, hint]);
redact!(
    workload::ValidateJwtsvidRequest,
    "ValidateJwtsvidRequest",
    [audience]
);
redact!(cluster::v1::Invite, "Invite", [addresses]);
redact!(cluster::v1::PeerIdentity, "PeerIdentity", [member_id]);
redact!(envoy::config::core::v3::DataSource, "DataSource", []);
redact!(
    envoy::service::discovery::v3::DiscoveryResponse,
    "DiscoveryResponse",
    [version_info, type_url, nonce]
);
redact!(spiffe::broker::Jwtsvid, "Jwtsvid", [spiffe_id, hint]);
redact!(spiffe::broker::X509svid, "X509svid", [spiffe_id, hint]);
redact!(
    cluster::v1::CreateInviteResponse,
    "CreateInviteResponse",
    [expires_at]
);
redact!(
    api::agent::delegatedidentity::v1::X509svidWithKey,
    "X509svidWithKey",
    [x509_svid]
);
redact!(
    api::server::agent::v1::CreateJoinTokenRequest,
    "CreateJoinTokenRequest",
    [ttl, agent_id]
);
redact!(api::types::AttestationData, "AttestationData", [r#type]);
redact!(
    api::types::Jwtsvid,
    "Jwtsvid",
    [id, expires_at, issued_at, hint]
);
redact!(api::types::JoinToken, "JoinToken", [expires_at]);
redact!(plugin::StdioData, "StdioData", [channel]);
redact!(
    hostservice::server::identityprovider::v1::X509Identity,
    "X509Identity",
    []
);
redact!(plugins::agent::nodeattestor::v1::Challenge, "Challenge", []);
redact!(
    plugins::agent::nodeattestor::v1::PayloadOrChallengeResponse,
    "PayloadOrChallengeResponse",
    []
);
redact!(
    plugins::server::nodeattestor::v1::AttestRequest,
    "AttestRequest",
    []
);
redact!(
    plugins::server::nodeattestor::v1::AttestResponse,
    "AttestResponse",
    []
);
redact!(
    service::common::config::v1::ConfigureRequest,
    "ConfigureRequest",
    [core_configuration]
);
redact!(
    service::common::config::v1::ValidateRequest,
    "ValidateRequest",
    [core_configuration]
);

#[cfg(test)]
mod tests {
    use super::workload;

    #[test]
    fn debug_of_an_svid_shows_its_identity_but_not_its_key() {
        let response = workload::X509svidResponse {
            svids: vec![workload::X509svid {
                spiffe_id: "spiffe://example.org/web".to_owned(),
                x509_svid_key: b"very secret".to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let shown = format!("{response:?}");
        assert!(shown.contains("spiffe://example.org/web"), "{shown}");
        assert!(!shown.contains("key"), "{shown}");
    }
}
