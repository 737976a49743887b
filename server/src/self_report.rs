//! Owns what a server says of itself to its operators: since when it runs, how much it holds, and
//! who vouches for it.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::UnixTime;
use identity::spiffe_id::SpiffeId;
use identity::tls::SharedTlsMaterial;
use identity::trust_domain::TrustDomain;
use identity::x509::CertificateInfo;
use raft_store::{State, Store};
use tokio::time::Instant;

/// A server that can tell of itself.
#[derive(Clone, Debug)]
pub struct SelfReport {
    store: Store,
    material: SharedTlsMaterial,
    trust_domain: TrustDomain,
    started: Arc<Instant>,
}

/// How much a server holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// Agents, banned ones too.
    pub agents: usize,
    /// Registration entries.
    pub entries: usize,
    /// Bundles, the own one too.
    pub bundles: usize,
}

/// A certificate between the server and its root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Whose it is, if it says so.
    pub spiffe_id: Option<SpiffeId>,
    /// Its last second.
    pub not_after: UnixTime,
    /// Its subject, as Go writes one.
    pub subject: String,
}

impl SelfReport {
    /// The report of a server that starts now and shows `material`.
    pub fn new(store: Store, material: SharedTlsMaterial, trust_domain: TrustDomain) -> Self {
        Self {
            store,
            material,
            trust_domain,
            started: Arc::new(Instant::now()),
        }
    }

    /// For how long it has run.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        self.store.read(|state: &State| Counts {
            agents: state.agent_count(),
            entries: state.entry_count(),
            bundles: state.bundle_count(),
        })
    }

    /// The server's own certificate, and those above it up to the root.
    pub fn svid_chain(&self) -> Vec<Link> {
        let material = self.material.load();
        let shown = material.svid().map(|svid| svid.chain()).unwrap_or_default();
        let mut chain: Vec<_> = shown
            .iter()
            .filter_map(|der| CertificateInfo::parse(der).ok())
            .collect();
        chain.extend(chain.last().and_then(|last| self.root_of(last)));
        chain.iter().map(link).collect()
    }

    fn root_of(&self, issued: &CertificateInfo) -> Option<CertificateInfo> {
        let bundle = self
            .store
            .read(|state| state.bundle(&self.trust_domain).cloned())?;
        let authorities = bundle.x509_authorities.iter();
        authorities
            .filter_map(|authority| CertificateInfo::parse(&authority.certificate).ok())
            .find(|root| {
                root.subject_der == issued.issuer_der
                    && root.subject_key_id == issued.authority_key_id
            })
    }
}

fn link(certificate: &CertificateInfo) -> Link {
    Link {
        spiffe_id: certificate.spiffe_id().ok(),
        not_after: certificate.not_after,
        subject: certificate.subject_text(),
    }
}
