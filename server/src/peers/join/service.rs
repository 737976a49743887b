//! The wire form of a join, on the member's side.

use std::ops::RangeInclusive;
use std::sync::Arc;

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
        Refusal::AddressTaken { .. } => Reason::AddressTaken,
        Refusal::Unacceptable(_) => Reason::Unacceptable,
        Refusal::Unavailable(_) => Reason::Unavailable,
    }
}

/// A request at most: a CSR and a few short texts.
pub(crate) const MAX_JOIN_LEN_BYTES: usize = 64 << 10;
const MAX_TEXT_LEN_BYTES: usize = 512;
