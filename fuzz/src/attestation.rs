//! Evidence of nodes: join tokens, `x509pop` in both directions, and where an agent has its own from.

use std::sync::LazyLock;

use agent::attest::NodeAttestor as _;
use agent::attest::x509pop::{Source, X509Pop};
use identity::pem::{encode_certificates, encode_private_key};
use identity::possession::{Proof, ProofKind, ProvingKey, proof_kind, verify_proof};
use identity::spiffe_id::SpiffeId;
use identity::x509::CertificateInfo;
use prost::Message as _;
use proto::attestation::x509pop::{Challenge, Evidence, NONCE_LEN_BYTES, Response, signed_message};
use proto::workload::{X509svid, X509svidResponse};

use crate::foreign::{Answer, Stranger, said};
use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, KEY, OWN, alone, in_time, written};

/// A byte that says what follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 8 {
        0 => evidence(input.rest()),
        1 => challenge(input.rest()),
        2 => response(input.rest()),
        3 => proof(input),
        4 => answer(input.rest()),
        5 => {
            if let Some(token) = input.text()
                && let Ok(id) = SpiffeId::join_token_agent(&OWN, token)
            {
                assert!(id.is_agent() && id.path().ends_with(token));
            }
        }
        6 => {
            STRANGER.says.set([Answer::of(input)]);
            shown(Source::WorkloadApi(STRANGER.socket()));
        }
        _ => shown(Source::Files {
            private_key: written("shown.key", input.piece()),
            certificate: written("shown.pem", input.rest()),
            intermediates: None,
        }),
    }
}

static STRANGER: LazyLock<Stranger<Answer>> = LazyLock::new(Stranger::answering);

/// What an agent shows of itself is what it can prove.
fn shown(source: Source) {
    in_time(async {
        let Ok(agent) = X509Pop::open(source).await else {
            return;
        };
        let Ok(mut attempt) = agent.begin().await else {
            return;
        };
        let evidence = Evidence::parse(attempt.payload()).expect("evidence is shown");
        let leaf = CertificateInfo::parse(&evidence.certificates[0]).expect("it was looked at");
        let kind = proof_kind(&leaf.public_key_der).expect("a key that proves is of a kind");
        let of_server = [7; NONCE_LEN_BYTES];
        let answered = attempt.answer(Challenge::new(kind, of_server).to_bytes());
        let answered = answered.await.expect("who has the key answers");
        let response = Response::parse(&answered).expect("an answer is one");
        let (of_agent, proof) = response.proof(kind).expect("and of this kind");
        let message = signed_message(&of_server, &of_agent).expect("both have their length");
        verify_proof(&leaf.public_key_der, &message, &proof).expect("it proves");
    });
}

fn evidence(payload: &[u8]) {
    if let Ok(evidence) = Evidence::parse(payload) {
        assert_eq!(Evidence::parse(&evidence.to_payload()).ok(), Some(evidence));
    }
}

fn challenge(bytes: &[u8]) {
    if let Ok(challenge) = Challenge::parse(bytes) {
        challenge.nonce(ProofKind::Ecdsa);
        assert_eq!(
            Challenge::parse(&challenge.to_bytes()).ok(),
            Some(challenge)
        );
    }
}

fn response(bytes: &[u8]) {
    if let Ok(response) = Response::parse(bytes) {
        assert_eq!(
            Response::parse(&response.to_bytes()).ok().as_ref(),
            Some(&response)
        );
        for kind in [ProofKind::Ecdsa, ProofKind::Rsa { bits: 2048 }] {
            response.clone().proof(kind);
        }
    }
}

/// The signature of a public key over a message, as two integers or one.
fn proof(mut input: Input<'_>) {
    let (spki_der, message) = (input.piece(), input.piece());
    let (first, second) = (input.piece().to_vec(), input.rest().to_vec());
    let proof = match second.is_empty() {
        true => Proof::Rsa { signature: first },
        false => Proof::Ecdsa {
            r: first,
            s: second,
        },
    };
    if verify_proof(spki_der, message, &proof).is_ok() {
        proof_kind(spki_der).expect("a key that verifies is of a kind");
        // The proof is of this message and no other.
        let other = [message, b"."].concat();
        assert!(verify_proof(spki_der, &other, &proof).is_err());
    }
}

/// An agent's answer to any challenge, which must be about its own nonce too.
fn answer(challenge: &[u8]) {
    let agent = LazyLock::force(&AGENT);
    let answered = alone(async {
        let mut attempt = agent.begin().await.expect("the files are there");
        attempt.answer(challenge.to_vec()).await
    });
    let Ok(answered) = answered else {
        return;
    };
    let challenge = Challenge::parse(challenge).expect("what was answered is a challenge");
    let of_server = challenge.nonce(ProofKind::Ecdsa).expect("and of this kind");
    assert_eq!(of_server.len(), NONCE_LEN_BYTES);
    let response = Response::parse(&answered).expect("an answer is one");
    let (of_agent, proof) = response.proof(ProofKind::Ecdsa).expect("and of this kind");
    let message = signed_message(of_server, &of_agent).expect("both have their length");
    let key = SVID.key().public_key_der();
    verify_proof(key, &message, &proof).expect("it proves");
}

static SVID: LazyLock<identity::x509_svid::X509Svid> =
    LazyLock::new(|| AUTHORITY.x509_svid("/node"));

static AGENT: LazyLock<X509Pop> = LazyLock::new(|| {
    let key = encode_private_key(SVID.key());
    let chain = encode_certificates(SVID.chain());
    alone(X509Pop::open(Source::Files {
        private_key: written("key.pem", key.expose()),
        certificate: written("chain.pem", chain.as_bytes()),
        intermediates: None,
    }))
    .unwrap_or_else(|_| panic!("the files are good"))
});

/// What each side sends.
pub fn seeds() -> Vec<Vec<u8>> {
    let nonce = [7; NONCE_LEN_BYTES];
    let message = [nonce, nonce].concat();
    let key = ProvingKey::from_pkcs8(KEY.pkcs8().expose()).expect("it is a key");
    let proof = key.prove(&message).expect("a key proves");
    let spki_der = KEY.public_key_der();
    let mut seeds = vec![
        plain(
            &[0],
            Evidence {
                certificates: SVID.chain().to_vec(),
            }
            .to_payload(),
        ),
        plain(&[0], br#"{"certificates":null}"#),
        plain(&[5], "2a8e6c5e-0f9a-4b1b-9d3c-0a0b0c0d0e0f"),
    ];
    for kind in [ProofKind::Ecdsa, ProofKind::Rsa { bits: 2048 }] {
        let challenge = Challenge::new(kind, nonce).to_bytes();
        seeds.push(plain(&[1], &challenge));
        seeds.push(plain(&[4], &challenge));
    }
    seeds.push(plain(&[2], Response::new(nonce, proof.clone()).to_bytes()));
    let signature = vec![9; 256];
    let rsa = Response::new(nonce, Proof::Rsa { signature });
    seeds.push(plain(&[2], rsa.to_bytes()));
    let key = encode_private_key(SVID.key());
    seeds.push(plain(
        &join(&[7], [key.expose()]),
        encode_certificates(SVID.chain()),
    ));
    let identity = X509svidResponse {
        svids: vec![X509svid {
            x509_svid: SVID.chain().iter().flat_map(|der| der.to_vec()).collect(),
            x509_svid_key: SVID.key().pkcs8().expose().to_vec(),
            ..X509svid::default()
        }],
        ..X509svidResponse::default()
    };
    seeds.push(plain(&[6], said([identity.encode_to_vec()])));
    if let Proof::Ecdsa { r, s } = proof {
        seeds.push(plain(&join(&[3], [spki_der, &message[..], &r[..]]), s));
    }
    seeds
}
