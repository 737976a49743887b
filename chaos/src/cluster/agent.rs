//! One agent of the run: attested by join token, configured with every member's address.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::Instant;

use super::process::{Process, words};
use super::{Cluster, config};
use crate::client::{Operator, health};

/// A running agent. The calling user's processes are its workloads.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    /// The path of the id that entries for its workloads hang on.
    pub parent_path: String,
    process: Process,
}

const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(20);
const TOKEN_TTL_S: i32 = 600;

impl Agent {
    /// Starts an agent called `name` that knows `servers` in their order, and waits until it serves.
    ///
    /// # Errors
    /// It does not attest or does not serve in time.
    pub async fn start(
        cluster: &Cluster,
        binary: &Path,
        name: &str,
        servers: &[SocketAddr],
    ) -> anyhow::Result<Self> {
        let folder = cluster.folder().join(name);
        fs::create_dir_all(&folder)?;
        let parent_path = format!("/host/{name}");
        let operator = Operator::new(cluster.any_admin().await?);
        fs::write(
            folder.join("token"),
            operator.join_token(TOKEN_TTL_S, Some(&parent_path)).await?,
        )?;
        fs::write(folder.join("bundle.pem"), operator.bundle_pem().await?)?;
        fs::write(folder.join("agent.conf"), config::agent(&folder, servers))?;
        let command = words([&binary, &"run", &"-config", &folder.join("agent.conf")]);
        let process = Process::start(name, &command, &folder.join("output.log"))?;
        let mut agent = Self {
            folder,
            parent_path,
            process,
        };
        agent.serving().await?;
        Ok(agent)
    }

    /// Its Workload API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        self.process.ensure_running()
    }

    async fn serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while !health::is_serving(&self.socket()).await.unwrap_or(false) {
            self.process.ensure_running()?;
            let log = || fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default();
            if Instant::now() >= deadline {
                return Err(anyhow::anyhow!(log())).context("the agent does not serve");
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ok(())
    }
}
