//! Good answers to every command, no answer, and refusals.

use prost::Message;
use proto::conclave::cluster::v1 as cluster;
use proto::conclave::cluster::v1::member_status::{Disk, Role};
use proto::convert;
use proto::grpc::health::v1::HealthCheckResponse;
use proto::spire::api::server::localauthority::v1 as authority;
use proto::spire::api::server::{agent, bundle, debug, entry, svid, trustdomain};
use proto::spire::api::types;
use proto::workload;

use super::COMMANDS;
use crate::foreign::{refused, said};
use crate::input::join;
use crate::wire;
use crate::world::AUTHORITY;

/// Each command with nothing, a refusal, and a good answer, both for people and in JSON.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, command) in (0..).zip(COMMANDS.iter()) {
        let is_of_agent = command.program.name.ends_with("agent");
        let good: Vec<_> = match is_of_agent {
            true => of_agents(command.words),
            false => of_servers(command.words),
        };
        // A stream is one answer.
        let answers: Vec<_> = match command.words {
            "cluster backup" => vec![said(&good)],
            _ => good.iter().map(|message| said([message])).collect(),
        };
        seeds.extend([0, 1].map(|form| join(&[number, form], &answers)));
        seeds.push(join(&[number, 0], [said([[]])]));
        seeds.push(join(&[number, 0], [refused(7, "no")]));
    }
    seeds
}

fn of_agents(words: &str) -> Vec<Vec<u8>> {
    let svid = AUTHORITY.x509_svid("/w");
    let root = AUTHORITY.bundle().x509_authorities[0].certificate.to_vec();
    match words {
        "api fetch" | "api fetch x509" => vec![
            workload::X509svidResponse {
                svids: vec![workload::X509svid {
                    spiffe_id: svid.spiffe_id().to_string(),
                    x509_svid: svid.chain().iter().flat_map(|der| der.to_vec()).collect(),
                    x509_svid_key: svid.key().pkcs8().expose().to_vec(),
                    bundle: root.clone(),
                    hint: "hint".to_owned(),
                }],
                federated_bundles: [("spiffe://other.org".to_owned(), root)].into(),
                ..workload::X509svidResponse::default()
            }
            .encode_to_vec(),
        ],
        "api fetch jwt" => vec![
            workload::JwtBundlesResponse {
                bundles: [("spiffe://example.org".to_owned(), b"{}".to_vec())].into(),
            }
            .encode_to_vec(),
            workload::JwtsvidResponse {
                svids: vec![workload::Jwtsvid {
                    spiffe_id: "spiffe://example.org/w".to_owned(),
                    svid: "e.y.J".to_owned(),
                    hint: "hint".to_owned(),
                }],
            }
            .encode_to_vec(),
        ],
        "api validate jwt" => vec![
            b"\x0a\x16spiffe://example.org/w\x12\x0b\x0a\x09\x0a\x03aud\x12\x02\x1a\x00".to_vec(),
        ],
        // Uptime, numbers, and a certificate of the chain; a level.
        "debug getinfo" => {
            vec![b"\x0a\x0b\x10\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01\x10\x07\x18\x01".to_vec()]
        }
        "healthcheck" => vec![health()],
        _ => vec![level()],
    }
}

fn of_servers(words: &str) -> Vec<Vec<u8>> {
    let entry = wire::entry("/w");
    let bundle = convert::bundle::to_wire(&AUTHORITY.bundle(), None);
    let count = b"\x08\x03".to_vec();
    match words {
        "agent list" | "agent purge" => vec![
            agent::v1::ListAgentsResponse {
                agents: vec![agent()],
                next_page_token: "c1-1".to_owned(),
            }
            .encode_to_vec(),
            Vec::new(),
        ],
        "agent show" => vec![agent().encode_to_vec()],
        "agent count" | "bundle count" | "entry count" => vec![count],
        "bundle show" => vec![bundle.encode_to_vec()],
        "bundle list" => vec![
            bundle::v1::ListFederatedBundlesResponse {
                bundles: vec![bundle],
                next_page_token: String::new(),
            }
            .encode_to_vec(),
        ],
        "bundle set" => vec![
            bundle::v1::BatchSetFederatedBundleResponse {
                results: vec![bundle::v1::batch_set_federated_bundle_response::Result {
                    status: status(5),
                    bundle: Some(bundle),
                }],
            }
            .encode_to_vec(),
        ],
        "cluster status" | "cluster members" => vec![cluster_status().encode_to_vec()],
        "cluster backup" => {
            use cluster::backup_response::Part;
            let header = cluster::BackupHeader {
                seal_key_path: "/none".to_owned(),
            };
            let parts = [Part::Header(header), Part::Chunk(b"backup".to_vec())];
            let parts = parts.map(|part| cluster::BackupResponse { part: Some(part) });
            parts.iter().map(Message::encode_to_vec).collect()
        }
        "cluster invite" => vec![
            cluster::CreateInviteResponse {
                invite: "conclave-invite-v1.AAAA".to_owned(),
                expires_at: 1_800_000_000,
            }
            .encode_to_vec(),
        ],
        "cluster rotate-seal" => vec![
            cluster::RotateSealResponse {
                data_key: 2,
                resealed: 3,
                removed_data_keys: vec![1],
                kept_data_keys: vec![0],
            }
            .encode_to_vec(),
        ],
        "entry show" => vec![
            entry::v1::ListEntriesResponse {
                entries: vec![entry.clone(), wire::entry("/v")],
                next_page_token: "c1-1".to_owned(),
            }
            .encode_to_vec(),
            Vec::new(),
        ],
        "entry create" => vec![
            entry::v1::BatchCreateEntryResponse {
                results: vec![entry::v1::batch_create_entry_response::Result {
                    status: status(6),
                    entry: Some(entry),
                }],
            }
            .encode_to_vec(),
        ],
        "debug getinfo" => vec![debug_info().encode_to_vec()],
        "federation list" => vec![
            trustdomain::v1::ListFederationRelationshipsResponse {
                federation_relationships: vec![relationship()],
                next_page_token: String::new(),
            }
            .encode_to_vec(),
        ],
        "federation show" => vec![relationship().encode_to_vec()],
        "jwt mint" => vec![
            svid::v1::MintJwtsvidResponse {
                svid: Some(types::Jwtsvid {
                    token: "e.y.J".to_owned(),
                    expires_at: 1_800_000_000,
                    ..types::Jwtsvid::default()
                }),
            }
            .encode_to_vec(),
        ],
        "x509 mint" => vec![
            svid::v1::MintX509svidResponse {
                svid: Some(types::X509svid {
                    cert_chain: AUTHORITY
                        .x509_svid("/w")
                        .chain()
                        .iter()
                        .map(|der| der.to_vec())
                        .collect(),
                    expires_at: 1_800_000_000,
                    ..types::X509svid::default()
                }),
            }
            .encode_to_vec(),
            bundle.encode_to_vec(),
        ],
        "healthcheck" => vec![health()],
        words if words.starts_with("localauthority") && words.ends_with("show") => {
            vec![slots().encode_to_vec()]
        }
        // The one field of each of these answers is an authority.
        words if words.starts_with("localauthority") => vec![
            authority::PrepareX509AuthorityResponse {
                prepared_authority: Some(state()),
            }
            .encode_to_vec(),
        ],
        words if words.starts_with("logger") => vec![level()],
        "token generate" => vec![
            types::JoinToken {
                value: "token".to_owned(),
                expires_at: 1_800_000_000,
            }
            .encode_to_vec(),
            Vec::new(),
        ],
        words if words.starts_with("upstreamauthority") => vec![b"\x0a\x02ab".to_vec()],
        // The results of a batch of one that failed, or a number.
        _ => vec![b"\x0a\x09\x0a\x07\x08\x05\x12\x03gon".to_vec(), count],
    }
}

fn status(code: i32) -> Option<types::Status> {
    Some(types::Status {
        code,
        message: "no".to_owned(),
    })
}

fn agent() -> types::Agent {
    types::Agent {
        id: Some(convert::id::to_wire(&AUTHORITY.spiffe_id("/spire/agent/a"))),
        attestation_type: "join_token".to_owned(),
        x509svid_serial_number: "1".to_owned(),
        x509svid_expires_at: 1_700_000_000,
        selectors: wire::entry("/w").selectors,
        banned: true,
        can_reattest: true,
        ..types::Agent::default()
    }
}

fn cluster_status() -> cluster::StatusResponse {
    let member = |id: u64, state_hash: &str, role: Role| cluster::MemberStatus {
        id,
        role: role.into(),
        peer_address: "10.0.0.1:8083".to_owned(),
        api_address: "10.0.0.1:8081".to_owned(),
        program_version: "1.0.0".to_owned(),
        formats_from: 1,
        formats_to: 2,
        is_reachable: true,
        last_contact_ms: Some(3_850_999),
        state_hash: state_hash.to_owned(),
        disk: Disk::Stalled.into(),
        disk_stalled_ms: 4_294_967_295,
        ..cluster::MemberStatus::default()
    };
    cluster::StatusResponse {
        cluster_id: "ab".to_owned(),
        cluster_version: 1,
        answered_by: 1,
        leader: 1,
        term: 4,
        members: vec![
            member(1, "0123456789abcdef", Role::Leader),
            member(2, "é", Role::Learner),
        ],
        quorum: 2,
        waiting: "it waits".to_owned(),
        change: Some(cluster::MembershipChange {
            committed: Some(membership(&[1])),
            pending: Some(membership(&[1, 2])),
            index: 40,
            waits_for: vec![cluster::MissingVoters {
                count: 1,
                members: vec![2],
            }],
        }),
    }
}

fn membership(voters: &[u64]) -> cluster::Membership {
    cluster::Membership {
        voters: voters.to_vec(),
        ..cluster::Membership::default()
    }
}

fn debug_info() -> debug::v1::GetInfoResponse {
    debug::v1::GetInfoResponse {
        uptime: i32::MAX,
        svid_chain: vec![debug::v1::get_info_response::Cert {
            id: wire::entry("/w").spiffe_id,
            expires_at: i64::MIN,
            subject: "O=SPIRE".to_owned(),
        }],
        ..debug::v1::GetInfoResponse::default()
    }
}

fn relationship() -> types::FederationRelationship {
    use types::federation_relationship::BundleEndpointProfile::HttpsSpiffe;
    let profile = types::HttpsspiffeProfile {
        endpoint_spiffe_id: "spiffe://other.org/e".to_owned(),
    };
    types::FederationRelationship {
        trust_domain: "other.org".to_owned(),
        bundle_endpoint_url: "https://other.org/b".to_owned(),
        bundle_endpoint_profile: Some(HttpsSpiffe(profile)),
        trust_domain_bundle: Some(convert::bundle::to_wire(&AUTHORITY.bundle(), None)),
    }
}

fn state() -> authority::AuthorityState {
    authority::AuthorityState {
        authority_id: "id".to_owned(),
        expires_at: 1_800_000_000,
        upstream_authority_subject_key_id: "ab".to_owned(),
    }
}

fn slots() -> authority::GetX509AuthorityStateResponse {
    authority::GetX509AuthorityStateResponse {
        active: Some(state()),
        prepared: None,
        old: Some(state()),
    }
}

/// Of both programs.
fn level() -> Vec<u8> {
    types::Logger {
        current_level: types::LogLevel::Info.into(),
        launch_level: 99,
    }
    .encode_to_vec()
}

fn health() -> Vec<u8> {
    HealthCheckResponse { status: 1 }.encode_to_vec()
}
