//! The attestors of a server, as its config names them.

use std::sync::Arc;

use identity::clock::Clock;
use identity::trust_domain::TrustDomain;
use plugin_host::{LoadError, Plugins};
use raft_store::Store;

use super::NodeAttestor;
use super::external::External;
use super::x509pop::{self, X509Pop};

/// What one attestor is made of.
#[derive(Clone, Debug)]
pub enum NodeAttestorSettings {
    /// A program of its own.
    Plugin(plugin_host::Settings),
    /// `x509pop`
    X509Pop(x509pop::Settings),
}

/// What attestors may need of the server.
pub struct AttestorHost {
    /// The trust domain whose agents they attest.
    pub trust_domain: TrustDomain,
    /// The registry.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The attestors that a server has, each under its own name.
#[derive(Clone, Default)]
pub struct Attestors(Arc<[Box<dyn NodeAttestor>]>);

impl Attestors {
    /// The attestors that `settings` name, ready to be asked; those that are programs belong to `plugins`.
    ///
    /// # Errors
    /// The first that cannot be, and why.
    pub async fn open(
        settings: &[NodeAttestorSettings],
        host: &AttestorHost,
        plugins: &mut Plugins,
    ) -> Result<Self, OpenAttestorError> {
        let mut attestors: Vec<Box<dyn NodeAttestor>> = Vec::with_capacity(settings.len());
        for one in settings {
            match one {
                NodeAttestorSettings::Plugin(settings) => {
                    let plugin = plugins.load(settings).await?;
                    attestors.push(Box::new(External::new(plugin)));
                }
                NodeAttestorSettings::X509Pop(settings) => {
                    let opened = X509Pop::open(settings.clone(), host).await;
                    attestors.push(Box::new(opened.map_err(OpenAttestorError::X509Pop)?));
                }
            }
        }
        Ok(Self::new(attestors))
    }

    /// These attestors.
    pub fn new(attestors: Vec<Box<dyn NodeAttestor>>) -> Self {
        Self(attestors.into())
    }

    /// The attestor with this name.
    pub fn find(&self, name: &str) -> Option<&dyn NodeAttestor> {
        let found = self.0.iter().find(|attestor| attestor.name() == name);
        found.map(|attestor| &**attestor)
    }
}

/// Why an attestor cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum OpenAttestorError {
    /// A program of its own.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// `x509pop`
    #[error("NodeAttestor \"x509pop\"")]
    X509Pop(#[source] x509pop::AuthoritiesError),
}
