//! `x509pop`: a certificate chain, then the proof that its key is held.
//!
//! Both sides contribute a nonce of [`NONCE_LEN_BYTES`]; what is signed is that of the server,
//! then that of the agent.

use identity::possession::{Proof, ProofKind};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::Error as JsonError;

use super::go_bytes::GoBytes;

/// The length of a nonce.
pub const NONCE_LEN_BYTES: usize = 32;

/// What an agent shows: its certificate, then those that lead to an authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Leaf first; there may be none.
    pub certificates: Vec<CertificateDer<'static>>,
}

#[derive(Deserialize, Serialize)]
struct EvidenceJson {
    #[serde(default)]
    certificates: Option<Vec<GoBytes>>,
}

impl Evidence {
    /// Reads the payload of an agent. The certificates are not looked at.
    ///
    /// # Errors
    /// It is no JSON document of the right form.
    pub fn parse(payload: &[u8]) -> Result<Self, JsonError> {
        let json: EvidenceJson = serde_json::from_slice(payload)?;
        let certificates = json.certificates.unwrap_or_default().into_iter();
        Ok(Self {
            certificates: certificates.map(|bytes| bytes.0.into()).collect(),
        })
    }

    /// The payload.
    pub fn to_payload(&self) -> Vec<u8> {
        let certificates = self.certificates.iter();
        document(&EvidenceJson {
            certificates: Some(certificates.map(|one| GoBytes(one.to_vec())).collect()),
        })
    }
}

/// What a server asks: a signature of the kind that has a nonce.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge(ChallengeJson);

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct ChallengeJson {
    #[serde(default)]
    rsa_signature: Option<NonceJson>,
    #[serde(default)]
    ecdsa_signature: Option<NonceJson>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct NonceJson {
    #[serde(default)]
    nonce: GoBytes,
}

impl Challenge {
    /// Asks for a signature of `kind` over `nonce` and one of the agent.
    pub fn new(kind: ProofKind, nonce: [u8; NONCE_LEN_BYTES]) -> Self {
        let nonce = Some(NonceJson {
            nonce: GoBytes(nonce.to_vec()),
        });
        Self(match kind {
            ProofKind::Rsa { .. } => ChallengeJson {
                rsa_signature: nonce,
                ecdsa_signature: None,
            },
            ProofKind::Ecdsa => ChallengeJson {
                rsa_signature: None,
                ecdsa_signature: nonce,
            },
        })
    }

    /// Reads the challenge of a server.
    ///
    /// # Errors
    /// It is no JSON document of the right form.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        serde_json::from_slice(bytes).map(Self)
    }

    /// The challenge as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        document(&self.0)
    }

    /// The server's nonce for a signature of `kind`; `None` if it asks for another kind.
    pub fn nonce(&self, kind: ProofKind) -> Option<&[u8]> {
        let nonce = match kind {
            ProofKind::Rsa { .. } => &self.0.rsa_signature,
            ProofKind::Ecdsa => &self.0.ecdsa_signature,
        };
        nonce.as_ref().map(|json| json.nonce.0.as_slice())
    }
}

/// What an agent answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response(ResponseJson);

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct ResponseJson {
    #[serde(default)]
    rsa_signature: Option<RsaJson>,
    #[serde(default)]
    ecdsa_signature: Option<EcdsaJson>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct RsaJson {
    #[serde(default)]
    nonce: GoBytes,
    #[serde(default)]
    signature: GoBytes,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct EcdsaJson {
    #[serde(default)]
    nonce: GoBytes,
    #[serde(default)]
    r: GoBytes,
    #[serde(default)]
    s: GoBytes,
}

impl Response {
    /// A proof, and the agent's nonce in it.
    pub fn new(nonce: [u8; NONCE_LEN_BYTES], proof: Proof) -> Self {
        let nonce = GoBytes(nonce.to_vec());
        Self(match proof {
            Proof::Rsa { signature } => ResponseJson {
                rsa_signature: Some(RsaJson {
                    nonce,
                    signature: GoBytes(signature),
                }),
                ecdsa_signature: None,
            },
            Proof::Ecdsa { r, s } => ResponseJson {
                rsa_signature: None,
                ecdsa_signature: Some(EcdsaJson {
                    nonce,
                    r: GoBytes(r),
                    s: GoBytes(s),
                }),
            },
        })
    }

    /// Reads the answer of an agent.
    ///
    /// # Errors
    /// It is no JSON document of the right form.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        serde_json::from_slice(bytes).map(Self)
    }

    /// The answer as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        document(&self.0)
    }

    /// The agent's nonce and its proof of `kind`; `None` if it gave none.
    pub fn proof(self, kind: ProofKind) -> Option<(Vec<u8>, Proof)> {
        match kind {
            ProofKind::Rsa { .. } => {
                let RsaJson { nonce, signature } = self.0.rsa_signature?;
                let proof = Proof::Rsa {
                    signature: signature.0,
                };
                Some((nonce.0, proof))
            }
            ProofKind::Ecdsa => {
                let EcdsaJson { nonce, r, s } = self.0.ecdsa_signature?;
                Some((nonce.0, Proof::Ecdsa { r: r.0, s: s.0 }))
            }
        }
    }
}

/// What is signed; `None` if a nonce has not the length of one.
pub fn signed_message(of_server: &[u8], of_agent: &[u8]) -> Option<Vec<u8>> {
    let is_nonce = |nonce: &[u8]| nonce.len() == NONCE_LEN_BYTES;
    (is_nonce(of_server) && is_nonce(of_agent)).then(|| [of_server, of_agent].concat())
}

fn document(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: such a document has nothing that JSON has not")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: ProofKind = ProofKind::Rsa { bits: 2048 };

    #[test]
    fn documents_are_those_of_spire() {
        let evidence = Evidence {
            certificates: vec![vec![1, 2, 3].into(), vec![0xff].into()],
        };
        let payload = br#"{"certificates":["AQID","/w=="]}"#;
        assert_eq!(evidence.to_payload(), payload);
        assert_eq!(Evidence::parse(payload).unwrap(), evidence);
        let challenge = Challenge::new(RSA, [0; 32]);
        let text = br#"{"rsa_signature":{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"ecdsa_signature":null}"#;
        assert_eq!(challenge.to_bytes(), text);
        let read = Challenge::parse(text).unwrap();
        assert_eq!(read.nonce(RSA), Some(&[0; 32][..]));
        assert_eq!(read.nonce(ProofKind::Ecdsa), None);
        let proof = Proof::Ecdsa {
            r: vec![1],
            s: vec![2],
        };
        let response = Response::new([0; 32], proof.clone());
        let text = br#"{"rsa_signature":null,"ecdsa_signature":{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","r":"AQ==","s":"Ag=="}}"#;
        assert_eq!(response.to_bytes(), text);
        let read = Response::parse(text).unwrap();
        assert_eq!(read.clone().proof(RSA), None);
        assert_eq!(read.proof(ProofKind::Ecdsa), Some((vec![0; 32], proof)));
    }

    #[test]
    fn absent_parts_are_empty_and_unknown_ones_skipped() {
        for payload in ["{}", r#"{"certificates":null,"more":[1]}"#] {
            let evidence = Evidence::parse(payload.as_bytes()).unwrap();
            assert!(evidence.certificates.is_empty());
        }
        let challenge = Challenge::parse(br#"{"rsa_signature":{"nonce":null}}"#).unwrap();
        assert_eq!(challenge.nonce(RSA), Some(&[][..]));
        let response = Response::parse(br#"{"rsa_signature":{}}"#).unwrap();
        let empty = Proof::Rsa {
            signature: Vec::new(),
        };
        assert_eq!(response.proof(RSA), Some((Vec::new(), empty)));
    }

    #[test]
    fn documents_of_another_form_are_refused() {
        for bytes in [
            "",
            "null",
            "{",
            r#"{"certificates":"AQID"}"#,
            r#"{"certificates":["A"]}"#,
            r#"{"certificates":[1]}"#,
        ] {
            assert!(Evidence::parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert!(Challenge::parse(br#"{"rsa_signature":"AQID"}"#).is_err());
        assert!(Response::parse(br#"{"ecdsa_signature":{"r":1}}"#).is_err());
    }

    #[test]
    fn nonces_of_another_length_are_not_signed() {
        assert_eq!(signed_message(&[1; 32], &[2; 31]), None);
        assert_eq!(signed_message(&[], &[2; 32]), None);
        assert_eq!(
            signed_message(&[1; 32], &[2; 32]),
            Some([[1; 32], [2; 32]].concat())
        );
    }
}
