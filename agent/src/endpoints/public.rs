//! The socket that every process of the host may call: the Workload API, Envoy's secrets, health.

use daemon::supervisor::Shutdown;
use daemon::unix::Listener;
use tracing::info;

use super::{Parts, Router, ServeError, serve};
use crate::health::{HealthService, Probe};
use crate::{sds, workload_api};

/// Serves what the config asks for, until `shutdown`.
pub(super) async fn serve_public(
    parts: Parts,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let config = &parts.config;
    let apis = match (config.disable_workload_api, config.disable_sds_api) {
        (false, false) => "Workload and SDS APIs",
        (false, true) => "Workload API",
        (true, false) => "SDS API",
        (true, true) => "no APIs",
    };
    info!(
        address = %listener.path().display(),
        network = "unix",
        apis,
        "Starting agent APIs"
    );
    let mut router = Router::default().with(HealthService::server(Probe::of(config)));
    if !config.disable_workload_api {
        let server = workload_api::Service::server(parts.clone(), shutdown.clone());
        router = router.with(server);
    }
    if !config.disable_sds_api {
        router = router.with(sds::Service::server(parts, shutdown.clone()));
    }
    serve(router, listener, shutdown).await
}
