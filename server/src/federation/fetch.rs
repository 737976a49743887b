//! One bundle from one endpoint.

use std::sync::Arc;
use std::time::Duration;

use daemon::https::{self, Document, GetCause, GetError, Limits, NoRoots};
use daemon::supervisor::chain;
use identity::bundle::{Bundle, JwksError, MAX_JWKS_LEN_BYTES};
use identity::federation::{BundleEndpoint, EndpointProfile};
use identity::tls::{SharedTlsMaterial, TlsError, TlsMaterial, handshake_failure};
use identity::trust_domain::TrustDomain;
use rustls::ClientConfig;

use super::Federation;

impl Federation {
    /// The bundle of `trust_domain` as its endpoint has it now.
    pub(super) async fn fetch(
        &self,
        trust_domain: &TrustDomain,
        endpoint: &BundleEndpoint,
    ) -> Result<Bundle, FetchError> {
        let tls = self.whom_to_believe(&endpoint.profile).await?;
        let got = https::get(endpoint.url.as_str(), tls, LIMITS).await;
        let Document { status, body, .. } = got.map_err(FetchError::of_download)?;
        if status != http::StatusCode::OK {
            return Err(FetchError::Status {
                status: status.as_u16(),
                text: beginning(&body),
            });
        }
        Ok(Bundle::from_spiffe_jwks(trust_domain, &body)?)
    }

    async fn whom_to_believe(
        &self,
        profile: &EndpointProfile,
    ) -> Result<Arc<ClientConfig>, FetchError> {
        match profile {
            EndpointProfile::HttpsWeb => {
                // It reads files.
                let reading = tokio::task::spawn_blocking(https::web_client_config);
                Ok(reading.await.map_err(FetchError::Interrupted)??)
            }
            EndpointProfile::HttpsSpiffe { endpoint_spiffe_id } => {
                let bundle = self.bundle(endpoint_spiffe_id.trust_domain());
                let bundle = bundle.ok_or(FetchError::NoBundle)?;
                let material = SharedTlsMaterial::new(TlsMaterial::new(None, [bundle])?);
                Ok(Arc::new(identity::tls::https_client_config(
                    material,
                    endpoint_spiffe_id.clone(),
                    Arc::clone(&self.clock),
                )?))
            }
        }
    }
}

/// Why an endpoint has no bundle for us. The texts are SPIRE's.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing is held that the endpoint could prove itself with.
    #[error("can't perform SPIFFE Authentication: local copy of bundle not found")]
    NoBundle,
    /// This machine believes nobody on the web.
    #[error("failed to fetch federated bundle from endpoint")]
    NoRoots(#[from] NoRoots),
    /// The thread that reads the roots did not finish.
    #[error("reading of root certificates was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
    /// TLS could not be set up.
    #[error("failed to prepare TLS for the endpoint")]
    Tls(#[from] TlsError),
    /// The endpoint could not be reached or believed, or its answer is too long or too late.
    #[error("failed to fetch federated bundle from endpoint: failed to fetch bundle: {0}")]
    Download(String),
    /// The endpoint has another answer.
    #[error(
        "failed to fetch federated bundle from endpoint: unexpected status {status} fetching \
         bundle: {text}"
    )]
    Status {
        /// The status.
        status: u16,
        /// How the answer begins.
        text: String,
    },
    /// What the endpoint has is no bundle.
    #[error("failed to fetch federated bundle from endpoint: failed to decode bundle")]
    Document(#[from] JwksError),
}

impl FetchError {
    fn of_download(error: GetError) -> Self {
        Self::Download(match error.cause() {
            // rustls does not say in words what our verifier found.
            GetCause::Handshake(cause) => format!("{error}: {}", handshake_failure(cause)),
            _ => chain(&error),
        })
    }
}

/// How a text begins, as far as it is one.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN_BYTES)]);
    let text: String = text
        .chars()
        .map(|character| match character.is_control() {
            true => ' ',
            false => character,
        })
        .collect();
    text.trim().to_owned()
}

const LIMITS: Limits = Limits {
    max_len_bytes: MAX_JWKS_LEN_BYTES,
    within: Duration::from_secs(30),
};

const MAX_SHOWN_BYTES: usize = 1024;
