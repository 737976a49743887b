//! A fresh server, and an agent if one is asked for: the built binaries on directories and a port of
//! their own, with a config that is written for SPIRE.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use daemon::port::free_port;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const START_TIME: Duration = Duration::from_secs(30);
const COMMAND_TIME: Duration = Duration::from_secs(60);

/// What runs, and where.
pub(crate) struct World {
    // Before the directory, for it is dropped first: nothing may still write there.
    running: Vec<Child>,
    /// The other members of the server's cluster, if it is in one. They run until the end.
    others: Vec<crate::world::World>,
    directory: TempDir,
    pub(crate) port: u16,
    pub(crate) server_binary: PathBuf,
    pub(crate) agent_binary: PathBuf,
}

/// What a command left.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl World {
    /// Directories and configs; nothing runs yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let server_binary = PathBuf::from(env!("CARGO_BIN_EXE_conclave-server"));
        let directory = tempfile::Builder::new().prefix("w").tempdir()?;
        for name in ["server/data", "agent/data", "admin", "files"] {
            fs::create_dir_all(directory.path().join(name))?;
        }
        let world = Self {
            port: free_port().unwrap(),
            agent_binary: server_binary.with_file_name("conclave-agent"),
            server_binary,
            directory,
            running: Vec::new(),
            others: Vec::new(),
        };
        for (name, template) in [
            ("server.conf", include_str!("server.conf")),
            ("agent.conf", include_str!("agent.conf")),
        ] {
            let config = template
                .replace("${dir}", &world.path("").to_string_lossy())
                .replace("${port}", &world.port.to_string());
            fs::write(world.path(name), config)?;
        }
        Ok(world)
    }

    /// The same for a server that follows in a cluster of three, whose other members run already.
    pub(crate) async fn of_a_follower() -> anyhow::Result<Self> {
        let mut world = Self::new()?;
        let others = crate::world::World::pair().await;
        fs::write(world.path("invite"), others[0].invite().await)?;
        let peer_port = free_port().unwrap();
        let block = format!(
            "server {{\n  cluster {{ peer_address = \"127.0.0.1:{peer_port}\" join_file = {:?} }}",
            world.path("invite")
        );
        let config = fs::read_to_string(world.path("server.conf"))?;
        ensure!(config.starts_with("server {"), "another template: {config}");
        fs::write(
            world.path("server.conf"),
            config.replacen("server {", &block, 1),
        )?;
        world.others = others.into();
        Ok(world)
    }

    /// Whether the server joins others.
    pub(crate) fn is_follower(&self) -> bool {
        !self.others.is_empty()
    }

    /// A path below the world's directory, which itself is the empty path.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() {
            return self.directory.path().to_owned();
        }
        self.directory.path().join(below)
    }

    /// The server's administrative socket.
    pub(crate) fn server_socket(&self) -> PathBuf {
        self.path("server/api.sock")
    }

    /// The agent's Workload API socket.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.path("agent/public.sock")
    }

    /// Starts the server and waits until it is healthy.
    pub(crate) async fn start_server(&mut self) -> anyhow::Result<()> {
        let config = self.path("server.conf");
        let mut command = Command::new(&self.server_binary);
        command.args(["run", "-config"]).arg(config);
        self.start(command, "server.log")?;
        self.healthy(&self.server_binary, &self.server_socket())
            .await
    }

    /// Starts the agent with a join token and an alias, and waits until it is healthy.
    pub(crate) async fn start_agent(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.agent_binary.exists(),
            "{} is missing: build the agent first",
            self.agent_binary.display()
        );
        let bundle = self.server(&["bundle", "show"]).await?;
        fs::write(self.path("agent/bootstrap.pem"), bundle.stdout)?;
        let generated = self
            .server(&[
                "token",
                "generate",
                "-spiffeID",
                "spiffe://example.org/host",
            ])
            .await?;
        let token = generated
            .stdout
            .split_whitespace()
            .last()
            .with_context(|| format!("no token: {}", generated.stderr))?;
        let mut command = Command::new(&self.agent_binary);
        command.args(["run", "-joinToken", token, "-config"]);
        command.arg(self.path("agent.conf"));
        self.start(command, "agent.log")?;
        self.healthy(&self.agent_binary, &self.agent_socket()).await
    }

    /// Runs a command in the directory for files until it ends.
    pub(crate) async fn run(&self, program: &Path, arguments: &[String]) -> anyhow::Result<Output> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path("files"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = timeout(COMMAND_TIME, command.output())
            .await
            .with_context(|| format!("{} {arguments:?} did not end", program.display()))??;
        Ok(Output {
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            code: ended.status.code().unwrap_or(-1),
        })
    }

    /// What the processes wrote last, for a failure's text.
    pub(crate) fn logs(&self) -> String {
        ["server.log", "agent.log"]
            .iter()
            .filter_map(|name| {
                let text = fs::read_to_string(self.path(name)).ok()?;
                let lines: Vec<_> = text.lines().rev().take(20).collect();
                let tail: Vec<_> = lines.into_iter().rev().collect();
                Some(format!("--- {name}\n{}\n", tail.join("\n")))
            })
            .collect()
    }

    /// Runs a command against the server.
    pub(crate) async fn server(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut arguments: Vec<_> = arguments.iter().map(|one| (*one).to_owned()).collect();
        arguments.push("-socketPath".to_owned());
        arguments.push(self.server_socket().to_string_lossy().into_owned());
        self.run(&self.server_binary, &arguments).await
    }

    fn start(&mut self, mut command: Command, log: &str) -> anyhow::Result<()> {
        let log = File::create(self.path(log))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        self.running.push(child);
        Ok(())
    }

    async fn healthy(&self, binary: &Path, socket: &Path) -> anyhow::Result<()> {
        let arguments = [
            "healthcheck".to_owned(),
            "-socketPath".to_owned(),
            socket.to_string_lossy().into_owned(),
        ];
        let deadline = Instant::now() + START_TIME;
        loop {
            let checked = self.run(binary, &arguments).await?;
            if checked.code == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not healthy: {}{}", checked.stderr, self.logs());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
