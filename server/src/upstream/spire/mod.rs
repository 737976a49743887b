//! An upstream that is a server of the same trust domain, Conclave's or SPIRE's: `UpstreamAuthority
//! "spire"`.
//!
//! This server is a workload of an agent of that one, and has a `downstream` entry there. Its identity
//! comes from the agent's Workload API and follows it for as long as the session lasts. A session
//! begins with the first question and ends with the first failure: the next question starts anew.

mod connection;
mod identity;

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use ::identity::bundle::{Bundle, JwtAuthority};
use ::identity::clock::Clock;
use ::identity::tls::TlsError;
use ::identity::trust_domain::TrustDomain;
use daemon::supervisor::chain;
use futures_util::future::BoxFuture;
use proto::convert::{self, ConvertError};
use proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use proto::spire::api::server::bundle::v1::{GetBundleRequest, PublishJwtAuthorityRequest};
use proto::spire::api::server::svid::v1::NewDownstreamX509caRequest;
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::types;
use rustls_pki_types::CertificateDer;
use tokio::sync::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use super::{MintRequest, Minted, SpireSettings, UpstreamAuthority, UpstreamError};
use connection::connect;
use identity::{Identity, IdentityError};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use identity::is_identity;

/// A server above.
pub struct Spire {
    settings: SpireSettings,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    session: Mutex<Option<Session>>,
}

/// An identity and a connection that shows it.
struct Session {
    identity: Identity,
    channel: Channel,
}

impl Spire {
    /// The server that `settings` name; nothing is asked yet.
    pub fn new(settings: SpireSettings, trust_domain: TrustDomain, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            trust_domain,
            clock,
            session: Mutex::new(None),
        }
    }

    /// Asks on the session of now, or on a new one. It is gone for others meanwhile, and for good
    /// if the answer is a failure or does not come.
    async fn ask<T, F>(&self, question: impl FnOnce(Channel) -> F) -> Result<T, SpireError>
    where
        F: Future<Output = Result<T, SpireError>>,
    {
        let mut held = self.session.lock().await;
        let mut before = held.take();
        let goes_on = match &mut before {
            Some(session) => session.identity.refresh()?,
            None => false,
        };
        let session = match before.filter(|_| goes_on) {
            Some(session) => session,
            None => self.begin().await?,
        };
        let answer = question(session.channel.clone()).await?;
        *held = Some(session);
        Ok(answer)
    }

    async fn begin(&self) -> Result<Session, SpireError> {
        let socket = &self.settings.workload_api_socket;
        let identity = Identity::of(socket, &self.trust_domain).await?;
        let clock = Arc::clone(&self.clock);
        let channel = connect(
            &self.settings,
            &self.trust_domain,
            identity.material(),
            clock,
        );
        Ok(Session {
            identity,
            channel: channel.map_err(SpireError::Tls)?,
        })
    }

    async fn own_bundle(channel: Channel, own: &TrustDomain) -> Result<Bundle, SpireError> {
        let bundle = BundleClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER_LEN_BYTES)
            .get_bundle(GetBundleRequest::default())
            .await
            .map_err(|status| SpireError::call("failed to get bundle", &status))?;
        received(&bundle.into_inner(), own)
    }
}

/// The bundle of the own trust domain that a server above told.
fn received(told: &types::Bundle, own: &TrustDomain) -> Result<Bundle, SpireError> {
    let bundle = convert::bundle::received(told).map_err(SpireError::Answer)?;
    if bundle.trust_domain != *own {
        return Err(SpireError::TrustDomain(bundle.trust_domain));
    }
    Ok(bundle)
}

impl UpstreamAuthority for Spire {
    fn name(&self) -> &str {
        "spire"
    }

    fn mint<'a>(
        &'a self,
        request: &'a MintRequest,
    ) -> BoxFuture<'a, Result<Minted, UpstreamError>> {
        let request = NewDownstreamX509caRequest {
            csr: request.csr.clone(),
            preferred_ttl: i32::try_from(request.preferred_ttl.as_secs()).unwrap_or(i32::MAX),
        };
        let asking = self.ask(move |channel| async move {
            let answer = SvidClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER_LEN_BYTES)
                .new_downstream_x509ca(request)
                .await
                .map_err(|status| {
                    SpireError::call("unable to request a new Downstream X509CA", &status)
                })?;
            // That answer does not tell which roots are tainted.
            let bundle = Self::own_bundle(channel, &self.trust_domain).await?;
            let chain = answer.into_inner().ca_cert_chain.into_iter();
            Ok(Minted {
                chain: chain.map(CertificateDer::from).collect(),
                roots: bundle.x509_authorities,
            })
        });
        Box::pin(async { Ok(asking.await?) })
    }

    fn publish_jwt_key<'a>(
        &'a self,
        key: &'a JwtAuthority,
    ) -> BoxFuture<'a, Result<Vec<JwtAuthority>, UpstreamError>> {
        let asking = self.ask(|channel| async {
            let key = convert::bundle::jwt_authorities_to_wire(std::slice::from_ref(key));
            let request = PublishJwtAuthorityRequest {
                jwt_authority: key.into_iter().next(),
            };
            let answer = BundleClient::new(channel)
                .max_decoding_message_size(MAX_ANSWER_LEN_BYTES)
                .publish_jwt_authority(request)
                .await
                .map_err(|status| SpireError::call("failed to push JWT authority", &status))?;
            let keys = answer.into_inner().jwt_authorities;
            convert::bundle::jwt_authorities(&keys).map_err(SpireError::Answer)
        });
        Box::pin(async { Ok(asking.await?) })
    }

    fn bundle(&self) -> BoxFuture<'_, Result<Bundle, UpstreamError>> {
        let asking = self.ask(|channel| Self::own_bundle(channel, &self.trust_domain));
        Box::pin(async { Ok(asking.await?) })
    }

    fn rest(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Whoever holds it is asking just now: an operator.
            if let Ok(mut held) = self.session.try_lock() {
                *held = None;
            }
        })
    }
}

impl fmt::Debug for Spire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spire")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A bundle has up to a thousand authorities of each kind, of a kilobyte or two.
const MAX_ANSWER_LEN_BYTES: usize = 4 * 1024 * 1024;

/// Why a server above did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SpireError {
    /// There is no identity to show to it.
    #[error("unable to get an identity from the Workload API")]
    Identity(#[from] IdentityError),
    /// The connection cannot be set up.
    #[error("unable to set up TLS")]
    Tls(#[source] TlsError),
    /// It refused, or was not reached.
    #[error("{what}: {answer}")]
    Call {
        /// What was asked for.
        what: &'static str,
        /// What it said, or what the connection failed with.
        answer: String,
    },
    /// Its answer cannot be read.
    #[error("answer of the upstream server cannot be read")]
    Answer(#[source] ConvertError),
    /// It is a server of another trust domain.
    #[error("upstream server is in trust domain {0}")]
    TrustDomain(TrustDomain),
}

impl SpireError {
    fn call(what: &'static str, status: &Status) -> Self {
        let mut answer = format!("{:?}: {}", status.code(), status.message());
        if let Some(cause) = status.source() {
            answer = format!("{answer}: {}", chain(cause));
        }
        Self::Call { what, answer }
    }
}

#[cfg(test)]
mod tests {
    use ::identity::testing::TestAuthority;

    use super::*;

    #[test]
    fn a_server_above_tells_the_bundle_of_the_own_domain_and_of_no_other() {
        let authority = TestAuthority::new("example.org");
        let own = authority.trust_domain();
        let told = convert::bundle::to_wire(&authority.bundle(), None);
        assert_eq!(received(&told, own).unwrap(), authority.bundle());

        // With the right roots, even: what follows a bundle goes by its name.
        let renamed = types::Bundle {
            trust_domain: "other.test".to_owned(),
            ..told
        };
        let refused = received(&renamed, own).unwrap_err();
        assert!(
            matches!(&refused, SpireError::TrustDomain(named) if named.as_str() == "other.test")
        );
        assert_eq!(
            refused.to_string(),
            "upstream server is in trust domain other.test"
        );
        let nameless = types::Bundle::default();
        let refused = received(&nameless, own).unwrap_err();
        assert!(matches!(refused, SpireError::Answer(_)), "{refused:?}");
    }
}
