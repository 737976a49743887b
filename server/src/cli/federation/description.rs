//! The relationships that a command line describes, by flags or by a JSON document.

use anyhow::{Context as _, bail, ensure};
use daemon::{
    command_line::{Terminal, path_error_text},
    flags::{FlagSet, Parsed},
};
use identity::{spiffe_id::SpiffeId, trust_domain::TrustDomain};
use proto::{
    convert,
    spire::api::types::{
        Bundle, FederationRelationship, HttpsWebProfile, HttpsspiffeProfile,
        federation_relationship::BundleEndpointProfile,
    },
};

use super::document;
use crate::cli::bundle::BundleFormat;

/// The flags that `federation create` and `federation update` share.
pub(super) fn flags(flags: FlagSet) -> FlagSet {
    flags
        .string(
            "trustDomain",
            "",
            "Name of the trust domain to federate with.",
        )
        .string(
            "bundleEndpointURL",
            "",
            "Where the trust domain publishes its bundle; an https URL.",
        )
        .string(
            "bundleEndpointProfile",
            "",
            "How the endpoint proves itself: https_web or https_spiffe.",
        )
        .string(
            "endpointSpiffeID",
            "",
            "SPIFFE ID of the endpoint, for https_spiffe.",
        )
        .string(
            "trustDomainBundlePath",
            "",
            "File with a bundle to begin with.",
        )
        .string(
            "trustDomainBundleFormat",
            "pem",
            "Form of that bundle: pem or spiffe.",
        )
        .string(
            "data",
            "",
            "File with relationships in JSON, instead of the other flags; - for standard input.",
        )
}

/// A relationship in words.
#[derive(Debug, Default)]
pub(super) struct Description {
    pub(super) trust_domain: String,
    pub(super) url: String,
    pub(super) profile: String,
    pub(super) endpoint_spiffe_id: String,
}

impl Description {
    /// The relationship, with the bundle that `bundle` reads for a trust domain.
    pub(super) fn into_relationship(
        self,
        bundle: impl FnOnce(&TrustDomain) -> anyhow::Result<Option<Bundle>>,
    ) -> anyhow::Result<FederationRelationship> {
        ensure!(!self.trust_domain.is_empty(), "trust domain is required");
        ensure!(!self.url.is_empty(), "bundle endpoint URL is required");
        let (profile, publisher) = match self.profile.as_str() {
            "https_web" => {
                let profile = BundleEndpointProfile::HttpsWeb(HttpsWebProfile {});
                (profile, TrustDomain::parse(&self.trust_domain))
            }
            "https_spiffe" => {
                ensure!(
                    !self.endpoint_spiffe_id.is_empty(),
                    "endpoint SPIFFE ID is required if 'https_spiffe' endpoint profile is set"
                );
                let id = SpiffeId::parse(&self.endpoint_spiffe_id)
                    .context("cannot parse bundle endpoint SPIFFE ID")?;
                let profile = BundleEndpointProfile::HttpsSpiffe(HttpsspiffeProfile {
                    endpoint_spiffe_id: self.endpoint_spiffe_id,
                });
                (profile, Ok(id.trust_domain().clone()))
            }
            unknown => bail!("unknown bundle endpoint profile type: {unknown:?}"),
        };
        // Without a bundle the name is for the server to judge.
        let trust_domain_bundle = match publisher {
            Ok(publisher) => bundle(&publisher)?,
            Err(_) => None,
        };
        Ok(FederationRelationship {
            trust_domain: self.trust_domain,
            bundle_endpoint_url: self.url,
            bundle_endpoint_profile: Some(profile),
            trust_domain_bundle,
        })
    }
}

/// The relationships that the command line describes.
pub(super) fn relationships(
    parsed: &Parsed,
    terminal: &mut Terminal,
) -> anyhow::Result<Vec<FederationRelationship>> {
    let path = parsed.string("data");
    if path.is_empty() {
        return Ok(vec![from_flags(parsed, terminal)?]);
    }
    let others = [
        "trustDomain",
        "bundleEndpointURL",
        "bundleEndpointProfile",
        "endpointSpiffeID",
        "trustDomainBundlePath",
    ];
    ensure!(
        others.iter().all(|flag| parsed.string(flag).is_empty())
            && parsed.string("trustDomainBundleFormat") == "pem",
        "cannot use other flags to specify relationship fields when 'data' flag is set"
    );
    let bytes = terminal
        .read_file_or_input(path, MAX_DOCUMENT_LEN_BYTES)
        .map_err(|error| anyhow::Error::msg(path_error_text("open", path.as_ref(), &error)))?;
    document::relationships(&bytes)
}

fn from_flags(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<FederationRelationship> {
    let text = |flag| parsed.string(flag).to_owned();
    let description = Description {
        trust_domain: text("trustDomain"),
        url: text("bundleEndpointURL"),
        profile: text("bundleEndpointProfile"),
        endpoint_spiffe_id: text("endpointSpiffeID"),
    };
    let path = parsed.string("trustDomainBundlePath");
    description.into_relationship(|publisher| {
        if path.is_empty() {
            return Ok(None);
        }
        let bytes = terminal
            .read_file_or_input(path, MAX_DOCUMENT_LEN_BYTES)
            .map_err(|error| anyhow::Error::msg(path_error_text("open", path.as_ref(), &error)))
            .context("cannot read bundle file")?;
        let format = BundleFormat::parse(parsed.string("trustDomainBundleFormat"));
        let bundle = format.and_then(|format| read_bundle(format, publisher, &bytes));
        bundle.map(Some).context("cannot parse bundle file")
    })
}

/// A bundle of `publisher` in its wire form.
pub(super) fn read_bundle(
    format: BundleFormat,
    publisher: &TrustDomain,
    text: &[u8],
) -> anyhow::Result<Bundle> {
    let bundle = format.read(publisher, text)?;
    Ok(convert::bundle::to_wire(&bundle, None))
}

const MAX_DOCUMENT_LEN_BYTES: u64 = 64 * 1024 * 1024;
