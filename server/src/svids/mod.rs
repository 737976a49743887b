//! Owns the issuing of SVIDs: for agents, by their entries, and for administrators and downstream
//! servers, by what they ask for.
//!
//! For an agent, names and lifetime come from the entry; a signing request contributes its public
//! key and nothing else. Nothing is written to the store.

mod batch;
mod mint;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use identity::dns_name::DnsNameError;
use identity::entry::{EntryId, RegistrationEntry};
use identity::jwt_svid::JwtSvid;
use identity::spiffe_id::{IdError, SpiffeId};
use identity::x509::X509Error;
use raft_store::{AgentRecord, ReadError, Store};
use rustls_pki_types::CertificateDer;

pub use batch::SigningRequest;

use crate::ca::{Ca, IssuedX509, JwtSvidParams, NameError, SignError};
use crate::entries::authorized_entry;

/// Issues SVIDs.
#[derive(Clone, Debug)]
pub struct Svids {
    store: Store,
    ca: Ca,
}

/// A freshly issued X.509-SVID.
#[derive(Clone, Debug)]
pub struct NewX509Svid {
    /// Its name.
    pub spiffe_id: SpiffeId,
    /// What was signed.
    pub issued: IssuedX509,
}

/// A downstream server's CA.
#[derive(Clone, Debug)]
pub struct DownstreamAuthority {
    /// Its certificate, then those up to but without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots of the own trust domain.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Svids {
    /// SVIDs by the entries of `store`, signed by `ca`.
    pub fn new(store: Store, ca: Ca) -> Self {
        Self { store, ca }
    }

    /// Whether JWT-SVIDs are issued at all.
    pub fn issues_jwt_svids(&self) -> bool {
        self.ca.issues_jwt_svids()
    }

    /// Signs a JWT-SVID for the entry `entry_id`, on behalf of `agent`.
    ///
    /// # Errors
    /// Why none was issued.
    pub async fn jwt_for_agent(
        &self,
        agent: &AgentRecord,
        entry_id: &str,
        audience: Vec<String>,
    ) -> Result<JwtSvid, IssueError> {
        let entry = self
            .entries_for(agent, &[entry_id])
            .await
            .map(|mut found| found.pop())?;
        let entry = entry.flatten().ok_or(IssueError::NotAuthorized)?;
        if audience.is_empty() {
            return Err(IssueError::NoAudience);
        }
        let attributes = entry.additional_attributes.as_ref();
        Ok(self.ca.sign_jwt_svid(JwtSvidParams {
            spiffe_id: &entry.spiffe_id,
            audience,
            ttl: lifetime(entry.jwt_svid_ttl_s),
            include_jti: attributes.is_some_and(|attributes| attributes.jwt_svid_include_jti),
        })?)
    }

    /// The entries with these ids that `agent` is authorized for, in order.
    ///
    /// That there is none is confirmed by the quorum before it is said: a fresh entry must not be
    /// denied by a member that has not heard of it.
    async fn entries_for(
        &self,
        agent: &AgentRecord,
        ids: &[&str],
    ) -> Result<Vec<Option<Arc<RegistrationEntry>>>, IssueError> {
        let parsed: Vec<Option<EntryId>> = ids.iter().map(|id| EntryId::parse(id).ok()).collect();
        let found = self.look_up(agent, &parsed);
        let all_found =
            std::iter::zip(&parsed, &found).all(|(id, entry)| id.is_none() || entry.is_some());
        if all_found {
            return Ok(found);
        }
        self.store
            .linearizable(CONFIRM_WITHIN)
            .await
            .map_err(IssueError::Unconfirmed)?;
        Ok(self.look_up(agent, &parsed))
    }

    fn look_up(
        &self,
        agent: &AgentRecord,
        ids: &[Option<EntryId>],
    ) -> Vec<Option<Arc<RegistrationEntry>>> {
        self.store.read(|state| {
            ids.iter()
                .map(|id| {
                    id.as_ref()
                        .and_then(|id| authorized_entry(state, agent, id))
                })
                .collect()
        })
    }
}

/// Why an SVID was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no such entry, or the agent has no business with it.
    #[error("entry not found or not authorized")]
    NotAuthorized,
    /// Nobody is named whom a JWT-SVID is for.
    #[error("at least one audience is required")]
    NoAudience,
    /// The signing request cannot be read.
    #[error("signing request cannot be read")]
    MalformedCsr(#[source] X509Error),
    /// Whoever made the signing request does not hold its key.
    #[error("signature of the signing request does not verify")]
    CsrSignature(#[source] X509Error),
    /// The signing request names nobody.
    #[error("signing request without a URI name")]
    NoUriName,
    /// The signing request names several.
    #[error("signing request with several URI names")]
    SeveralUriNames,
    /// The name in the signing request is no SPIFFE ID.
    #[error("URI name of the signing request is not a SPIFFE ID")]
    UriName(#[source] IdError),
    /// The SPIFFE ID is not that of a workload of the own trust domain.
    #[error("SPIFFE ID is not that of a workload")]
    NotAWorkload(#[source] proto::convert::ConvertError),
    /// A DNS name in the signing request breaks a rule.
    #[error("DNS name of the signing request")]
    DnsName(#[source] DnsNameError),
    /// The subject of the signing request cannot be read.
    #[error("subject of the signing request cannot be read")]
    Subject(#[source] NameError),
    /// The thread that signs did not finish.
    #[error("signing was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// It could not be signed.
    #[error("could not be signed")]
    Sign(#[from] SignError),
    /// It is not certain that this member knows every entry.
    #[error("state could not be confirmed")]
    Unconfirmed(#[source] ReadError),
    /// The own bundle is not there yet.
    #[error("no bundle of the own trust domain")]
    NoBundle,
}

/// How long a refusal may wait for the certainty that it is right.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// The lifetime that an entry asks for; zero leaves it to the server.
fn lifetime(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
