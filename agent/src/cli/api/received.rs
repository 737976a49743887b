//! X.509-SVIDs as the Workload API sent them, taken apart and checked.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use identity::{
    bundle::{Bundle, X509Authority},
    clock::UnixTime,
    secret::PrivateKey,
    tls::{TlsMaterial, verify_svid_chain},
    x509::{CertificateInfo, split_certificates},
    x509_svid::X509Svid,
};
use proto::workload::{X509svid, X509svidResponse};
use rustls_pki_types::CertificateDer;

/// One SVID with what verifies it.
pub(super) struct ReceivedSvid {
    pub(super) svid: X509Svid,
    pub(super) hint: String,
    pub(super) bundle: Certificates,
}

/// The answer to one fetch.
pub(super) struct ReceivedSvids {
    pub(super) svids: Vec<ReceivedSvid>,
    /// By trust domain ID.
    pub(super) federated_bundles: BTreeMap<String, Certificates>,
}

/// Certificates with what they say.
pub(super) struct Certificates {
    pub(super) ders: Vec<CertificateDer<'static>>,
    pub(super) infos: Vec<CertificateInfo>,
}

impl ReceivedSvids {
    /// Refuses an answer with anything that a workload could not use at `now`.
    pub(super) fn parse(response: X509svidResponse, now: UnixTime) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !response.svids.is_empty(),
            "workload response contains no svids"
        );
        let mut federated_bundles = BTreeMap::new();
        for (id, bundle) in response.federated_bundles {
            let bundle = Certificates::parse(&bundle)
                .with_context(|| format!("failed to parse bundle for federated domain {id:?}"))?;
            federated_bundles.insert(id, bundle);
        }
        let svids = response.svids.into_iter().enumerate().map(|(index, svid)| {
            let id = svid.spiffe_id.clone();
            ReceivedSvid::parse(svid, now)
                .with_context(|| format!("failed to parse svid entry {index} for spiffe id {id:?}"))
        });
        Ok(Self {
            svids: svids.collect::<anyhow::Result<_>>()?,
            federated_bundles,
        })
    }
}

impl ReceivedSvid {
    fn parse(received: X509svid, now: UnixTime) -> anyhow::Result<Self> {
        let chain = split_certificates(&received.x509_svid)?;
        let key = PrivateKey::from_pkcs8(&received.x509_svid_key)
            .context("failed to parse private key")?;
        let bundle =
            Certificates::parse(&received.bundle).context("failed to parse trust bundle")?;
        let svid = X509Svid::new(chain, key)?;
        anyhow::ensure!(
            svid.spiffe_id().as_str() == received.spiffe_id,
            "the certificate is for {}",
            svid.spiffe_id()
        );
        bundle
            .verify(&svid, now)
            .context("SVID failed verification against bundle")?;
        Ok(Self {
            svid,
            hint: received.hint,
            bundle,
        })
    }
}

impl Certificates {
    pub(super) fn parse(concatenated: &[u8]) -> anyhow::Result<Self> {
        let ders = split_certificates(concatenated)?;
        anyhow::ensure!(!ders.is_empty(), "no certificates found");
        let infos = ders.iter().map(|der| CertificateInfo::parse(der));
        let infos = infos.collect::<Result<_, _>>()?;
        Ok(Self { ders, infos })
    }

    /// Whether they are roots that the chain of `svid` leads to.
    fn verify(&self, svid: &X509Svid, now: UnixTime) -> anyhow::Result<()> {
        let authorities = self.ders.iter().map(|der| X509Authority {
            certificate: der.clone(),
            tainted: false,
        });
        let bundle = Bundle {
            x509_authorities: authorities.collect(),
            ..Bundle::empty(svid.spiffe_id().trust_domain().clone())
        };
        let material = TlsMaterial::new(None, [Arc::new(bundle)])?;
        verify_svid_chain(svid.chain(), &material, now)?;
        Ok(())
    }
}
