//! Which secrets a request gets.
//!
//! The own bundle goes out under one name only, and so does the default identity; a name that is
//! left over in the end refuses the request.

use std::collections::BTreeSet;

use prost_types::Any;
use proto::convert::entry::AuthorizedEntry;

use super::secret::{spiffe_validator, tls_certificate, trusted_ca};
use super::validation::Validation;
use crate::cache::{CachedSvid, TrustBundle, WorkloadView};
use crate::config::Sds;

/// What there is for an Envoy.
pub(super) struct Available<'a> {
    /// The names that stand for what an Envoy need not know by its own.
    pub(super) names: &'a Sds,
    /// How it validates its peers.
    pub(super) validation: Validation,
    /// Its bundles.
    pub(super) view: &'a WorkloadView,
    /// Its identities, the default one first.
    pub(super) identities: &'a [(&'a AuthorizedEntry, &'a CachedSvid)],
}

/// Why a request gets nothing.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    /// Names that the workload has no claim to, sorted.
    #[error("workload is not authorized for the requested identities {}", quoted(.0))]
    Unauthorized(Vec<String>),
    /// All bundles at once take a validator that the Envoy does not have.
    #[error("unable to use \"SPIFFE validator\" on Envoy below 1.17")]
    NoSpiffeValidator,
}

/// The secrets for `wanted`, or for everything if that is empty.
pub(super) fn secrets(
    wanted: &BTreeSet<String>,
    available: &Available<'_>,
) -> Result<Vec<Any>, Refusal> {
    let mut request = Request {
        is_for_all: wanted.is_empty(),
        names: wanted.iter().map(String::as_str).collect(),
    };
    let mut secrets = Vec::new();
    if let Some(own) = available.view.own_bundle() {
        secrets.extend(own_bundle(&mut request, own, available)?);
    }
    for bundle in available.view.federated_bundles() {
        if request.takes(bundle.trust_domain_id()) {
            secrets.push(available.one_bundle(bundle.trust_domain_id(), bundle));
        }
    }
    for (place, (entry, svid)) in available.identities.iter().enumerate() {
        let spiffe_id = entry.spiffe_id.as_str();
        let default = &available.names.default_svid_name;
        if request.takes(spiffe_id) {
            secrets.push(tls_certificate(spiffe_id, svid));
        } else if place == 0 && request.takes_name(default) {
            secrets.push(tls_certificate(default, svid));
        }
    }
    match request.names.is_empty() {
        true => Ok(secrets),
        false => Err(Refusal::Unauthorized(
            request.names.into_iter().map(str::to_owned).collect(),
        )),
    }
}

/// What is still asked for.
struct Request<'a> {
    is_for_all: bool,
    names: BTreeSet<&'a str>,
}

impl Request<'_> {
    /// Whether something goes out under its own name.
    fn takes(&mut self, own_name: &str) -> bool {
        self.takes_name(own_name) || self.is_for_all
    }

    /// Whether something goes out under this name, which it then does.
    fn takes_name(&mut self, name: &str) -> bool {
        self.names.remove(name)
    }
}

fn own_bundle(
    request: &mut Request<'_>,
    own: &TrustBundle,
    available: &Available<'_>,
) -> Result<Option<Any>, Refusal> {
    let names = available.names;
    if request.takes(own.trust_domain_id()) {
        return Ok(Some(available.one_bundle(own.trust_domain_id(), own)));
    }
    if request.takes_name(&names.default_bundle_name) {
        return Ok(Some(available.one_bundle(&names.default_bundle_name, own)));
    }
    if request.takes_name(&names.default_all_bundles_name) {
        return available
            .all_bundles(&names.default_all_bundles_name, own)
            .map(Some);
    }
    Ok(None)
}

impl Available<'_> {
    fn one_bundle(&self, name: &str, bundle: &TrustBundle) -> Any {
        match self.validation {
            Validation::Spiffe => spiffe_validator(name, [bundle]),
            Validation::Pem => trusted_ca(name, bundle),
        }
    }

    fn all_bundles(&self, name: &str, own: &TrustBundle) -> Result<Any, Refusal> {
        match self.validation {
            Validation::Spiffe => {
                let federated = self.view.federated_bundles();
                let mut all: Vec<_> = std::iter::once(own).chain(federated).collect();
                all.sort_by(|a, b| a.bundle().trust_domain.cmp(&b.bundle().trust_domain));
                Ok(spiffe_validator(name, all))
            }
            Validation::Pem => Err(Refusal::NoSpiffeValidator),
        }
    }
}

/// As Go prints a list of quoted strings, in one line.
fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(" "))
}
