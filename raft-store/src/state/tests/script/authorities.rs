//! Commands about authorities, what is above them, and the keys that seal them.

use identity::bundle::{JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use rustls_pki_types::CertificateDer;

use super::line::{Line, trust_domain};
use crate::command::*;
use crate::record::{
    AcmeSecret, AcmeSecretKind, AuthorityKind, AuthorityRecord, AuthorityState, DataKey, Sealed,
};

pub(super) fn key_command(line: &Line<'_>) -> Option<Command> {
    Some(match line.word(0) {
        "data-key" => AddDataKey {
            key: DataKey {
                id: line.word(1).parse().unwrap(),
                wrapped: vec![1],
            },
        }
        .into(),
        "remove-data-key" => RemoveDataKey {
            id: line.word(1).parse().unwrap(),
        }
        .into(),
        "keep-acme" => KeepAcmeSecret {
            secret: AcmeSecret {
                kind: match line.word(1) {
                    "account" => AcmeSecretKind::Account,
                    _ => AcmeSecretKind::Certificate,
                },
                directory_url: "https://ca.example/".into(),
                name: line.word(2).into(),
                chain: line
                    .list("chain")
                    .into_iter()
                    .map(|name| CertificateDer::from(name.as_bytes().to_vec()))
                    .collect(),
                sealed_key: Sealed {
                    nonce: [line.word(2).as_bytes()[0]; 12],
                    ..line.sealed()
                },
            },
            in_place_of: line
                .options
                .get("instead-of")
                .map(|name| [name.as_bytes()[0]; 12]),
        }
        .into(),
        _ => return None,
    })
}

pub(super) fn upstream_command(line: &Line<'_>) -> Option<Command> {
    let trust_domain = trust_domain("example.org");
    let roots = line.marked("roots").map(|(name, tainted)| X509Authority {
        certificate: CertificateDer::from(name.as_bytes().to_vec()),
        tainted,
    });
    let roots: Vec<_> = roots.collect();
    let certificates = roots.iter().map(|root| root.certificate.clone()).collect();
    Some(match line.word(0) {
        "prepare-upstream" => PrepareBelowUpstream {
            authority: authority(AuthorityKind::X509Intermediate, line.word(1).into(), line),
            roots,
            trust_domain,
            at_most: 3,
            only_if_none_is_coming: line.has("if-none"),
        }
        .into(),
        "sync-upstream" => {
            let jwt = line.marked("jwt").map(|(key_id, tainted)| JwtAuthority {
                key_id: key_id.into(),
                public_key: vec![1],
                expires_at: None,
                tainted,
            });
            SyncUpstreamBundle {
                trust_domain,
                x509: roots,
                jwt: jwt.collect(),
            }
            .into()
        }
        "taint-upstream" => TaintUpstreamAuthority {
            trust_domain,
            subject_key_id: line.word(1).into(),
            certificates,
        }
        .into(),
        "revoke-upstream" => RevokeUpstreamAuthority {
            trust_domain,
            subject_key_id: line.word(1).into(),
            certificates,
        }
        .into(),
        _ => return None,
    })
}

pub(super) fn command(line: &Line<'_>) -> Option<Command> {
    let kind = match line.word(1) {
        "root" => AuthorityKind::X509Root,
        "intermediate" => AuthorityKind::X509Intermediate,
        "jwt" => AuthorityKind::Jwt,
        "peer" => AuthorityKind::Peer,
        other => panic!("{other}"),
    };
    let id: Box<str> = line.word(2).into();
    let trust_domain = trust_domain("example.org");
    Some(match line.word(0) {
        "prepare" => PrepareAuthority {
            authority: authority(kind, id, line),
        }
        .into(),
        "successor" => PrepareSuccessor {
            authority: authority(kind, id, line),
            trust_domain,
            at_most: 3,
        }
        .into(),
        "publish" => PublishAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        "activate" => ActivateAuthority { kind, id }.into(),
        "activate-through" => ActivateRoot {
            id,
            intermediate: authority(AuthorityKind::X509Intermediate, line.word(3).into(), line),
        }
        .into(),
        "taint" => TaintAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        "revoke" => RevokeAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        "reseal" => ResealAuthority {
            kind,
            id,
            sealed_key: line.sealed(),
        }
        .into(),
        "remove" => RemoveAuthority {
            kind,
            id,
            trust_domain,
        }
        .into(),
        _ => return None,
    })
}

fn authority(kind: AuthorityKind, id: Box<str>, line: &Line<'_>) -> AuthorityRecord {
    AuthorityRecord {
        kind,
        state: AuthorityState::Active,
        issuer_id: line.options.get("issuer").map(|id| (*id).into()),
        certificate: (kind != AuthorityKind::Jwt)
            .then(|| CertificateDer::from(id.as_bytes().to_vec())),
        public_key: id.as_bytes().to_vec(),
        id,
        issued_at: UnixTime::from_secs(1000),
        not_after: UnixTime::from_secs(9000),
        sealed_key: Some(line.sealed()),
        upstream_chain: line.options.contains_key("chain").then(|| {
            let chain = line.list("chain").into_iter().filter(|name| *name != "-");
            chain
                .map(|name| CertificateDer::from(name.as_bytes().to_vec()))
                .collect()
        }),
    }
}
