//! Attestation by a certificate of another PKI, or of the own trust domain, and the proof that its
//! key is held; wire-identical to SPIRE's `x509pop`.

mod authorities;
mod names;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use futures_util::future::BoxFuture;
use identity::clock::Clock;
use identity::possession::{PossessionError, ProofKind, proof_kind, verify_proof};
use identity::trust_domain::TrustDomain;
use identity::x509::{CertificateInfo, UntrustedChain, verified_issuers};
use proto::attestation::x509pop::{Challenge, Evidence, NONCE_LEN_BYTES, Response, signed_message};
use rustls_pki_types::CertificateDer;

use self::authorities::Authorities;
pub use self::authorities::{AuthoritiesError, read_authorities};
use self::names::Names;
pub use self::names::parse_path_template;
use super::{Attempt, AttestorError, AttestorHost, NodeAttestor, NodeAttributes, Origin};
use crate::template::Template;

/// What this attestor is called.
pub const NAME: &str = "x509pop";

/// Which certificates are taken, and what their agents are called.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who signs them.
    pub trust: Trust,
    /// The path of an agent below `/spire/agent`; `None` for the one of the kind of trust.
    pub agent_path_template: Option<Template>,
    /// How many certificates an agent may show beside its own.
    pub max_intermediates: usize,
    /// The longest RSA modulus that is computed with.
    pub max_rsa_key_size_bits: u32,
    /// Whether the certificate must name the address that the agent calls from.
    pub client_address: ClientAddress,
}

/// Who signs the certificates of nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trust {
    /// The authorities in these files, which are read anew when they change.
    ExternalPki(Vec<PathBuf>),
    /// The own trust domain. The path of the SVID must begin so; what follows names the agent.
    Spiffe {
        /// Ends with a slash.
        path_prefix: String,
    },
}

/// Whether it matters where an agent calls from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAddress {
    /// It must stand in the certificate.
    Verified,
    /// Any will do.
    Ignored,
}

/// The attestor.
pub struct X509Pop {
    settings: Settings,
    trust_domain: TrustDomain,
    authorities: Authorities,
    clock: Arc<dyn Clock>,
}

impl X509Pop {
    /// An attestor for the agents of `host`.
    ///
    /// # Errors
    /// A file of authorities cannot be read.
    pub async fn open(settings: Settings, host: &AttestorHost) -> Result<Self, AuthoritiesError> {
        let trust_domain = host.trust_domain.clone();
        let authorities = match &settings.trust {
            Trust::ExternalPki(paths) => Authorities::in_files(paths).await?,
            Trust::Spiffe { .. } => {
                Authorities::of_bundle(host.store.clone(), trust_domain.clone())
            }
        };
        Ok(Self {
            settings,
            trust_domain,
            authorities,
            clock: Arc::clone(&host.clock),
        })
    }

    async fn identify(&self, attempt: Attempt<'_>) -> Result<NodeAttributes, AttestorError> {
        let evidence = Evidence::parse(attempt.payload)
            .map_err(|error| invalid("failed to unmarshal data", error))?;
        let shown = Shown::read(&evidence, &self.settings)?;
        let issuers = self.issuers(&evidence).await?;
        if self.settings.client_address == ClientAddress::Verified {
            check_address(attempt.origin, &shown.leaf)?;
        }
        let nonce = new_nonce()?;
        let challenge = Challenge::new(shown.kind, nonce);
        let answer = attempt.challenges.challenge(challenge.to_bytes()).await?;
        verify(&shown, &nonce, &answer)?;
        let names = Names {
            trust_domain: &self.trust_domain,
            settings: &self.settings,
            leaf: &shown.leaf,
            leaf_der: &evidence.certificates[0],
        };
        names.attributes(&issuers)
    }

    /// The certificates above the leaf on every valid path.
    async fn issuers(
        &self,
        evidence: &Evidence,
    ) -> Result<Vec<CertificateDer<'static>>, AttestorError> {
        let authorities = self.authorities.current().await;
        let (leaf, intermediates) = evidence
            .certificates
            .split_first()
            .ok_or_else(|| AttestorError::invalid(NO_CERTIFICATE))?;
        let chain = UntrustedChain {
            leaf,
            intermediates,
        };
        verified_issuers(chain, &authorities, self.clock.now()).map_err(|error| {
            AttestorError::denied(format!("certificate verification failed: {error}"))
        })
    }
}

impl NodeAttestor for X509Pop {
    fn name(&self) -> &str {
        NAME
    }

    fn attest<'a>(
        &'a self,
        attempt: Attempt<'a>,
    ) -> BoxFuture<'a, Result<NodeAttributes, AttestorError>> {
        Box::pin(self.identify(attempt))
    }
}

/// A leaf whose holder can be challenged.
struct Shown {
    leaf: CertificateInfo,
    kind: ProofKind,
}

impl Shown {
    /// Looks at everything before anything is computed with it: nobody has proved anything yet.
    fn read(evidence: &Evidence, settings: &Settings) -> Result<Self, AttestorError> {
        let (leaf, intermediates) = evidence
            .certificates
            .split_first()
            .ok_or_else(|| AttestorError::invalid(NO_CERTIFICATE))?;
        if intermediates.len() > settings.max_intermediates {
            let text = "too many intermediate certificates";
            return Err(AttestorError::invalid(text));
        }
        let leaf = CertificateInfo::parse(leaf)
            .map_err(|error| invalid("unable to parse leaf certificate", error))?;
        let is_too_large = |key: &[u8]| matches!(proof_kind(key), Ok(ProofKind::Rsa { bits }) if bits > settings.max_rsa_key_size_bits);
        if is_too_large(&leaf.public_key_der) {
            let text = "leaf certificate key size too large";
            return Err(AttestorError::invalid(text));
        }
        for (at, intermediate) in intermediates.iter().enumerate() {
            let intermediate = CertificateInfo::parse(intermediate).map_err(|error| {
                let what = format!("unable to parse intermediate certificate {at}");
                invalid(&what, error)
            })?;
            if is_too_large(&intermediate.public_key_der) {
                let text = format!("intermediate certificate {at} key size too large");
                return Err(AttestorError::invalid(text));
            }
        }
        let kind = proof_kind(&leaf.public_key_der);
        let signs = leaf.key_usage.is_some_and(|usage| usage.digital_signature);
        match kind {
            Ok(kind) if signs => Ok(Self { leaf, kind }),
            Ok(_) => Err(unable_to_challenge(
                "certificate not intended for digital signature use",
            )),
            Err(error) => Err(unable_to_challenge(error)),
        }
    }
}

fn verify(shown: &Shown, nonce: &[u8], answer: &[u8]) -> Result<(), AttestorError> {
    let response = Response::parse(answer)
        .map_err(|error| invalid("unable to unmarshal challenge response", error))?;
    let failed = |cause: &dyn std::fmt::Display| {
        AttestorError::denied(format!("challenge response verification failed: {cause}"))
    };
    let algorithm = match shown.kind {
        ProofKind::Rsa { .. } => "RSA",
        ProofKind::Ecdsa => "ECDSA",
    };
    let (of_agent, proof) = response
        .proof(shown.kind)
        .ok_or_else(|| failed(&format_args!("expecting {algorithm} response")))?;
    let message =
        signed_message(nonce, &of_agent).ok_or_else(|| failed(&"invalid response nonce"))?;
    match verify_proof(&shown.leaf.public_key_der, &message, &proof) {
        Ok(()) => Ok(()),
        Err(PossessionError::Signature) => {
            Err(failed(&format_args!("{algorithm} signature verify failed")))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn check_address(origin: &Origin, leaf: &CertificateInfo) -> Result<(), AttestorError> {
    let address = origin
        .address
        .ok_or_else(|| AttestorError::internal("client IP not available for verification"))?;
    let address = address.to_canonical();
    let is_named = leaf
        .ip_addresses
        .iter()
        .any(|named| named.to_canonical() == address);
    is_named.then_some(()).ok_or_else(|| {
        AttestorError::denied(format!(
            "client IP {address} does not match any certificate IP SAN"
        ))
    })
}

/// A nonce that nobody has seen: an answer to one challenge answers no other.
fn new_nonce() -> Result<[u8; NONCE_LEN_BYTES], AttestorError> {
    let mut nonce = [0; NONCE_LEN_BYTES];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(unable_to_challenge)?;
    Ok(nonce)
}

fn unable_to_challenge(cause: impl std::fmt::Display) -> AttestorError {
    AttestorError::internal(format!("unable to generate challenge: {cause}"))
}

fn invalid(what: &str, cause: impl std::fmt::Display) -> AttestorError {
    AttestorError::invalid(format!("{what}: {cause}"))
}

const NO_CERTIFICATE: &str = "no certificate to attest";
