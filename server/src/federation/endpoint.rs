//! Where the own bundle is published: every member has an endpoint, and all publish the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acme::proof::ProvingHandshakes;
use anyhow::Context as _;
use daemon::supervisor::Supervisor;
use daemon::web::{self, Answer, CertificateFiles, Documents, Listener, Origin};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use identity::bundle::Bundle;
use identity::clock::Clock;
use identity::tls::{KeyExchange, SharedTlsMaterial};
use raft_store::Store;
use tracing::info;

use super::web_certificate::{self, WebCertificate};
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
    /// A certificate of the web that the cluster obtains by ACME (`https_web`).
    Acme {
        /// The name by which others come.
        domain: Box<str>,
        /// Whom to ask for it.
        settings: acme::settings::Settings,
    },
    /// A certificate of the web from files (`https_web`).
    CertificateFiles {
        /// The chain, in PEM.
        certificate: PathBuf,
        /// Its key, in PEM.
        key: PathBuf,
        /// How often to look whether the files have changed.
        sync_interval: Duration,
    },
}

/// What is published, and what proves it.
pub struct Publisher {
    /// The own bundle is among them.
    pub bundles: Bundles,
    /// The server's SVID is in it.
    pub material: SharedTlsMaterial,
    /// How connections agree on keys.
    pub key_exchange: KeyExchange,
    /// What comes by ACME is in it.
    pub store: Store,
    /// By which certificates are renewed.
    pub clock: Arc<dyn Clock>,
}

/// Binds the endpoint and starts to serve the own bundle.
///
/// # Errors
///
/// The address cannot be bound, or the certificate files cannot be used.
pub async fn start(
    supervisor: &mut Supervisor,
    settings: BundleEndpointSettings,
    publisher: Publisher,
) -> anyhow::Result<()> {
    let (profile, listener) = listen(supervisor, &settings, &publisher).await?;
    info!(
        addr = settings.address,
        refresh_hint = daemon::duration::format_go(settings.refresh_hint),
        profile,
        subsystem_name = "endpoints",
        "Serving bundle endpoint"
    );
    let document = Arc::new(OwnBundle {
        bundles: publisher.bundles,
        refresh_hint_s: i64::try_from(settings.refresh_hint.as_secs()).unwrap_or(i64::MAX),
    });
    supervisor.start("bundle_endpoint", |shutdown| {
        listener.serve(document, shutdown)
    });
    Ok(())
}

/// Binds the endpoint, and starts what keeps its certificate current; with the name of its profile.
async fn listen(
    supervisor: &mut Supervisor,
    settings: &BundleEndpointSettings,
    publisher: &Publisher,
) -> anyhow::Result<(&'static str, Listener)> {
    let clock = Arc::clone(&publisher.clock);
    let key_exchange = publisher.key_exchange;
    let (profile, listener) = match &settings.proof {
        EndpointProof::ServerSvid => {
            let material = publisher.material.clone();
            let tls = identity::tls::https_server_config(material, key_exchange, clock)?;
            let listener = Listener::tls(&settings.address, Arc::new(tls)).await;
            ("https_spiffe", listener)
        }
        EndpointProof::Acme {
            domain,
            settings: acme,
        } => {
            let store = publisher.store.clone();
            let certificate = Arc::new(WebCertificate::new(store, clock, domain, acme));
            let usual = web::server_config_with(key_exchange.provider(), certificate.clone())?;
            let handshakes = ProvingHandshakes::new(usual, Arc::clone(&certificate));
            let listener = Listener::tls_by_hello(&settings.address, Arc::new(handshakes)).await;
            let acme = acme.clone();
            supervisor.start("bundle_endpoint_acme", |shutdown| {
                web_certificate::tend(certificate, acme, shutdown)
            });
            ("https_web", listener)
        }
        EndpointProof::CertificateFiles {
            certificate,
            key,
            sync_interval,
        } => {
            let files = CertificateFiles::load(certificate.clone(), key.clone());
            let files = files.context("bundle endpoint has no certificate")?;
            let tls = web::server_config_with(key_exchange.provider(), files.clone())?;
            let sync_interval = *sync_interval;
            supervisor.start("bundle_endpoint_certificate", move |shutdown| {
                files.follow(sync_interval, shutdown)
            });
            ("https_web", Listener::tls(&settings.address, tls).await)
        }
    };
    let listener = listener.context("cannot serve the bundle endpoint")?;
    Ok((profile, listener))
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
