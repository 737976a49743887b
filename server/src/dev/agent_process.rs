//! The agent as a child process.

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::folder::Folder;

const BINARY: &str = "conclave-agent";
/// The agent asks the operating system to end it together with the process that this names.
const PARENT_VARIABLE: &str = "CONCLAVE_PARENT_PID";
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running agent. It does not outlive this process, however that ends.
pub(super) struct AgentProcess {
    child: Child,
    log: PathBuf,
}

/// The agent's binary: beside our own.
pub(super) fn find_binary() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program's own file")?;
    let beside = own.with_file_name(BINARY);
    anyhow::ensure!(
        beside.is_file(),
        "there is no {BINARY} beside {}; build or install both into one folder (cargo build makes both)",
        own.display()
    );
    Ok(beside)
}

impl AgentProcess {
    pub(super) fn start(binary: &Path, folder: &Folder) -> anyhow::Result<Self> {
        let child = Command::new(binary)
            .arg("run")
            .arg("-config")
            .arg(folder.agent_config())
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self {
            child,
            log: folder.agent_log(),
        })
    }

    /// Does `work`, unless the agent ends before.
    pub(super) async fn or_end(
        &mut self,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let log = self.log.display().to_string();
        tokio::select! {
            done = work => done.with_context(|| format!("the agent did not start; see {log}")),
            ended = self.wait() => ended,
        }
    }

    /// Waits for the agent's end. That is a failure unless it was told to stop, as Ctrl-C tells both.
    pub(super) async fn wait(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait().await?;
        let told = [Signal::INT, Signal::TERM].map(|signal| Some(signal.as_raw()));
        anyhow::ensure!(
            status.success() || told.contains(&status.signal()),
            "the agent ended ({status}); see {}",
            self.log.display()
        );
        Ok(())
    }

    /// Asks the agent to end, and ends it after a while.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have had the same Ctrl-C and be gone.
            kill_process(pid, Signal::TERM).ok();
        }
        match tokio::time::timeout(STOP_GRACE, self.child.wait()).await {
            Ok(ended) => ended.map(|_status| ()).context("cannot wait for the agent"),
            Err(_late) => self.child.kill().await.context("cannot end the agent"),
        }
    }
}
