//! What the cache holds as messages for delegates.

use std::collections::HashMap;

use identity::clock::UnixTime;
use proto::convert;
use proto::spire::api::agent::delegatedidentity::v1::{
    SubscribeToJwtBundlesResponse, SubscribeToX509BundlesResponse, SubscribeToX509sviDsResponse,
    X509svidWithKey,
};
use proto::spire::api::types;

use crate::cache::{Bundles, CachedSvid, Identity, TrustBundle, WorkloadView, signed};

/// What a delegate may act as: neither an administrator nor a server.
pub(super) fn delegable(view: &WorkloadView) -> impl Iterator<Item = &Identity> {
    let identities = view.identities().iter();
    identities.filter(|one| !one.entry.admin && !one.entry.downstream)
}

/// `None` while an SVID is missing or at its end.
pub(super) fn x509_svids(
    view: &WorkloadView,
    now: UnixTime,
) -> Option<SubscribeToX509sviDsResponse> {
    let svids = signed(delegable(view), now)?;
    let svids = svids.into_iter().map(|(entry, svid)| X509svidWithKey {
        x509_svid: Some(x509_svid(svid, &entry.hint)),
        x509_svid_key: svid.key_pkcs8().expose().to_vec(),
    });
    let federated = view.federated_bundles();
    Some(SubscribeToX509sviDsResponse {
        x509_svids: svids.collect(),
        federates_with: federated
            .map(|bundle| bundle.trust_domain_id().to_owned())
            .collect(),
    })
}

fn x509_svid(svid: &CachedSvid, hint: &str) -> types::X509svid {
    let chain: Vec<_> = svid.certificates().collect();
    types::X509svid {
        hint: hint.to_owned(),
        ..convert::svid::x509(svid.spiffe_id(), &chain, svid.not_after())
    }
}

pub(super) fn x509_bundles(
    bundles: &Bundles,
    _now: UnixTime,
) -> Option<SubscribeToX509BundlesResponse> {
    Some(SubscribeToX509BundlesResponse {
        ca_certificates: by_id(bundles, |bundle| bundle.x509_der().to_vec()),
    })
}

pub(super) fn jwt_bundles(
    bundles: &Bundles,
    _now: UnixTime,
) -> Option<SubscribeToJwtBundlesResponse> {
    Some(SubscribeToJwtBundlesResponse {
        bundles: by_id(bundles, |bundle| bundle.jwt_jwks().to_vec()),
    })
}

fn by_id(bundles: &Bundles, render: impl Fn(&TrustBundle) -> Vec<u8>) -> HashMap<String, Vec<u8>> {
    let rendered = bundles
        .values()
        .map(|bundle| (bundle.trust_domain_id().to_owned(), render(bundle)));
    rendered.collect()
}
