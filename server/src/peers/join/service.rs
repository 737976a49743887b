//! The wire form of a join, on the member's side.

use std::ops::RangeInclusive;
use std::sync::Arc;

use identity::trust_domain::TrustDomain;
use identity::x509::Csr;
use prost::Message as _;
use proto::conclave::cluster::v1 as wire;
use proto::conclave::cluster::v1::join_response::Result as Outcome;
use proto::conclave::cluster::v1::join_server::Join;
use proto::conclave::cluster::v1::refused::Reason;
use raft_store::{AdmitMember, InviteId, MemberProfile};
use tonic::{Request, Response, Status};

use crate::peers::join::admission::{Admission, Application, Refusal, Welcome};
use crate::peers::join::proof::Exporter;

/// The service of one connection.
pub(crate) struct JoinService {
    admission: Arc<Admission>,
    exporter: Exporter,
}

impl JoinService {
    pub(crate) fn new(admission: Arc<Admission>, exporter: Exporter) -> Self {
        Self {
            admission,
            exporter,
        }
    }
}

#[tonic::async_trait]
impl Join for JoinService {
    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let admitted = match application(request.into_inner()) {
            Ok(application) => self.admission.admit(application, &self.exporter).await,
            Err(refusal) => Err(refusal),
        };
        let outcome = match admitted {
            Ok(welcome) => Outcome::Admitted(admitted_message(welcome)),
            Err(refusal) => {
                tracing::warn!(cause = %refusal, "refused a host that wants to join");
                Outcome::Refused(wire::Refused {
                    reason: reason(&refusal).into(),
                    detail: refusal.to_string(),
                })
            }
        };
        Ok(Response::new(wire::JoinResponse {
            result: Some(outcome),
        }))
    }
}

fn application(request: wire::JoinRequest) -> Result<Application, Refusal> {
    let unreadable = || Refusal::Unacceptable("the request cannot be read".to_owned());
    let asked = wire::JoinParameters::decode(&request.parameters[..]);
    let asked = asked.map_err(|_field| unreadable())?;
    let array = |bytes: Vec<u8>| <[u8; 16]>::try_from(bytes).map_err(|_bytes| unreadable());
    let invite = InviteId::from_bytes(array(asked.invite_id)?);
    let csr = Csr::parse(&asked.csr);
    let trust_domain = match asked.trust_domain.as_str() {
        "" => None,
        name => Some(TrustDomain::parse(name).map_err(|_name| unreadable())?),
    };
    let texts = [
        &asked.peer_address,
        &asked.api_address,
        &asked.program_version,
    ];
    if texts.iter().any(|text| text.len() > MAX_TEXT_LEN_BYTES) || asked.peer_address.is_empty() {
        return Err(unreadable());
    }
    Ok(Application {
        cluster_id: array(asked.cluster_id)?,
        invite,
        trust_domain,
        csr: csr.map_err(|error| Refusal::Unacceptable(error.to_string()))?,
        member: AdmitMember {
            invite,
            profile: MemberProfile {
                peer_address: asked.peer_address.into(),
                api_address: asked.api_address.into(),
                program_version: asked.program_version.into(),
                formats: RangeInclusive::new(asked.first_format, asked.last_format),
            },
        },
        parameters: request.parameters,
        proof: request.proof,
    })
}

/// Whether a request to join can be read.
#[cfg(feature = "fuzzing")]
pub fn reads_as_application(request: wire::JoinRequest) -> bool {
    application(request).is_ok()
}

fn admitted_message(welcome: Welcome) -> wire::Admitted {
    let bytes = |certificates: Vec<rustls_pki_types::CertificateDer<'_>>| {
        let certificates = certificates.iter();
        certificates.map(|der| der.to_vec()).collect::<Vec<_>>()
    };
    wire::Admitted {
        member_id: welcome.member_id,
        certificate_chain: bytes(welcome.certificate_chain),
        peer_authorities: bytes(welcome.peer_authorities),
        wrapped_seal_key: welcome.wrapped_seal_key,
    }
}

fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::WrongCluster { .. } => Reason::WrongCluster,
        Refusal::NoSuchInvite => Reason::NoSuchInvite,
        Refusal::Expired => Reason::Expired,
        Refusal::WrongProof => Reason::WrongProof,
        Refusal::WrongTrustDomain { .. } => Reason::WrongTrustDomain,
        Refusal::AddressTaken { .. } => Reason::AddressTaken,
        Refusal::Unacceptable(_) => Reason::Unacceptable,
        Refusal::Unavailable(_) => Reason::Unavailable,
    }
}

/// A request at most: a CSR and a few short texts.
pub(crate) const MAX_JOIN_LEN_BYTES: usize = 64 << 10;
const MAX_TEXT_LEN_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use identity::secret::{KeyType, PrivateKey};
    use identity::x509::generate_csr;

    use super::*;

    fn asked(trust_domain: &str) -> Result<Application, Refusal> {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let parameters = wire::JoinParameters {
            cluster_id: vec![1; 16],
            invite_id: vec![2; 16],
            csr: generate_csr(&key, None, &[]).unwrap(),
            peer_address: "10.0.0.2:8083".to_owned(),
            trust_domain: trust_domain.to_owned(),
            ..wire::JoinParameters::default()
        };
        application(wire::JoinRequest {
            parameters: parameters.encode_to_vec(),
            proof: Vec::new(),
        })
    }

    #[test]
    fn trust_domain_may_be_missing_but_not_be_wrong() {
        // On the wire, the empty text is the field that a joiner of before does not know.
        let untold = asked("").ok().unwrap().trust_domain;
        assert_eq!(untold, None);
        let told = asked("example.org").ok().unwrap().trust_domain;
        assert_eq!(told, Some(TrustDomain::parse("example.org").unwrap()));
        for wrong in ["Example.org", "a b", &"a".repeat(256)] {
            let refused = asked(wrong).err().unwrap();
            assert!(matches!(refused, Refusal::Unacceptable(_)), "{refused:?}");
        }
    }
}
