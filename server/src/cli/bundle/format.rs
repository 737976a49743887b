//! The forms in which bundles are shown and read.

use anyhow::Context as _;
use daemon::flags::{FlagSet, Parsed};
use identity::{bundle::Bundle, pem::encode_certificates, trust_domain::TrustDomain};
use proto::{convert, spire::api::types};

/// How a bundle is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum BundleFormat {
    /// The X.509 authorities as PEM.
    Pem,
    /// The SPIFFE bundle document.
    Spiffe,
}

impl BundleFormat {
    /// Adds `-format`.
    pub(super) fn flag(flags: FlagSet) -> FlagSet {
        flags.string("format", "pem", "Form of the bundle: pem or spiffe.")
    }

    /// What the command line chose.
    pub(super) fn chosen(parsed: &Parsed) -> anyhow::Result<Self> {
        Self::parse(parsed.string("format"))
    }

    /// The form of this name.
    pub(in crate::cli) fn parse(name: &str) -> anyhow::Result<Self> {
        match name.to_lowercase().as_str() {
            "pem" => Ok(Self::Pem),
            "spiffe" => Ok(Self::Spiffe),
            unknown => anyhow::bail!("invalid format: {unknown:?}"),
        }
    }

    /// The bundle as text that ends in a line feed, or is empty.
    pub(super) fn render(self, wire: &types::Bundle) -> anyhow::Result<String> {
        let bundle = convert::bundle::received(wire).context("server sent an invalid bundle")?;
        Ok(match self {
            Self::Pem => {
                let authorities = bundle.x509_authorities.iter();
                encode_certificates(authorities.map(|authority| &authority.certificate))
            }
            Self::Spiffe => format!("{}\n", bundle.to_spiffe_jwks()),
        })
    }

    /// Reads a bundle of `trust_domain`.
    pub(in crate::cli) fn read(
        self,
        trust_domain: &TrustDomain,
        text: &[u8],
    ) -> anyhow::Result<Bundle> {
        match self {
            Self::Pem => {
                Bundle::from_pem(trust_domain, text).context("unable to parse bundle data")
            }
            Self::Spiffe => Bundle::from_spiffe_jwks(trust_domain, text)
                .context("unable to parse to spiffe bundle"),
        }
    }
}
