//! Puts the provider together and runs it.

use std::{sync::Arc, time::Duration};

use acme::{proof::ProvingHandshakes, tender::Tender};
use daemon::{
    log::LogControl,
    supervisor::{Shutdown, Supervisor},
    unix::{self, BindOptions},
    web::{CertificateFiles, Documents, Listener, server_config},
};
use identity::{bundle::KeyUse, clock::SystemClock};
use tracing::{info, warn};

use crate::{
    config::{Config, Listen},
    discovery::Names,
    documents::{Parameters, PublicDocuments},
    domains::Domains,
    health::Probes,
    key_set::KeySet,
    source,
    web_certificates::WebCertificates,
};

/// How long tasks may take to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Runs the provider until `shutdown` or a signal.
///
/// # Errors
/// It cannot come up, or cannot go on.
pub async fn run(config: Config, log: LogControl, shutdown: Shutdown) -> anyhow::Result<()> {
    // First: it takes the signals.
    let mut supervisor = Supervisor::stopped_by(shutdown);
    for explanation in &config.explanations {
        warn!("{explanation}");
    }
    if config.allow_insecure_scheme {
        warn!(
            "allow_insecure_scheme is enabled. JWKS keys will be served over HTTP. Only enable this when the network path to the provider is trusted end-to-end (for example, when TLS is terminated at a trusted reverse proxy or load balancer on a private network)"
        );
    }
    let key_use = match config.set_key_use {
        true => KeyUse::Signature,
        false => KeyUse::Unsaid,
    };
    let keys = Arc::new(KeySet::new(Arc::new(SystemClock), key_use));
    let listener = listen(config.listen, &config.domains, &mut supervisor).await?;
    if let Some(checks) = config.health_checks {
        let address = format!(":{}", checks.bind_port);
        let listener = Listener::plain(&address).await?;
        let probes: Arc<dyn Documents> =
            Arc::new(Probes::new(checks, Arc::clone(&keys), config.poll_interval));
        supervisor.start("health checks", |shutdown| listener.serve(probes, shutdown));
    }
    if config.log_requests {
        info!("Logging all requests");
    }
    let documents: Arc<dyn Documents> = Arc::new(PublicDocuments::new(Parameters {
        names: Names {
            jwt_issuer: config.jwt_issuer,
            jwks_uri: config.jwks_uri,
            path_prefix: config.server_path_prefix,
        },
        domains: config.domains,
        keys: Arc::clone(&keys),
        allow_insecure_scheme: config.allow_insecure_scheme,
        log_requests: config.log_requests,
    }));
    supervisor.start("documents", |shutdown| listener.serve(documents, shutdown));
    supervisor.start("source", |shutdown| {
        source::poll(config.source, config.poll_interval, keys, shutdown)
    });
    supervisor.start("log", |shutdown| log.reopen_on_signal(shutdown));
    Ok(supervisor.run(SHUTDOWN_GRACE).await?)
}

/// Binds the listener, and starts what keeps its certificate current.
async fn listen(
    listen: Listen,
    domains: &Domains,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Listener> {
    match listen {
        Listen::Insecure { address } => {
            let listener = Listener::plain(&address).await?;
            warn!(address, "Serving HTTP (insecure)");
            Ok(listener)
        }
        Listen::Socket { path } => {
            let listener = unix::bind(&path, SOCKET_OPTIONS).await?;
            let address = path.display();
            info!(network = "unix", %address, "Serving HTTP");
            Ok(Listener::unix(listener))
        }
        Listen::Acme {
            address,
            settings,
            cache,
        } => {
            if cache.is_none() {
                warn!(
                    "cache_dir is empty: every start orders certificates, and an ACME server takes only so many"
                );
            }
            let certificates = WebCertificates::open(cache, settings.directory_url())?;
            let usual = server_config(certificates.clone())?;
            let handshakes = ProvingHandshakes::new(usual, Arc::clone(&certificates));
            let listener = Listener::tls_by_hello(&address, Arc::new(handshakes)).await?;
            info!(address, "Serving HTTPS via ACME");
            let names = domains.names();
            let tender = Tender::new(settings, names, certificates, Arc::new(SystemClock));
            supervisor.start("acme", |shutdown| tender.run(shutdown));
            Ok(listener)
        }
        Listen::CertificateFiles {
            address,
            certificate,
            key,
            sync_interval,
        } => {
            let cert_file_path = certificate.display().to_string();
            let files = CertificateFiles::load(certificate, key)?;
            let listener = Listener::tls(&address, server_config(files.clone())?).await?;
            info!(
                address,
                cert_file_path, "Serving HTTPS using certificate loaded from disk"
            );
            supervisor.start("certificate files", |shutdown| {
                files.follow(sync_interval, shutdown)
            });
            Ok(listener)
        }
    }
}

/// The documents are public; whoever reaches the socket may read them.
const SOCKET_OPTIONS: BindOptions = BindOptions {
    socket_mode: 0o777,
    directory_mode: 0o755,
};
