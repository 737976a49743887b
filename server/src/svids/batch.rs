//! Owns the signing of many X.509-SVIDs for one agent, without holding up anybody else.
//!
//! A request is checked and signed in about 0.1 ms, so a batch shares its thread: it steps aside
//! every half millisecond. Authorities that are slower than that sign on the blocking pool.

use std::sync::Arc;
use std::time::Duration;

use identity::entry::RegistrationEntry;
use identity::x509::Csr;
use raft_store::AgentRecord;
use tokio::time::Instant;

use super::{IssueError, NewX509Svid, Svids, lifetime};
use crate::ca::{Ca, SvidSubject, X509SvidParams};

/// What an agent asks for.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// The entry to sign for.
    pub entry_id: String,
    /// A signing request, of which only the public key counts.
    pub csr: Vec<u8>,
}

impl Svids {
    /// Signs X.509-SVIDs for entries on behalf of `agent`; answers in the order of `requests`, each
    /// for itself.
    ///
    /// # Errors
    /// The state could not be confirmed, so nothing can be said about any entry.
    pub async fn x509_for_agent(
        &self,
        agent: &AgentRecord,
        requests: Vec<SigningRequest>,
    ) -> Result<Vec<Result<NewX509Svid, IssueError>>, IssueError> {
        let ids: Vec<&str> = requests
            .iter()
            .map(|request| request.entry_id.as_str())
            .collect();
        let entries = self.entries_for(agent, &ids).await?;
        let work = std::iter::zip(entries, requests);
        if self.ca.signs_slowly() {
            return self.sign_aside(work.collect()).await;
        }
        let mut answers = Vec::with_capacity(work.len());
        let mut turn = Instant::now();
        for (entry, request) in work {
            if turn.elapsed() >= TURN {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
            answers.push(sign(&self.ca, entry.as_deref(), &request));
        }
        Ok(answers)
    }

    async fn sign_aside(
        &self,
        work: Vec<(Option<Arc<RegistrationEntry>>, SigningRequest)>,
    ) -> Result<Vec<Result<NewX509Svid, IssueError>>, IssueError> {
        let ca = self.ca.clone();
        let signing = tokio::task::spawn_blocking(move || {
            work.iter()
                .map(|(entry, request)| sign(&ca, entry.as_deref(), request))
                .collect()
        });
        signing.await.map_err(IssueError::Interrupted)
    }
}

/// How long a batch keeps its thread at a time.
const TURN: Duration = Duration::from_micros(500);

fn sign(
    ca: &Ca,
    entry: Option<&RegistrationEntry>,
    request: &SigningRequest,
) -> Result<NewX509Svid, IssueError> {
    let entry = entry.ok_or(IssueError::NotAuthorized)?;
    let csr = Csr::parse(&request.csr).map_err(IssueError::MalformedCsr)?;
    csr.verify_signature().map_err(IssueError::CsrSignature)?;
    let issued = ca.sign_x509_svid(&X509SvidParams {
        spiffe_id: &entry.spiffe_id,
        public_key_der: csr.spki_der(),
        dns_names: &entry.dns_names,
        ttl: lifetime(entry.x509_svid_ttl_s),
        subject: SvidSubject::Workload,
    })?;
    tracing::debug!(
        entry_id = entry.id.as_str(),
        spiffe_id = %entry.spiffe_id,
        serial_num = &*issued.serial,
        "Signed X509 SVID"
    );
    Ok(NewX509Svid {
        spiffe_id: entry.spiffe_id.clone(),
        issued,
    })
}
