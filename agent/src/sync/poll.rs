//! One round of asking, as SPIRE's agents do: the entries, the own bundle, the federated ones.

use std::collections::{BTreeMap, BTreeSet};

use daemon::supervisor::chain;
use futures_util::{StreamExt as _, stream};
use identity::bundle::Bundle;
use identity::trust_domain::TrustDomain;
use tracing::{error, warn};

use super::RoundError;
use super::learnt::Learnt;
use crate::client::{KnownEntries, ServerClient};

/// Federated bundles asked for at once.
const MAX_BUNDLE_CALLS: usize = 10;

/// Asks for everything and hands it on.
pub(super) async fn poll(
    client: &ServerClient,
    trust_domain: &TrustDomain,
    learnt: &mut Learnt,
) -> Result<(), RoundError> {
    let entries = client.sync_entries(learnt.entries()).await;
    let entries = entries.map_err(RoundError::Entries)?;
    let own = client.own_bundle().await.map_err(RoundError::Bundle)?;
    let mut bundles = federated_bundles(client, trust_domain, learnt, &entries).await;
    bundles.insert(trust_domain.clone(), own);
    learnt.replace(entries, bundles);
    Ok(())
}

/// The bundles of all trust domains that the entries federate with. One that cannot be had now
/// stays as it was; one that the server does not have is left out.
async fn federated_bundles(
    client: &ServerClient,
    own: &TrustDomain,
    learnt: &Learnt,
    entries: &KnownEntries,
) -> BTreeMap<TrustDomain, Bundle> {
    let wanted: BTreeSet<TrustDomain> = entries
        .values()
        .flat_map(|entry| entry.federates_with.iter().cloned())
        .filter(|trust_domain| trust_domain != own)
        .collect();
    let calls = wanted
        .into_iter()
        .map(|name| federated_bundle(client, learnt, name));
    stream::iter(calls.collect::<Vec<_>>())
        .buffer_unordered(MAX_BUNDLE_CALLS)
        .filter_map(std::future::ready)
        .map(|bundle| (bundle.trust_domain.clone(), bundle))
        .collect()
        .await
}

async fn federated_bundle(
    client: &ServerClient,
    learnt: &Learnt,
    trust_domain: TrustDomain,
) -> Option<Bundle> {
    match client.federated_bundle(&trust_domain).await {
        Ok(Some(bundle)) => Some(bundle),
        Ok(None) => {
            warn!(trust_domain_id = %trust_domain.id_string(), "Federated bundle not found");
            None
        }
        Err(error) => {
            error!(
                federated_bundle = %trust_domain,
                error = %chain(&error),
                "Failed to fetch federated bundle"
            );
            learnt.bundle(&trust_domain).cloned()
        }
    }
}
