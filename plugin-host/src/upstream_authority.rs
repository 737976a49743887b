//! Has a plugin sign the intermediates of a server and publish its JWT keys.
//!
//! A plugin answers with streams that go on for as long as it lives: the first answer is what was asked for,
//! later ones are what has changed since. What came last is kept here.

use std::sync::Arc;

use identity::bundle::{JwtAuthority, X509Authority};
use parking_lot::Mutex;
use proto::convert::{self, ConvertError};
use proto::spire::plugin::server::upstreamauthority::v1::upstream_authority_client::UpstreamAuthorityClient;
use proto::spire::plugin::server::upstreamauthority::v1::{
    MintX509caRequest, PublishJwtKeyRequest, SubscribeToLocalBundleRequest,
};
use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};
use tracing::warn;

use crate::call::CallError;
use crate::plugin::Plugin;

/// A plugin above a server, and what it said last.
pub struct UpstreamAuthority {
    plugin: Plugin,
    latest: Arc<Mutex<Latest>>,
    followers: Mutex<Followers>,
}

/// What the plugin said last, if anything.
#[derive(Debug, Default)]
struct Latest {
    roots: Option<Vec<X509Authority>>,
    jwt_keys: Option<Vec<JwtAuthority>>,
}

/// The streams that are followed: one of each kind.
#[derive(Debug, Default)]
struct Followers {
    roots: JoinSet<()>,
    jwt_keys: JoinSet<()>,
}

/// What the plugin signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Minted {
    /// The new authority, then those up to but without a root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots.
    pub roots: Vec<X509Authority>,
}

impl UpstreamAuthority {
    /// What `plugin` does.
    pub fn new(plugin: Plugin) -> Self {
        Self {
            plugin,
            latest: Arc::default(),
            followers: Mutex::default(),
        }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        self.plugin.name()
    }

    /// Has the plugin sign for the request `csr` (RFC 2986 in DER), for about so many seconds.
    ///
    /// # Errors
    /// The plugin does not, or sends something else.
    pub async fn mint(&self, csr: Vec<u8>, preferred_ttl_s: i32) -> Result<Minted, CallError> {
        let request = MintX509caRequest {
            csr,
            preferred_ttl: preferred_ttl_s,
        };
        let opened = self.plugin.call(|channel| async move {
            let mut client = UpstreamAuthorityClient::new(channel);
            client.mint_x509ca_and_subscribe(request).await
        });
        let mut answers = opened.await?.into_inner();
        let first = self.first(&mut answers).await?;
        let chain = self.converted(convert::plugin_x509_authorities(&first.x509_ca_chain))?;
        let roots = self.converted(convert::plugin_x509_authorities(&first.upstream_x509_roots))?;
        self.latest.lock().roots = Some(roots.clone());
        let (plugin, latest) = (self.plugin.clone(), Arc::clone(&self.latest));
        let mut followers = self.followers.lock();
        followers.roots = JoinSet::new();
        followers.roots.spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                match convert::plugin_x509_authorities(&answer.upstream_x509_roots) {
                    Ok(roots) => latest.lock().roots = Some(roots),
                    Err(error) => warn!(plugin_name = plugin.name(), %error, "unusable roots"),
                }
            }
        });
        Ok(Minted {
            chain: chain.into_iter().map(|one| one.certificate).collect(),
            roots,
        })
    }

    /// Has the plugin publish `key`; returns all keys that it knows, or `None` if it publishes none.
    ///
    /// # Errors
    /// The plugin does not, or sends something else.
    pub async fn publish_jwt_key(
        &self,
        key: &JwtAuthority,
    ) -> Result<Option<Vec<JwtAuthority>>, CallError> {
        let request = PublishJwtKeyRequest {
            jwt_key: Some(convert::plugin_jwt_key(key)),
        };
        let opened = self.plugin.call(|channel| async move {
            let mut client = UpstreamAuthorityClient::new(channel);
            client.publish_jwt_key_and_subscribe(request).await
        });
        let answers = opened.await.map(tonic::Response::into_inner);
        let Some(mut answers) = supported(answers)? else {
            return Ok(None);
        };
        let Some(first) = supported(self.first(&mut answers).await)? else {
            return Ok(None);
        };
        let keys = self.converted(convert::plugin_jwt_authorities(&first.upstream_jwt_keys))?;
        self.latest.lock().jwt_keys = Some(keys.clone());
        let (plugin, latest) = (self.plugin.clone(), Arc::clone(&self.latest));
        let mut followers = self.followers.lock();
        followers.jwt_keys = JoinSet::new();
        followers.jwt_keys.spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                match convert::plugin_jwt_authorities(&answer.upstream_jwt_keys) {
                    Ok(keys) => latest.lock().jwt_keys = Some(keys),
                    Err(error) => warn!(plugin_name = plugin.name(), %error, "unusable JWT keys"),
                }
            }
        });
        Ok(Some(keys))
    }

    /// The roots and JWT keys above as they are now: asked for where the plugin can be asked, else as its
    /// streams said last. `None` if neither is known, such as after a restart.
    ///
    /// # Errors
    /// The plugin does not answer, or sends something else.
    pub async fn bundle(
        &self,
    ) -> Result<Option<(Vec<X509Authority>, Vec<JwtAuthority>)>, CallError> {
        let opened = self.plugin.call(|channel| async move {
            let mut client = UpstreamAuthorityClient::new(channel);
            client
                .subscribe_to_local_bundle(SubscribeToLocalBundleRequest {})
                .await
        });
        let answers = opened.await.map(tonic::Response::into_inner);
        if let Some(mut answers) = supported(answers)?
            && let Some(now) = supported(self.first(&mut answers).await)?
        {
            let roots = convert::plugin_x509_authorities(&now.upstream_x509_roots);
            let keys = convert::plugin_jwt_authorities(&now.upstream_jwt_keys);
            return Ok(Some((self.converted(roots)?, self.converted(keys)?)));
        }
        let latest = self.latest.lock();
        let roots = latest.roots.clone();
        Ok(roots.map(|roots| (roots, latest.jwt_keys.clone().unwrap_or_default())))
    }

    /// Follows the plugin no longer, until it is asked again.
    pub fn rest(&self) {
        *self.followers.lock() = Followers::default();
        *self.latest.lock() = Latest::default();
    }

    async fn first<T>(&self, answers: &mut Streaming<T>) -> Result<T, CallError> {
        let first = async {
            let first = answers.message().await;
            first.map_err(|status| self.plugin.refused(&status))
        };
        let first = self.plugin.within(first).await?;
        let closed = "plugin closed stream unexpectedly";
        first.ok_or_else(|| self.plugin.error(Code::Internal, closed))
    }

    fn converted<T>(&self, converted: Result<T, ConvertError>) -> Result<T, CallError> {
        converted.map_err(|error| {
            let status = Status::internal(format!("plugin response is unusable: {error}"));
            self.plugin.refused(&status)
        })
    }
}

/// What a plugin answered, unless that it does not do such things.
fn supported<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code == Code::Unimplemented => Ok(None),
        Err(error) => Err(error),
    }
}

impl std::fmt::Debug for UpstreamAuthority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plugin.fmt(formatter)
    }
}
