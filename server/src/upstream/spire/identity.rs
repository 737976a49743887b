//! The identity of this server as a workload of an agent above, and the roots that it believes there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use identity::bundle::{Bundle, MAX_AUTHORITIES, X509Authority};
use identity::secret::{KeyError, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::tls::{SharedTlsMaterial, TlsError, TlsMaterial};
use identity::trust_domain::TrustDomain;
use identity::x509::{X509Error, split_certificates};
use identity::x509_svid::{SvidError, X509Svid};
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use proto::workload::{X509svidRequest, X509svidResponse};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};
use zeroize::Zeroizing;

/// What the Workload API says, for as long as it says something.
pub(super) struct Identity {
    updates: Streaming<X509svidResponse>,
    trust_domain: TrustDomain,
    material: SharedTlsMaterial,
}

impl Identity {
    /// The first identity that the Workload API at `socket` has for this process.
    pub(super) async fn of(
        socket: &Path,
        trust_domain: &TrustDomain,
    ) -> Result<Self, IdentityError> {
        let opening = Self::open(socket, trust_domain);
        match tokio::time::timeout(FETCH_WITHIN, opening).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(IdentityError::Late),
        }
    }

    async fn open(socket: &Path, trust_domain: &TrustDomain) -> Result<Self, IdentityError> {
        let channel = daemon::unix::connect(socket).await;
        let channel = channel.map_err(|error| match error {
            daemon::unix::ConnectError::Dial { path, source } => {
                IdentityError::Socket { path, source }
            }
            other => IdentityError::NoApi(other),
        })?;
        let mut request = Request::new(X509svidRequest {});
        let yes = MetadataValue::from_static("true");
        request.metadata_mut().insert("workload.spiffe.io", yes);
        let mut client =
            SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_UPDATE_LEN_BYTES);
        let updates = client.fetch_x509svid(request).await;
        let mut updates = updates.map_err(refused)?.into_inner();
        let first = updates.message().await.map_err(refused)?;
        let material = material(first.ok_or(IdentityError::Ended)?, trust_domain)?;
        Ok(Self {
            updates,
            trust_domain: trust_domain.clone(),
            material: SharedTlsMaterial::new(material),
        })
    }

    /// What handshakes show and believe; follows the Workload API.
    pub(super) fn material(&self) -> SharedTlsMaterial {
        self.material.clone()
    }

    /// Takes over what was told meanwhile; whether there is somebody who would tell.
    pub(super) fn refresh(&mut self) -> Result<bool, IdentityError> {
        for _ in 0..MAX_UPDATES_AT_ONCE {
            match self.updates.message().now_or_never() {
                None => return Ok(true),
                Some(Ok(Some(update))) => {
                    self.material.replace(material(update, &self.trust_domain)?);
                }
                // Whatever ended it: another stream tells what it is.
                Some(Ok(None) | Err(_)) => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn material(
    update: X509svidResponse,
    trust_domain: &TrustDomain,
) -> Result<TlsMaterial, IdentityError> {
    let first = update.svids.into_iter().next();
    let first = first.ok_or(IdentityError::NoIdentity)?;
    let pkcs8 = Zeroizing::new(first.x509_svid_key);
    let key = PrivateKey::from_pkcs8(&pkcs8).map_err(IdentityError::Key)?;
    let chain = split_certificates(&first.x509_svid).map_err(IdentityError::Certificates)?;
    let svid = X509Svid::new(chain, key).map_err(IdentityError::Svid)?;
    if svid.spiffe_id().trust_domain() != trust_domain {
        return Err(IdentityError::TrustDomain(svid.spiffe_id().clone()));
    }
    let roots = split_certificates(&first.bundle).map_err(IdentityError::Certificates)?;
    if roots.len() > MAX_AUTHORITIES {
        return Err(IdentityError::TooManyRoots);
    }
    let roots: Result<Vec<_>, _> = roots.into_iter().map(X509Authority::new).collect();
    let bundle = Bundle {
        x509_authorities: roots.map_err(IdentityError::Certificates)?,
        ..Bundle::empty(trust_domain.clone())
    };
    TlsMaterial::new(Some(svid), [Arc::new(bundle)]).map_err(IdentityError::Tls)
}

/// Whether an answer of the Workload API holds an identity that can be shown.
#[cfg(feature = "fuzzing")]
pub fn is_identity(update: X509svidResponse, own: &TrustDomain) -> bool {
    material(update, own).is_ok()
}

fn refused(status: Status) -> IdentityError {
    IdentityError::Refused(format!("{:?}: {}", status.code(), status.message()))
}

/// How long the Workload API may take.
const FETCH_WITHIN: Duration = Duration::from_secs(10);

/// Updates that are taken over before a question is asked.
const MAX_UPDATES_AT_ONCE: usize = 16;

const MAX_UPDATE_LEN_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no identity to show.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nobody listens on the socket.
    #[error("cannot open {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something else listens there.
    #[error("no Workload API")]
    NoApi(#[source] daemon::unix::ConnectError),
    /// The Workload API refused.
    #[error("{0}")]
    Refused(String),
    /// It said nothing.
    #[error("the stream ended before its first message")]
    Ended,
    /// It took too long.
    #[error("no answer within {} s", FETCH_WITHIN.as_secs())]
    Late,
    /// It has none for this process.
    #[error("no identity")]
    NoIdentity,
    /// The key cannot be read.
    #[error("key of the identity cannot be used")]
    Key(#[source] KeyError),
    /// Certificates cannot be read.
    #[error("certificates cannot be read")]
    Certificates(#[source] X509Error),
    /// There are too many roots.
    #[error("more than {MAX_AUTHORITIES} roots")]
    TooManyRoots,
    /// It is no X.509-SVID.
    #[error("identity is not an X509-SVID")]
    Svid(#[source] SvidError),
    /// It is of another trust domain.
    #[error("{0} is not in the trust domain of this server")]
    TrustDomain(SpiffeId),
    /// It cannot be shown in handshakes.
    #[error("identity cannot be used for TLS")]
    Tls(#[source] TlsError),
}

#[cfg(test)]
mod tests {
    use identity::testing::TestAuthority;
    use proto::workload::X509svid;

    use super::*;

    /// What the Workload API of `authority`'s trust domain says, with so many roots.
    fn update(authority: &TestAuthority, roots: usize) -> X509svidResponse {
        let svid = authority.x509_svid("/below");
        let root = &authority.bundle().x509_authorities[0].certificate;
        X509svidResponse {
            svids: vec![X509svid {
                spiffe_id: svid.spiffe_id().to_string(),
                x509_svid: svid.chain().iter().flat_map(|one| one.to_vec()).collect(),
                x509_svid_key: svid.key().pkcs8().expose().to_vec(),
                bundle: root.repeat(roots),
                hint: String::new(),
            }],
            ..X509svidResponse::default()
        }
    }

    #[test]
    fn only_an_identity_of_the_own_domain_is_shown() {
        let authority = TestAuthority::new("example.org");
        let own = authority.trust_domain();
        let shown = material(update(&authority, 2), own).unwrap();
        assert_eq!(shown.svid().unwrap().spiffe_id().path(), "/below");
        assert_eq!(shown.bundle(own).unwrap().x509_authorities.len(), 2);

        let foreign = update(&TestAuthority::new("other.test"), 1);
        let error = material(foreign, own).unwrap_err();
        assert!(matches!(&error, IdentityError::TrustDomain(id) if id.path() == "/below"));
        let nobody = X509svidResponse::default();
        let error = material(nobody, own).unwrap_err();
        assert!(matches!(error, IdentityError::NoIdentity), "{error:?}");
        let mut broken = update(&authority, 1);
        broken.svids[0].x509_svid_key = b"no key".to_vec();
        let error = material(broken, own).unwrap_err();
        assert!(matches!(error, IdentityError::Key(_)), "{error:?}");
    }

    #[test]
    fn roots_are_bounded() {
        let authority = TestAuthority::new("example.org");
        let own = authority.trust_domain();
        material(update(&authority, MAX_AUTHORITIES), own).unwrap();
        let error = material(update(&authority, MAX_AUTHORITIES + 1), own).unwrap_err();
        assert!(matches!(error, IdentityError::TooManyRoots), "{error:?}");
    }
}
