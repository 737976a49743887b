//! What an ACME server gave to the cluster.

use rustls_pki_types::CertificateDer;

use super::Sealed;

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AcmeSecretKind {
    /// It signs requests to the ACME server.
    Account,
    /// It is that of a certificate of the web, which every member shows.
    Certificate,
}

impl AcmeSecretKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Account, Self::Certificate];
}

/// A key with what an ACME server gave for it. There is one of each kind.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeSecret {
    /// What the key is for.
    pub kind: AcmeSecretKind,
    /// The directory of the ACME server.
    pub directory_url: Box<str>,
    /// The URL of the account, or the domain of the certificate.
    pub name: Box<str>,
    /// The certificate and those that lead to its root; none for an account.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub sealed_key: Sealed,
}
