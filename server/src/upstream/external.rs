//! An upstream that is a program of its own.

use futures_util::future::BoxFuture;
use identity::bundle::{Bundle, JwtAuthority};
use identity::trust_domain::TrustDomain;
use plugin_host::upstream_authority::UpstreamAuthority as Program;
use plugin_host::{CallError, Plugin};

use super::{MintRequest, Minted, UpstreamAuthority, UpstreamError};

/// Asks a plugin.
#[derive(Debug)]
pub struct External {
    program: Program,
    trust_domain: TrustDomain,
}

impl External {
    /// An upstream that is `plugin`, for a server of `trust_domain`.
    pub fn new(plugin: Plugin, trust_domain: TrustDomain) -> Self {
        Self {
            program: Program::new(plugin),
            trust_domain,
        }
    }

    fn failed(&self, source: CallError) -> UpstreamError {
        UpstreamError::Other {
            name: self.program.name().to_owned(),
            source: Box::new(source),
        }
    }
}

impl UpstreamAuthority for External {
    fn name(&self) -> &str {
        self.program.name()
    }

    fn mint<'a>(
        &'a self,
        request: &'a MintRequest,
    ) -> BoxFuture<'a, Result<Minted, UpstreamError>> {
        Box::pin(async {
            let ttl = i32::try_from(request.preferred_ttl.as_secs()).unwrap_or(i32::MAX);
            let minted = self.program.mint(request.csr.clone(), ttl).await;
            let minted = minted.map_err(|error| self.failed(error))?;
            Ok(Minted {
                chain: minted.chain,
                roots: minted.roots,
            })
        })
    }

    fn publish_jwt_key<'a>(
        &'a self,
        key: &'a JwtAuthority,
    ) -> BoxFuture<'a, Result<Vec<JwtAuthority>, UpstreamError>> {
        Box::pin(async {
            let published = self.program.publish_jwt_key(key).await;
            let published = published.map_err(|error| self.failed(error))?;
            published.ok_or(UpstreamError::Unsupported)
        })
    }

    fn bundle(&self) -> BoxFuture<'_, Result<Bundle, UpstreamError>> {
        Box::pin(async {
            let bundle = self.program.bundle().await;
            let bundle = bundle.map_err(|error| self.failed(error))?;
            let (x509_authorities, jwt_authorities) = bundle.ok_or(UpstreamError::Unsupported)?;
            Ok(Bundle {
                x509_authorities,
                jwt_authorities,
                ..Bundle::empty(self.trust_domain.clone())
            })
        })
    }

    fn rest(&self) -> BoxFuture<'_, ()> {
        self.program.rest();
        Box::pin(std::future::ready(()))
    }
}
