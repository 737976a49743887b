//! What a server answers to each of its commands.

use identity::secret::SecretBytes;
use prost::Message;
use proto::conclave::cluster::v1 as cluster;
use proto::conclave::cluster::v1::member_status::{Disk, Role};
use proto::convert;
use proto::spire::api::server::localauthority::v1 as authority;
use proto::spire::api::server::{agent, bundle, debug, entry, svid, trustdomain};
use proto::spire::api::types;
use raft_store::{FileSeal, fuzzing};

use super::SEAL;
use super::seeds::{health, level};
use crate::wire;
use crate::world::AUTHORITY;

/// The answers to the calls of the command with these words and flags, in turn.
pub(super) fn of(words: &str, flags: &str) -> Vec<Vec<u8>> {
    let (topic, action) = words.split_once(' ').unwrap_or((words, ""));
    match topic {
        "agent" => on_agents(action),
        "bundle" => on_bundles(action, flags),
        "cluster" => on_the_cluster(action),
        "entry" => on_entries(action, flags),
        "federation" => on_federation(action),
        "jwt" => vec![minted_token()],
        "x509" => vec![minted_svid(), own_bundle().encode_to_vec()],
        "localauthority" => vec![on_authorities(action)],
        "upstreamauthority" => vec![b"\x0a\x02ab".to_vec()],
        "debug" => vec![debug_info().encode_to_vec()],
        "healthcheck" => vec![health()],
        "logger" => vec![level()],
        "token" => vec![join_token(), Vec::new()],
        topic => panic!("no answer to {topic} {action}"),
    }
}

fn on_agents(action: &str) -> Vec<Vec<u8>> {
    match action {
        "list" | "purge" => vec![
            agent::v1::ListAgentsResponse {
                agents: vec![agent()],
                next_page_token: "c1-1".to_owned(),
            }
            .encode_to_vec(),
            Vec::new(),
        ],
        "show" => vec![agent().encode_to_vec()],
        "count" => vec![count()],
        _ => outcome(),
    }
}

fn on_bundles(action: &str, flags: &str) -> Vec<Vec<u8>> {
    match action {
        "count" => vec![count()],
        "show" => vec![own_bundle().encode_to_vec()],
        "list" if flags.contains("-id") => vec![own_bundle().encode_to_vec()],
        "list" => vec![
            bundle::v1::ListFederatedBundlesResponse {
                bundles: vec![own_bundle()],
                next_page_token: String::new(),
            }
            .encode_to_vec(),
        ],
        "set" => vec![
            bundle::v1::BatchSetFederatedBundleResponse {
                results: vec![bundle::v1::batch_set_federated_bundle_response::Result {
                    status: status(5),
                    bundle: Some(own_bundle()),
                }],
            }
            .encode_to_vec(),
        ],
        _ => outcome(),
    }
}

fn on_the_cluster(action: &str) -> Vec<Vec<u8>> {
    match action {
        "status" | "members" => vec![cluster_status().encode_to_vec()],
        "backup" => {
            use cluster::backup_response::Part;
            let header = cluster::BackupHeader {
                seal_key_path: "/none".to_owned(),
            };
            let parts = [Part::Header(header), Part::Chunk(a_backup())];
            let parts = parts.map(|part| cluster::BackupResponse { part: Some(part) });
            parts.iter().map(Message::encode_to_vec).collect()
        }
        "invite" => vec![
            cluster::CreateInviteResponse {
                invite: "conclave-invite-v1.AAAA".to_owned(),
                expires_at: 1_800_000_000,
            }
            .encode_to_vec(),
        ],
        "rotate-seal" => vec![
            cluster::RotateSealResponse {
                data_key: 2,
                resealed: 3,
                removed_data_keys: vec![1],
                kept_data_keys: vec![0],
            }
            .encode_to_vec(),
        ],
        "leave" => vec![cluster::LeaveResponse { id: 2 }.encode_to_vec()],
        "transfer" => vec![cluster::TransferResponse { leader: 2 }.encode_to_vec()],
        _ => outcome(),
    }
}

/// One of a store with nothing in it.
fn a_backup() -> Vec<u8> {
    let key = SecretBytes::new(vec![8; 32]);
    let backup = fuzzing::backup_of(&[], &key, &FileSeal::at(&SEAL));
    backup.expect("no rows can be written")
}

fn on_entries(action: &str, flags: &str) -> Vec<Vec<u8>> {
    let entry = wire::entry("/w");
    match action {
        "count" => vec![count()],
        "show" if flags.contains("-entryID") => vec![entry.encode_to_vec()],
        "show" => vec![
            entry::v1::ListEntriesResponse {
                entries: vec![entry, wire::entry("/v")],
                next_page_token: "c1-1".to_owned(),
            }
            .encode_to_vec(),
            Vec::new(),
        ],
        "create" => vec![
            entry::v1::BatchCreateEntryResponse {
                results: vec![entry::v1::batch_create_entry_response::Result {
                    status: status(6),
                    entry: Some(entry),
                }],
            }
            .encode_to_vec(),
        ],
        _ => outcome(),
    }
}

fn on_federation(action: &str) -> Vec<Vec<u8>> {
    match action {
        "list" => vec![
            trustdomain::v1::ListFederationRelationshipsResponse {
                federation_relationships: vec![relationship()],
                next_page_token: String::new(),
            }
            .encode_to_vec(),
        ],
        "show" => vec![relationship().encode_to_vec()],
        _ => outcome(),
    }
}

fn minted_token() -> Vec<u8> {
    svid::v1::MintJwtsvidResponse {
        svid: Some(types::Jwtsvid {
            token: "e.y.J".to_owned(),
            expires_at: 1_800_000_000,
            ..types::Jwtsvid::default()
        }),
    }
    .encode_to_vec()
}

fn minted_svid() -> Vec<u8> {
    let svid = AUTHORITY.x509_svid("/w");
    svid::v1::MintX509svidResponse {
        svid: Some(types::X509svid {
            cert_chain: svid.chain().iter().map(|der| der.to_vec()).collect(),
            expires_at: 1_800_000_000,
            ..types::X509svid::default()
        }),
    }
    .encode_to_vec()
}

fn on_authorities(action: &str) -> Vec<u8> {
    if action.ends_with("show") {
        return slots().encode_to_vec();
    }
    // The one field of each of these answers is an authority.
    authority::PrepareX509AuthorityResponse {
        prepared_authority: Some(state()),
    }
    .encode_to_vec()
}

fn join_token() -> Vec<u8> {
    types::JoinToken {
        value: "token".to_owned(),
        expires_at: 1_800_000_000,
    }
    .encode_to_vec()
}

/// The results of a batch of one that failed, or a number.
fn outcome() -> Vec<Vec<u8>> {
    vec![b"\x0a\x09\x0a\x07\x08\x05\x12\x03gon".to_vec(), count()]
}

fn count() -> Vec<u8> {
    b"\x08\x03".to_vec()
}

fn own_bundle() -> types::Bundle {
    convert::bundle::to_wire(&AUTHORITY.bundle(), None)
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
