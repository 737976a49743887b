//! What the server must know before the agent starts: its join token and the calling user's entry.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use daemon::command_line::{Readers, RpcError, write_file};
use identity::{pem::encode_certificates, spiffe_id::SpiffeId, trust_domain::TrustDomain};
use proto::{
    convert,
    grpc::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
    spire::api::{
        server::{
            agent::v1::{CreateJoinTokenRequest, agent_client::AgentClient},
            bundle::v1::{GetBundleRequest, bundle_client::BundleClient},
            entry::v1::{BatchCreateEntryRequest, entry_client::EntryClient},
        },
        types::{Entry, Selector},
    },
};
use tokio::time::Instant;
use tonic::{Code, transport::Channel};

use super::folder::Folder;

/// What was made.
pub(super) struct Provision {
    /// The calling user, whose processes have the identity.
    pub(super) uid: u32,
    pub(super) spiffe_id: SpiffeId,
    /// The token, unless the agent has attested in this folder before.
    pub(super) join_token_file: Option<PathBuf>,
}

const JOIN_TOKEN_TTL_S: i32 = 600;
const POLL_PAUSE: Duration = Duration::from_millis(20);

impl Provision {
    pub(super) async fn make(trust_domain: &TrustDomain, folder: &Folder) -> anyhow::Result<Self> {
        let channel = daemon::unix::connect(&folder.server(1).socket).await?;
        let node = SpiffeId::from_parts(trust_domain, "/dev/node")?;
        let uid = rustix::process::getuid().as_raw();
        let spiffe_id = SpiffeId::from_parts(trust_domain, &format!("/dev/user/{uid}"))?;
        write_bundle(&channel, &folder.bundle()).await?;
        create_entry(&channel, &node, &spiffe_id, uid).await?;
        let has_attested = folder.agent_data().join("agent-data.json").exists();
        let join_token_file = if has_attested {
            None
        } else {
            write_join_token(&channel, &node, &folder.join_token()).await?;
            Some(folder.join_token())
        };
        Ok(Self {
            uid,
            spiffe_id,
            join_token_file,
        })
    }
}

async fn write_bundle(channel: &Channel, path: &Path) -> anyhow::Result<()> {
    let mut client = BundleClient::new(channel.clone());
    let bundle = client.get_bundle(GetBundleRequest::default()).await;
    let bundle = convert::bundle::received(&bundle.map_err(RpcError::from)?.into_inner())?;
    let authorities = bundle.x509_authorities.iter();
    let pem = encode_certificates(authorities.map(|authority| &authority.certificate));
    fs::write(path, pem).with_context(|| format!("cannot write {}", path.display()))
}

async fn create_entry(
    channel: &Channel,
    parent: &SpiffeId,
    spiffe_id: &SpiffeId,
    uid: u32,
) -> anyhow::Result<()> {
    let entry = Entry {
        spiffe_id: Some(convert::id::to_wire(spiffe_id)),
        parent_id: Some(convert::id::to_wire(parent)),
        selectors: vec![Selector {
            r#type: "unix".to_owned(),
            value: format!("uid:{uid}"),
        }],
        ..Entry::default()
    };
    let request = BatchCreateEntryRequest {
        entries: vec![entry],
        output_mask: None,
    };
    let mut client = EntryClient::new(channel.clone());
    let response = client
        .batch_create_entry(request)
        .await
        .map_err(RpcError::from)?;
    let results = response.into_inner().results.into_iter();
    for status in results.filter_map(|result| result.status) {
        // A folder that was used before has the entry already.
        let made = matches!(Code::from_i32(status.code), Code::Ok | Code::AlreadyExists);
        anyhow::ensure!(made, "cannot create the entry: {}", status.message);
    }
    Ok(())
}

async fn write_join_token(channel: &Channel, node: &SpiffeId, path: &Path) -> anyhow::Result<()> {
    let request = CreateJoinTokenRequest {
        ttl: JOIN_TOKEN_TTL_S,
        token: String::new(),
        agent_id: Some(convert::id::to_wire(node)),
    };
    let mut client = AgentClient::new(channel.clone());
    let token = client
        .create_join_token(request)
        .await
        .map_err(RpcError::from)?;
    write_file(path, token.into_inner().value.as_bytes(), Readers::Owner)
}

/// Waits until the process behind `socket` says that it serves.
pub(super) async fn wait_until_healthy(socket: &Path, deadline: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + deadline;
    loop {
        let healthy = tokio::time::timeout_at(until, is_healthy(socket)).await;
        match healthy {
            Ok(Ok(true)) => return Ok(()),
            Ok(_) if Instant::now() < until => tokio::time::sleep(POLL_PAUSE).await,
            _ => anyhow::bail!(
                "no answer at {} in {} s",
                socket.display(),
                deadline.as_secs()
            ),
        }
    }
}

async fn is_healthy(socket: &Path) -> anyhow::Result<bool> {
    let mut client = HealthClient::new(daemon::unix::connect(socket).await?);
    let response = client.check(HealthCheckRequest::default()).await?;
    Ok(response.into_inner().status() == ServingStatus::Serving)
}
