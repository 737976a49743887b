//! What attests this node and its workloads, as the config names it; plugins among it are started here.

use std::sync::Arc;

use anyhow::Context as _;
use identity::secret::SecretBytes;
use plugin_host::Plugins;

use crate::attest::external::External;
use crate::attest::x509pop::X509Pop;
use crate::attest::{JoinToken, NodeAttestor};
use crate::attestor::{Docker, Unix, WorkloadAttestor};
use crate::config::{Config, NodeAttestorSettings};

/// The attestors of an agent.
pub(crate) struct Attestors {
    /// What proves this node; none is needed while a stored SVID holds.
    pub(crate) node: Option<Arc<dyn NodeAttestor>>,
    /// What tells workloads apart.
    pub(crate) workload: WorkloadAttestor,
}

impl Attestors {
    /// The attestors that `config` names. Takes the join token and what only they need out of it.
    ///
    /// # Errors
    /// The first that cannot be used, and why.
    pub(crate) async fn open(config: &mut Config, plugins: &mut Plugins) -> anyhow::Result<Self> {
        let node = node_attestor(config, plugins).await?;
        let unix = config
            .unix
            .map(|unix| Unix::new(unix.discover_workload_path, unix.workload_size_limit));
        let docker = config.docker.take().map(Docker::new);
        let mut external = Vec::with_capacity(config.workload_attestors.len());
        for settings in &config.workload_attestors {
            external.push(plugins.load(settings).await?);
        }
        Ok(Self {
            node,
            workload: WorkloadAttestor::new(unix, docker, external),
        })
    }
}

/// A join token goes before what the config names, as in SPIRE.
async fn node_attestor(
    config: &mut Config,
    plugins: &mut Plugins,
) -> anyhow::Result<Option<Arc<dyn NodeAttestor>>> {
    if let Some(token) = config.join_token.take() {
        let token = SecretBytes::from(token.expose().as_bytes());
        return Ok(Some(Arc::new(JoinToken::new(token))));
    }
    match &config.node_attestor {
        None => Ok(None),
        Some(NodeAttestorSettings::Plugin(settings)) => {
            Ok(Some(Arc::new(External::new(plugins.load(settings).await?))))
        }
        Some(NodeAttestorSettings::X509Pop(source)) => {
            let attestor = X509Pop::open(source.clone()).await;
            let attestor = attestor.context("NodeAttestor \"x509pop\"")?;
            Ok(Some(Arc::new(attestor)))
        }
    }
}
