//! Signatures of one thread: the bare operation of the library beside all that a certificate needs.

use anyhow::Context;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use identity::secret::{KeyType, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::x509::{Csr, generate_csr};
use server::ca::{Ca, JwtSvidParams, SvidSubject, X509SvidParams};

/// One figure.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) per_second: f64,
    /// What it is a fraction of.
    base: Option<f64>,
}

impl Row {
    /// The fraction, for print.
    pub(crate) fn ratio(&self) -> String {
        self.base
            .map_or_else(String::new, |base| format!("{:.2}", self.per_second / base))
    }
}

/// All figures.
pub(crate) fn measure(ca: &Ca) -> anyhow::Result<Vec<Row>> {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
        .map_err(|_unspecified| anyhow::anyhow!("no key"))?;
    // As long as what is signed for an X.509-SVID.
    let message = [7; 450];
    let signature = pair
        .sign(&random, &message)
        .map_err(|_unspecified| anyhow::anyhow!("no signature"))?;
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref())?;
    let workload = PrivateKey::generate(KeyType::EcP256)?;
    let spiffe_id = SpiffeId::parse("spiffe://example.org/ns/default/sa/workload")?;
    let csr_der = generate_csr(&workload, None, &[])?;

    let raw_sign = per_cpu_second(|| pair.sign(&random, &message).is_ok())?;
    let raw_both = per_cpu_second(|| {
        public.verify_sig(&message, signature.as_ref()).is_ok()
            && pair.sign(&random, &message).is_ok()
    })?;
    let svid = per_cpu_second(|| sign(ca, &spiffe_id, workload.public_key_der()))?;
    let svid_with_csr = per_cpu_second(|| {
        Csr::parse(&csr_der)
            .is_ok_and(|csr| csr.verify_signature().is_ok() && sign(ca, &spiffe_id, csr.spki_der()))
    })?;
    let jwt = per_cpu_second(|| {
        let audience = vec!["audience".to_owned()];
        let params = JwtSvidParams {
            spiffe_id: &spiffe_id,
            audience,
            ttl: None,
            include_jti: false,
        };
        ca.sign_jwt_svid(params).is_ok()
    })?;
    let row = |what, per_second, base| Row {
        what,
        per_second,
        base,
    };
    Ok(vec![
        row("P-256 signatures, aws-lc-rs", raw_sign, None),
        row(
            "P-256 verifications and signatures, aws-lc-rs",
            raw_both,
            None,
        ),
        row("X.509-SVIDs, public key given", svid, Some(raw_sign)),
        row(
            "X.509-SVIDs, signing request checked",
            svid_with_csr,
            Some(raw_both),
        ),
        row("JWT-SVIDs", jwt, Some(raw_sign)),
    ])
}

fn sign(ca: &Ca, spiffe_id: &SpiffeId, public_key_der: &[u8]) -> bool {
    let params = X509SvidParams {
        spiffe_id,
        public_key_der,
        dns_names: &[],
        ttl: None,
        subject: SvidSubject::Workload,
    };
    ca.sign_x509_svid(&params).is_ok()
}

/// How often `operation` can be done in a second of CPU time: the median of [`RUNS`] runs after a
/// warm-up.
fn per_cpu_second(mut operation: impl FnMut() -> bool) -> anyhow::Result<f64> {
    let mut rates = Vec::with_capacity(RUNS);
    for run in 0..=RUNS {
        let start = cpu_time_ns()?;
        let mut count = 0_u32;
        let mut spent = 0;
        while spent < RUN_NS {
            for _ in 0..64 {
                anyhow::ensure!(operation(), "the measured operation failed");
            }
            count += 64;
            spent = cpu_time_ns()? - start;
        }
        if run > 0 {
            let nanoseconds = f64::from(u32::try_from(spent)?);
            rates.push(f64::from(count) * 1e9 / nanoseconds);
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[RUNS / 2])
}

const RUNS: usize = 7;
const RUN_NS: u64 = 400_000_000;

/// CPU time of the calling thread.
fn cpu_time_ns() -> anyhow::Result<u64> {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = schedstat.split(' ').next().context("schedstat is empty")?;
    Ok(first.parse()?)
}
