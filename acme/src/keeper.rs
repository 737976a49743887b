//! Where what is obtained stays, and where proofs are shown.

use std::{error::Error, future::Future};

use identity::secret::PrivateKey;

use crate::{certificate::Certificate, proof::ProofDigest};

/// An account at an ACME server.
#[derive(Clone)]
pub struct Account {
    /// The directory of the ACME server.
    pub directory_url: Box<str>,
    /// What the ACME server calls it; `None` if only the key is known.
    pub url: Option<Box<str>>,
    /// What its requests are signed with: on P-256.
    pub key: PrivateKey,
}

/// Keeps what an ACME client must not lose, and shows its proofs.
pub trait Keeper: Send + Sync + 'static {
    /// The account, if there is one.
    fn account(&self) -> impl Future<Output = Result<Option<Account>, KeepError>> + Send;

    /// Keeps an account in place of any other.
    fn keep_account(&self, account: Account) -> impl Future<Output = Result<(), KeepError>> + Send;

    /// The certificate of `domain`, if there is one.
    fn certificate(
        &self,
        domain: &str,
    ) -> impl Future<Output = Result<Option<Certificate>, KeepError>> + Send;

    /// Keeps and shows a certificate of `domain` in place of any other.
    fn keep_certificate(
        &self,
        domain: &str,
        certificate: Certificate,
    ) -> impl Future<Output = Result<(), KeepError>> + Send;

    /// Shows the proof for `domain` in place of any other. Once this returns, whoever may be asked
    /// shows it.
    fn show_proof(
        &self,
        domain: &str,
        proof: ProofDigest,
    ) -> impl Future<Output = Result<(), KeepError>> + Send;

    /// The proof for `domain` is needed no more.
    fn hide_proof(&self, domain: &str) -> impl Future<Output = ()> + Send;
}

/// Something could not be kept, found or shown. Whether it is kept may be open.
#[derive(Debug, thiserror::Error)]
#[error("{doing} failed")]
pub struct KeepError {
    doing: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl KeepError {
    /// That `doing` failed because of `source`.
    pub fn new(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            doing,
            source: source.into(),
        }
    }
}
