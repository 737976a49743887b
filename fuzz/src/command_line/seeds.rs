//! Good answers to every command, no answer, and refusals.

use std::time::Duration;

use daemon::command_line::{FAILURE, SUCCESS};
use identity::clock::{Clock as _, SystemClock};
use identity::testing::TestAuthority;
use prost::Message;
use proto::grpc::health::v1::HealthCheckResponse;
use proto::spire::api::types;
use proto::workload;

use super::{COMMANDS, executed, server_answers};
use crate::foreign::{refused, said};
use crate::input::join;
use crate::world::OWN;

/// Each command with nothing, a refusal, and a good answer, both for people and in JSON.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, command) in (0..).zip(COMMANDS.iter()) {
        let is_of_agent = command.program.name.ends_with("agent");
        let good: Vec<_> = match is_of_agent {
            true => of_agents(command.words),
            false => server_answers::of(command.words, command.flags),
        };
        // A stream is one answer.
        let answers: Vec<_> = match command.words {
            "cluster backup" => vec![said(&good)],
            _ => good.iter().map(|message| said([message])).collect(),
        };
        let good = [0, 1].map(|form| join(&[number, form], &answers));
        let codes = good.each_ref().map(|seed| executed(seed));
        let expected = match TELL_OF_A_FAILURE.contains(&command.words) {
            // In JSON the document says what failed.
            true => [FAILURE, SUCCESS],
            false => [SUCCESS; 2],
        };
        assert_eq!(codes, expected, "{} {}", command.words, command.flags);
        seeds.extend(good);
        seeds.push(join(&[number, 0], [said([[]])]));
        seeds.push(join(&[number, 0], [refused(7, "no")]));
    }
    seeds
}

/// Commands whose good answer is the result of a batch of one that failed.
const TELL_OF_A_FAILURE: [&str; 8] = [
    "bundle delete",
    "bundle set",
    "entry create",
    "entry delete",
    "entry update",
    "federation create",
    "federation delete",
    "federation update",
];

fn of_agents(words: &str) -> Vec<Vec<u8>> {
    // Files are written of what is valid at the system's time.
    let authority = TestAuthority::new(OWN.as_str());
    let now = SystemClock.now();
    let svid =
        authority.x509_svid_between("/w", now, now.saturating_add(Duration::from_secs(86_400)));
    let root = authority.bundle().x509_authorities[0].certificate.to_vec();
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

/// Of both programs.
pub(super) fn level() -> Vec<u8> {
    types::Logger {
        current_level: types::LogLevel::Info.into(),
        launch_level: types::LogLevel::Warn.into(),
    }
    .encode_to_vec()
}

pub(super) fn health() -> Vec<u8> {
    HealthCheckResponse { status: 1 }.encode_to_vec()
}
