//! How a host becomes a member: the text of an invite, the request that proves it, the answer, the identity it keeps.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::clock::UnixTime;
use identity::secret::{KeyType, PrivateKey, SecretBytes};
use identity::testing::TestAuthority;
use identity::x509::generate_csr;
use prost::Message as _;
use proto::conclave::cluster::v1 as wire;
use server::peers::{
    Invite, reads_as_admission, reads_as_application, reads_as_identity, wrapped_seal_key,
};

use crate::input::{Input, plain};
use crate::world::{AUTHORITY, KEY, NOW};

/// A byte that says what follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 6 {
        0 => {
            if let Some(text) = input.text() {
                invite(text);
            }
        }
        1 => invite(&invite_text(input.rest())),
        2 => {
            if let Ok(request) = wire::JoinRequest::decode(input.rest()) {
                reads_as_application(request);
            }
        }
        3 => {
            reads_as_application(wire::JoinRequest {
                parameters: input.rest().to_vec(),
                proof: Vec::new(),
            });
        }
        4 => {
            reads_as_identity(input.rest());
        }
        _ => {
            if let Ok(response) = wire::JoinResponse::decode(input.rest()) {
                answer(response);
            }
        }
    }
}

/// An answer to whoever has [`INVITE`] and [`KEY`].
fn answer(response: wire::JoinResponse) {
    use wire::join_response::Result;
    let told = match &response.result {
        Some(Result::Admitted(admitted)) => Some(admitted.member_id),
        Some(Result::Refused(_)) | None => None,
    };
    match reads_as_admission(&INVITE, KEY.clone(), response) {
        Ok(member_id) => assert_eq!(Some(member_id), told),
        // Three hundred characters of the other's words, and what to do.
        Err(error) => assert!(error.to_string().chars().count() < 600, "{error}"),
    }
}

static INVITE: LazyLock<Invite> = LazyLock::new(|| {
    let text = invite_text(&invite_message());
    text.parse().expect("it is an invite")
});

fn invite(text: &str) {
    let Ok(invite) = text.parse::<Invite>() else {
        return;
    };
    let written = invite.to_text();
    let again: Invite = written.parse().expect("it was an invite");
    assert_eq!(*again.to_text(), *written);
    let shown = format!("{invite:?}");
    let secret = written.rsplit_once('.').map_or("", |(_, secret)| secret);
    assert!(!shown.contains(secret));
}

/// The text of any message, with the check that belongs to it.
fn invite_text(message: &[u8]) -> String {
    let check = digest(&SHA256, message);
    let whole = [message, &check.as_ref()[..4]].concat();
    format!("conclave-invite-v1.{}", URL_SAFE_NO_PAD.encode(whole))
}

fn invite_message() -> Vec<u8> {
    wire::Invite {
        cluster_id: vec![1; 16],
        invite_id: vec![2; 16],
        secret: vec![3; 32],
        authority_spki_sha256: vec![4; 32],
        addresses: vec!["10.0.0.1:8083".to_owned(), "h2:8083".to_owned()],
    }
    .encode_to_vec()
}

/// An invite, a request, answers, an identity.
pub fn seeds() -> Vec<Vec<u8>> {
    let message = invite_message();
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key is made");
    let parameters = wire::JoinParameters {
        cluster_id: vec![1; 16],
        invite_id: vec![2; 16],
        csr: generate_csr(&key, None, &[]).expect("a request is made"),
        peer_address: "10.0.0.2:8083".to_owned(),
        api_address: "10.0.0.2:8081".to_owned(),
        program_version: "1.0.0".to_owned(),
        first_format: 1,
        last_format: 2,
        trust_domain: "example.org".to_owned(),
    };
    let request = wire::JoinRequest {
        parameters: parameters.encode_to_vec(),
        proof: vec![5; 32],
    };
    let svid = AUTHORITY.x509_svid("/member/1");
    let identity = wire::PeerIdentity {
        cluster_id: vec![1; 16],
        member_id: 1,
        private_key: svid.key().pkcs8().expose().to_vec(),
        certificate_chain: svid.chain().iter().map(|one| one.to_vec()).collect(),
        peer_authorities: vec![svid.chain()[1].to_vec()],
        has_started: true,
    };
    vec![
        plain(&[0], invite_text(&message)),
        plain(&[1], message),
        plain(&[2], request.encode_to_vec()),
        plain(&[3], request.parameters),
        plain(&[4], identity.encode_to_vec()),
        plain(&[5], admitted().encode_to_vec()),
        plain(&[5], refused().encode_to_vec()),
    ]
}

fn admitted() -> wire::JoinResponse {
    let cluster = TestAuthority::at(&format!("peers.{}", "01".repeat(16)), NOW);
    let end = UnixTime::from_secs(NOW.as_secs() + 60);
    let chain = cluster.chain_for("/member/3", KEY.public_key_der(), NOW, end);
    let seal_key = SecretBytes::new(vec![7; 32]);
    let admitted = wire::Admitted {
        member_id: 3,
        certificate_chain: chain.iter().map(|der| der.to_vec()).collect(),
        peer_authorities: vec![chain[1].to_vec()],
        wrapped_seal_key: wrapped_seal_key(&INVITE, &seal_key).expect("a key is wrapped"),
    };
    wire::JoinResponse {
        result: Some(wire::join_response::Result::Admitted(admitted)),
    }
}

fn refused() -> wire::JoinResponse {
    let refused = wire::Refused {
        reason: wire::refused::Reason::Expired.into(),
        detail: "the invite has expired".to_owned(),
    };
    wire::JoinResponse {
        result: Some(wire::join_response::Result::Refused(refused)),
    }
}
