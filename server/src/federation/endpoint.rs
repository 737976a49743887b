//! Where the own bundle is published: every member has an endpoint, and all publish the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::supervisor::Supervisor;
use daemon::web::{self, Answer, CertificateFiles, Documents, Listener, Origin};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use identity::bundle::Bundle;
use identity::clock::Clock;
use identity::tls::{KeyExchange, SharedTlsMaterial};
use tracing::info;

use crate::bundles::Bundles;

/// Where and how the own bundle is published.
#[derive(Clone, Debug)]
pub struct BundleEndpointSettings {
    /// Where to listen, `HOST:PORT`; without a host on every address.
    pub address: String,
    /// How often others are to look for a new one.
    pub refresh_hint: Duration,
    /// What the endpoint shows.
    pub proof: EndpointProof,
}

/// What an endpoint proves itself with.
#[derive(Clone, Debug)]
pub enum EndpointProof {
    /// The server's own SVID (`https_spiffe`).
    ServerSvid,
    /// A certificate of the web (`https_web`).
    CertificateFiles {
        /// The chain, in PEM.
        certificate: PathBuf,
        /// Its key, in PEM.
        key: PathBuf,
        /// How often to look whether the files have changed.
        sync_interval: Duration,
    },
}

/// What an endpoint needs to speak TLS.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    /// Holds the server's SVID.
    pub material: SharedTlsMaterial,
    /// How connections agree on keys.
    pub key_exchange: KeyExchange,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Binds the endpoint and starts to serve `bundles`' own one.
///
/// # Errors
///
/// The address cannot be bound, or the certificate files cannot be used.
pub async fn start(
    supervisor: &mut Supervisor,
    settings: BundleEndpointSettings,
    bundles: Bundles,
    tls: EndpointTls,
) -> anyhow::Result<()> {
    let EndpointTls {
        material,
        key_exchange,
        clock,
    } = tls;
    let profile;
    let tls = match settings.proof {
        EndpointProof::ServerSvid => {
            profile = "https_spiffe";
            Arc::new(identity::tls::https_server_config(
                material,
                key_exchange,
                clock,
            )?)
        }
        EndpointProof::CertificateFiles {
            certificate,
            key,
            sync_interval,
        } => {
            profile = "https_web";
            let files = CertificateFiles::load(certificate, key);
            let files = files.context("bundle endpoint has no certificate")?;
            supervisor.start("bundle_endpoint_certificate", {
                let files = Arc::clone(&files);
                move |shutdown| files.follow(sync_interval, shutdown)
            });
            web::server_config_with(key_exchange.provider(), files)?
        }
    };
    let listener = Listener::tls(&settings.address, tls).await;
    let listener = listener.context("cannot serve the bundle endpoint")?;
    info!(
        addr = settings.address,
        refresh_hint = daemon::duration::format_go(settings.refresh_hint),
        profile,
        subsystem_name = "endpoints",
        "Serving bundle endpoint"
    );
    let document = Arc::new(OwnBundle {
        bundles,
        refresh_hint_s: i64::try_from(settings.refresh_hint.as_secs()).unwrap_or(i64::MAX),
    });
    supervisor.start("bundle_endpoint", |shutdown| {
        listener.serve(document, shutdown)
    });
    Ok(())
}

/// The one document of the endpoint.
struct OwnBundle {
    bundles: Bundles,
    refresh_hint_s: i64,
}

impl Documents for OwnBundle {
    fn answer(&self, request: &Parts, _origin: Origin) -> Answer {
        if request.method != Method::GET {
            let text = "405 method not allowed";
            return web::plain_text(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        if request.uri.path() != "/" {
            return web::plain_text(StatusCode::NOT_FOUND, "404 page not found");
        }
        let Some(own) = self.bundles.own() else {
            let text = "500 unable to retrieve local bundle";
            return web::plain_text(StatusCode::INTERNAL_SERVER_ERROR, text);
        };
        let published = Bundle {
            refresh_hint_s: self.refresh_hint_s,
            ..Bundle::clone(&own)
        };
        let mut answer = Answer::new(published.to_spiffe_jwks().into());
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        answer
    }
}
