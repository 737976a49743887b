//! Whom the public web believes: the roots of the machine.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    version::{TLS12, TLS13},
};

/// TLS for [`get`](super::get) that believes the roots which the machine has when this is called;
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` name others. It reads files.
///
/// # Errors
/// The machine has none.
pub fn web_client_config() -> Result<Arc<ClientConfig>, NoRoots> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unreadable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let problems = found.errors.iter().map(ToString::to_string);
        return Err(NoRoots {
            problems: problems.collect::<Vec<_>>().join(", "),
        });
    }
    Ok(client_config_believing(roots))
}

/// As [`web_client_config`], for those who know whom to believe.
#[must_use]
pub fn client_config_believing(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("invariant: the provider has suites of both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The machine has no root certificates, so no host of the web can be believed.
#[derive(Debug, thiserror::Error)]
#[error(
    "no root certificates on this machine: install those of the system, or name a file of them in \
     SSL_CERT_FILE {problems}"
)]
pub struct NoRoots {
    problems: String,
}
