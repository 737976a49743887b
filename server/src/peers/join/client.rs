//! The joiner's side: finds a member, believes it by the invite, proves the invite, keeps what it
//! gets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::Clock;
use identity::secret::{KeyError, KeyType, PrivateKey, SecretBytes};
use identity::tls::TlsError;
use identity::trust_domain::TrustDomain;
use identity::x509::{X509Error, generate_csr};
use identity::x509_svid::{SvidError, X509Svid};
use prost::Message as _;
use proto::conclave::cluster::v1 as wire;
use proto::conclave::cluster::v1::join_client::JoinClient;
use proto::conclave::cluster::v1::join_response::Result as Outcome;
use proto::conclave::cluster::v1::refused::Reason;
use rustls_pki_types::CertificateDer;

use crate::peers::connector::{self, Http2};
use crate::peers::envelope::EnvelopeError;
use crate::peers::identity::PeerIdentity;
use crate::peers::join::invite::Invite;
use crate::peers::join::proof::{Exporter, Verifier};
use crate::peers::join::setbacks::Setbacks;
use crate::peers::name;

/// A host that wants to become a member.
#[derive(Debug)]
pub(crate) struct Applicant<'a> {
    pub(crate) trust_domain: &'a TrustDomain,
    pub(crate) peer_address: &'a str,
    pub(crate) api_address: &'a str,
    pub(crate) program_version: &'a str,
    /// First and last format of commands that it understands.
    pub(crate) formats: (u32, u32),
}

/// What a member needs to start.
pub(crate) struct Membership {
    pub(crate) identity: PeerIdentity,
    pub(crate) seal_key: SecretBytes,
}

/// Joins the cluster that `invite` is for, through whichever member answers. Tells `tell` what keeps it
/// waiting.
///
/// # Errors
/// The first refusal that another member would give too; or why no member let it in in time.
pub(crate) async fn join(
    invite: &Invite,
    applicant: &Applicant<'_>,
    clock: Arc<dyn Clock>,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Membership, JoinError> {
    let key = PrivateKey::generate(KeyType::EcP256).map_err(JoinError::Key)?;
    let tls = identity::tls::join_client_config(invite.pin(), clock).map_err(JoinError::Tls)?;
    let request = Request {
        invite,
        verifier: Verifier::of(&invite.secret)?,
        parameters: parameters(invite, applicant, &key)?.encode_to_vec(),
        tls: Arc::new(tls),
        key,
    };
    let deadline = tokio::time::Instant::now() + JOIN_WITHIN;
    let mut setbacks = Setbacks::told_to(tell);
    loop {
        let mut are_all_foreign = true;
        for address in &invite.addresses {
            let error = match request.send_to(address).await {
                Ok(membership) => return Ok(membership),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => error,
            };
            are_all_foreign &= matches!(error, JoinError::WrongCluster { .. });
            setbacks.meet(address, daemon::supervisor::chain(&error));
        }
        if are_all_foreign || tokio::time::Instant::now() + PAUSE >= deadline {
            let causes = setbacks.summary();
            return Err(JoinError::NotLetIn { causes });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Request<'a> {
    invite: &'a Invite,
    verifier: Verifier,
    parameters: Vec<u8>,
    tls: Arc<rustls::ClientConfig>,
    key: PrivateKey,
}

impl Request<'_> {
    async fn send_to(&self, address: &str) -> Result<Membership, JoinError> {
        let unreachable = |source| JoinError::Unreachable {
            address: address.to_owned(),
            source,
        };
        let opened = connector::open(address, Arc::clone(&self.tls)).await;
        let stream = opened.map_err(|source| JoinError::from_tls(address, source))?;
        let exporter = Exporter::of(|output, label, context| {
            let tls = stream.get_ref().1;
            tls.export_keying_material(output, label, context)
        });
        let exporter = exporter.map_err(|error| unreachable(io::Error::other(error)))?;
        let request = wire::JoinRequest {
            proof: self.verifier.prove(&exporter, &self.parameters),
            parameters: self.parameters.clone(),
        };
        let http2 = Http2::over(stream).await.map_err(unreachable)?;
        let mut client = JoinClient::with_origin(http2.sender, connector::origin())
            .max_decoding_message_size(MAX_ANSWER_LEN_BYTES);
        let answer = tokio::time::timeout(ANSWER_WITHIN, client.join(request)).await;
        let answer = match answer {
            Ok(answered) => answered.map_err(|status| unreachable(io::Error::other(status)))?,
            Err(_elapsed) => return Err(unreachable(io::ErrorKind::TimedOut.into())),
        };
        drop(http2.driver);
        self.outcome(address, answer.into_inner(), &exporter)
    }

    fn outcome(
        &self,
        address: &str,
        answer: wire::JoinResponse,
        exporter: &Exporter,
    ) -> Result<Membership, JoinError> {
        match answer.result {
            Some(Outcome::Admitted(admitted)) => self.membership(admitted, exporter),
            Some(Outcome::Refused(refused)) => Err(refusal(address, refused)),
            None => Err(JoinError::Malformed),
        }
    }

    fn membership(
        &self,
        admitted: wire::Admitted,
        exporter: &Exporter,
    ) -> Result<Membership, JoinError> {
        let certificates = |list: Vec<Vec<u8>>| {
            let list = list.into_iter().map(CertificateDer::from);
            list.collect::<Vec<_>>()
        };
        let chain = certificates(admitted.certificate_chain);
        let svid = X509Svid::new(chain, self.key.clone()).map_err(JoinError::Certificate)?;
        let cluster_id = self.invite.cluster_id;
        let expected = name::member(&cluster_id, admitted.member_id);
        if *svid.spiffe_id() != expected {
            return Err(JoinError::Malformed);
        }
        let seal_key = self.verifier.unwrap(exporter, &admitted.wrapped_seal_key)?;
        Ok(Membership {
            identity: PeerIdentity {
                cluster_id,
                member_id: admitted.member_id,
                svid,
                authorities: certificates(admitted.peer_authorities),
                has_started: false,
            },
            seal_key,
        })
    }
}

/// What a host that has `invite` and `key` makes of an answer, on a connection of nobody: the id that it gets.
///
/// # Errors
/// It does not get in.
#[cfg(feature = "fuzzing")]
pub fn reads_as_admission(
    invite: &Invite,
    key: PrivateKey,
    answer: wire::JoinResponse,
) -> Result<u64, JoinError> {
    let clock = Arc::new(identity::clock::SystemClock);
    let tls = identity::tls::join_client_config(invite.pin(), clock).map_err(JoinError::Tls)?;
    let request = Request {
        invite,
        verifier: Verifier::of(&invite.secret)?,
        parameters: Vec::new(),
        tls: Arc::new(tls),
        key,
    };
    let membership = request.outcome("nobody", answer, &nobodys()?)?;
    Ok(membership.identity.member_id)
}

/// The seal key as a member sends it on the same connection.
///
/// # Errors
/// The cryptographic library failed.
#[cfg(feature = "fuzzing")]
pub fn wrapped_seal_key(invite: &Invite, seal_key: &SecretBytes) -> Result<Vec<u8>, EnvelopeError> {
    Verifier::of(&invite.secret)?.wrap(&nobodys()?, seal_key)
}

#[cfg(feature = "fuzzing")]
fn nobodys() -> Result<Exporter, EnvelopeError> {
    Exporter::of(|output, _label, _context| Ok(output))
}

fn parameters(
    invite: &Invite,
    applicant: &Applicant<'_>,
    key: &PrivateKey,
) -> Result<wire::JoinParameters, JoinError> {
    let (first_format, last_format) = applicant.formats;
    Ok(wire::JoinParameters {
        cluster_id: invite.cluster_id.to_vec(),
        invite_id: invite.id.to_vec(),
        csr: generate_csr(key, None, &[]).map_err(JoinError::Csr)?,
        peer_address: applicant.peer_address.to_owned(),
        api_address: applicant.api_address.to_owned(),
        program_version: applicant.program_version.to_owned(),
        first_format,
        last_format,
        trust_domain: applicant.trust_domain.to_string(),
    })
}

fn refusal(address: &str, refused: wire::Refused) -> JoinError {
    let detail = refused.detail.chars().take(MAX_DETAIL_CHARS).collect();
    let way_out = match Reason::try_from(refused.reason) {
        Ok(Reason::WrongCluster) => "use an invite of the cluster that listens at that address",
        Ok(Reason::NoSuchInvite) => {
            "make another with `conclave-server cluster invite`; if this host lost the answer of an \
             earlier attempt, nothing else is to be done"
        }
        Ok(Reason::Expired) => "make another with `conclave-server cluster invite`",
        Ok(Reason::WrongProof) => "copy all of what `cluster invite` printed, or make another",
        Ok(Reason::AddressTaken) => {
            "give this host its own peer_address, or remove that member first"
        }
        Ok(Reason::WrongTrustDomain) => {
            "correct trust_domain in the config of this host, or use an invite of a cluster of its \
             trust domain; this one is as good as before"
        }
        Ok(Reason::Unacceptable) => "see the log of that member",
        Ok(Reason::Unavailable | Reason::Unspecified) | Err(_) => {
            let address = address.to_owned();
            return JoinError::Unavailable { address, detail };
        }
    };
    JoinError::Refused { detail, way_out }
}

/// Why a host did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A member said no, and every other would say the same.
    #[error("the cluster refused: {detail}; {way_out}")]
    Refused {
        /// What the member said.
        detail: String,
        /// What to do.
        way_out: &'static str,
    },
    /// A member cannot let anybody in now.
    #[error("the member at {address} says: {detail}")]
    Unavailable {
        /// Where.
        address: String,
        /// What the member said.
        detail: String,
    },
    /// Who listens at the address is not of the cluster that the invite is for.
    #[error(
        "whoever listens at {address} is no member of the cluster that the invite is for: {cause}"
    )]
    WrongCluster {
        /// Where.
        address: String,
        /// What is wrong with its certificate.
        cause: String,
    },
    /// No member could be talked to.
    #[error("no answer from the member at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Each member had its reason, until the time was over or none was worth another try.
    #[error("no member let this host in: {causes}")]
    NotLetIn {
        /// The last reason of each.
        causes: String,
    },
    /// The answer of a member makes no sense.
    #[error("the answer of the member makes no sense; is it of the same version?")]
    Malformed,
    /// The certificate that a member made cannot be used.
    #[error("the certificate that the member made cannot be used")]
    Certificate(#[source] SvidError),
    /// The seal key did not open, or the library failed.
    #[error("the seal key that the member sent cannot be opened")]
    SealKey(#[from] EnvelopeError),
    /// A key could not be made.
    #[error("a key could not be made")]
    Key(#[source] KeyError),
    /// A request for a certificate could not be made.
    #[error("a request for a certificate could not be made")]
    Csr(#[source] X509Error),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] TlsError),
}

impl JoinError {
    fn from_tls(address: &str, source: io::Error) -> Self {
        let address = address.to_owned();
        let cause = source.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(_)) => Self::WrongCluster {
                address,
                cause: identity::tls::handshake_failure(&source),
            },
            Some(_) | None => Self::Unreachable { address, source },
        }
    }

    /// Whether trying again, here or elsewhere, can only end the same way.
    fn is_final(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::WrongCluster { .. } | Self::Unreachable { .. } => {
                false
            }
            Self::Refused { .. }
            | Self::NotLetIn { .. }
            | Self::Malformed
            | Self::Certificate(_)
            | Self::SealKey(_)
            | Self::Key(_)
            | Self::Csr(_)
            | Self::Tls(_) => true,
        }
    }
}

/// How long to look for a member that lets this host in: through an election, and a bit.
pub const JOIN_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// How long one member may take: two proposals and a look at an address.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);
const MAX_ANSWER_LEN_BYTES: usize = 256 << 10;

/// Two names of trust domains and a sentence about them.
const MAX_DETAIL_CHARS: usize = 2 * TrustDomain::MAX_LEN_BYTES + 200;
