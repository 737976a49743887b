//! Views of workloads as messages.

use std::collections::HashMap;

use identity::clock::UnixTime;
use proto::workload::{JwtBundlesResponse, X509BundlesResponse, X509svid, X509svidResponse};

use crate::cache::{TrustBundle, WorkloadView, signed};

/// What a workload gets on one kind of stream.
pub(super) trait Message: PartialEq + Sized {
    /// The message for `view`; `None` while it would be incomplete.
    fn render(view: &WorkloadView, now: UnixTime) -> Option<Self>;
}

impl Message for X509svidResponse {
    fn render(view: &WorkloadView, now: UnixTime) -> Option<Self> {
        let bundle = view.own_bundle()?.x509_der();
        let svids = signed(view.distinctly_hinted(), now)?;
        let svids = svids.into_iter().map(|(entry, svid)| X509svid {
            spiffe_id: svid.spiffe_id().as_str().to_owned(),
            x509_svid: svid.chain_der().to_vec(),
            x509_svid_key: svid.key_pkcs8().expose().to_vec(),
            bundle: bundle.to_vec(),
            hint: entry.hint.clone().into(),
        });
        Some(Self {
            svids: svids.collect(),
            crl: Vec::new(),
            federated_bundles: view.federated_bundles().map(x509_bundle).collect(),
        })
    }
}

impl Message for X509BundlesResponse {
    fn render(view: &WorkloadView, _now: UnixTime) -> Option<Self> {
        Some(Self {
            crl: Vec::new(),
            bundles: bundles(view, x509_bundle)?,
        })
    }
}

impl Message for JwtBundlesResponse {
    fn render(view: &WorkloadView, _now: UnixTime) -> Option<Self> {
        let jwks = |bundle: &TrustBundle| {
            let id = bundle.trust_domain_id().to_owned();
            (id, bundle.jwt_jwks().to_vec())
        };
        Some(Self {
            bundles: bundles(view, jwks)?,
        })
    }
}

fn bundles(
    view: &WorkloadView,
    render: impl Fn(&TrustBundle) -> (String, Vec<u8>),
) -> Option<HashMap<String, Vec<u8>>> {
    let all = std::iter::once(view.own_bundle()?).chain(view.federated_bundles());
    Some(all.map(render).collect())
}

fn x509_bundle(bundle: &TrustBundle) -> (String, Vec<u8>) {
    let id = bundle.trust_domain_id().to_owned();
    (id, bundle.x509_der().to_vec())
}
