//! Owns what the HTTP health listener is told: whether there is a bundle, whether this server may and
//! can sign, whether the store confirms.

use std::convert::Infallible;
use std::time::Duration;

use daemon::health::Checks;
use daemon::supervisor::Supervisor;
use raft_store::{ReadError, Store};

use crate::bundles::Bundles;
use crate::ca::{Ca, UpstreamTrouble};

/// Starts the checks and their HTTP listener.
///
/// # Errors
/// It cannot listen where it shall.
pub(crate) async fn start(
    supervisor: &mut Supervisor,
    options: daemon::health::Options,
    (bundles, ca, store): (Bundles, Ca, Store),
    upstream: Option<UpstreamTrouble>,
) -> anyhow::Result<()> {
    let checks = Checks::new();
    if let Some(trouble) = upstream {
        let check = checks.register("server.ca.upstream");
        let ca = ca.clone();
        supervisor.start("health.upstream", |shutdown| async move {
            let probe = || {
                // As long as what it signed lasts, nobody is worse off for its absence.
                let danger = trouble.now().filter(|_| ca.needs_successor());
                async move { danger.map_or(Ok(()), Err) }
            };
            check.follow(probe, shutdown).await;
            Ok::<(), Infallible>(())
        });
    }
    let server = checks.register("server");
    supervisor.start("health.server", |shutdown| async move {
        let probe = || {
            let held = bundles.own().map(drop);
            async move { held.ok_or_else(|| "the own bundle is not there yet".to_owned()) }
        };
        server.follow(probe, shutdown).await;
        Ok::<(), Infallible>(())
    });
    let authorities = checks.register("server.ca");
    supervisor.start("health.ca", |shutdown| async move {
        let probe = || {
            let may_sign = ca.may_sign();
            let can_sign = ca.can_sign();
            async move {
                may_sign.map_err(|suspended| suspended.to_string())?;
                can_sign
                    .then_some(())
                    .ok_or_else(|| "no authority is active".to_owned())
            }
        };
        authorities.follow(probe, shutdown).await;
        Ok::<(), Infallible>(())
    });
    let datastore = checks.register("catalog.datastore");
    supervisor.start("health.store", |shutdown| async move {
        let probe = || {
            let store = store.clone();
            async move {
                let confirmed = store.linearizable(PROBE_WITHIN).await;
                confirmed.map(drop).map_err(not_confirmed)
            }
        };
        datastore.follow(probe, shutdown).await;
        Ok::<(), Infallible>(())
    });
    let endpoint = daemon::health::bind(options).await?;
    supervisor.start("health", |shutdown| endpoint.serve(checks, shutdown));
    Ok(())
}

/// What operators are told of a store that confirms nothing.
fn not_confirmed(error: ReadError) -> String {
    match error {
        ReadError::NoQuorum => "no quorum: writes and attestations wait until a majority of the \
                                members run and reach each other"
            .to_owned(),
        ReadError::Stopped(stopped) => format!("store stopped: {stopped}"),
    }
}

const PROBE_WITHIN: Duration = Duration::from_secs(5);
