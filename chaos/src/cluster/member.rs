//! One member: its folder, its place, and its process while it runs.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::{
    config::{self, FirstStart},
    place::Place,
    process::{Process, run, words},
};
use crate::{
    client::{dial, health},
    load::wait_for,
};

/// One server of the cluster.
#[derive(Debug)]
pub struct Member {
    /// Its position in the run, from 0; not its member id.
    pub number: usize,
    /// Where it listens.
    pub place: Place,
    folder: PathBuf,
    binary: PathBuf,
    /// What stands before the server's command line, such as a tracer.
    wrapper: Vec<OsString>,
    process: Option<Process>,
}

/// Under load and beside others, a start may take its time.
const START_DEADLINE: Duration = Duration::from_secs(60);
const TERMINATE_DEADLINE: Duration = Duration::from_secs(30);
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);
const POLL_PAUSE: Duration = Duration::from_millis(10);

impl Member {
    /// A member that was never started.
    ///
    /// # Errors
    /// Its folder or config cannot be written.
    pub fn new(
        number: usize,
        folder: PathBuf,
        binary: &Path,
        place: Place,
        start: FirstStart,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        let text = config::server(&folder, place.api, place.peer, start);
        fs::write(folder.join("server.conf"), text)?;
        Ok(Self {
            number,
            place,
            folder,
            binary: binary.to_owned(),
            wrapper: Vec::new(),
            process: None,
        })
    }

    /// Runs the server under `wrapper` from the next start on.
    pub fn wrap(&mut self, wrapper: Vec<OsString>) {
        self.wrapper = wrapper;
    }

    /// Runs this program from the next start on.
    pub fn become_program(&mut self, binary: &Path) {
        binary.clone_into(&mut self.binary);
    }

    /// Where everything of it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its store.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    /// Its process.
    ///
    /// # Errors
    /// It is not running.
    pub fn process(&self) -> anyhow::Result<&Process> {
        let process = self.process.as_ref();
        process.with_context(|| format!("member {} is not running", self.number))
    }

    /// Whether it was started and not stopped since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Starts its process, and does not wait for it to serve.
    ///
    /// # Errors
    /// It is running, or cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "member {} is running", self.number);
        let mut command = self.place.prefix.clone();
        command.extend(self.wrapper.iter().cloned());
        let config = self.folder.join("server.conf");
        command.extend(words([&self.binary, &"run", &"-config", &config]));
        let name = format!("member {}", self.number);
        let process = Process::start(&name, &command, &self.folder.join("output.log"))?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it says that it serves, and returns how long that took.
    ///
    /// # Errors
    /// It ends, or does not serve in time.
    pub async fn serving(&mut self) -> anyhow::Result<Duration> {
        self.serving_within(START_DEADLINE).await
    }

    /// As [`Member::serving`], for a start that may take longer.
    ///
    /// # Errors
    /// It ends, or does not serve in time.
    pub async fn serving_within(&mut self, time: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let deadline = started + time;
        loop {
            let process = self.process.as_mut().context("not started")?;
            if let Err(ended) = process.ensure_running() {
                anyhow::bail!("{ended:#}\n{}", self.log_tail());
            }
            let asked = tokio::time::timeout_at(deadline, health::is_serving(&self.socket())).await;
            match asked {
                Ok(Ok(true)) => return Ok(started.elapsed()),
                Ok(_) if Instant::now() < deadline => tokio::time::sleep(POLL_PAUSE).await,
                _ => anyhow::bail!(
                    "member {} does not serve after {time:?}: {}",
                    self.number,
                    self.log_tail()
                ),
            }
        }
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.take()?;
        process.kill().await
    }

    /// Crashes it with SIGABRT, which asks for a core file, and returns how it ended.
    ///
    /// # Errors
    /// It is not running, or does not end in time.
    pub async fn abort(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let mut process = self.take()?;
        process.signal(Signal::ABORT)?;
        process.exit(deadline).await
    }

    /// Ends it with SIGTERM, and returns how long that took.
    ///
    /// # Errors
    /// It is not running, or does not end well in time.
    pub async fn terminate(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut process = self.take()?;
        process.terminate(TERMINATE_DEADLINE).await?;
        Ok(started.elapsed())
    }

    /// Starts it although it is expected to give up; the error is what it wrote then. If it serves, it is ended.
    ///
    /// # Errors
    /// It gave up, as expected.
    pub async fn start_in_vain(&mut self, deadline: Duration) -> Result<(), String> {
        let text = |error: anyhow::Error| format!("{error:#}");
        self.start().map_err(text)?;
        if self.serving_within(deadline).await.is_ok() {
            return self.terminate().await.map(drop).map_err(text);
        }
        let mut process = self.take().map_err(text)?;
        // It has ended, or hangs without serving.
        process.kill().await.map_err(text)?;
        Err(process.last_words())
    }

    /// Stops it with SIGSTOP, and returns once it stands: its connections stay and nothing answers.
    ///
    /// # Errors
    /// It is not running, or does not stop.
    pub async fn pause(&self) -> anyhow::Result<()> {
        let process = self.process()?;
        process.signal(Signal::STOP)?;
        // Each thread stops when it next would run, which on a busy machine takes a while.
        wait_for("every thread stops", COMMAND_DEADLINE, async || {
            process.is_stopped().then_some(())
        })
        .await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process()?.signal(Signal::CONT)
    }

    /// A channel to its admin socket.
    ///
    /// # Errors
    /// It does not listen there.
    pub async fn admin(&self) -> anyhow::Result<Channel> {
        dial::unix(&self.socket()).await
    }

    /// Runs a command of the operator on it and returns what it printed.
    ///
    /// # Errors
    /// The command fails.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = words([&self.binary]);
        command.extend(arguments.iter().map(OsString::from));
        command.extend(words([&"-socketPath", &self.socket()]));
        run(&command, COMMAND_DEADLINE).await
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn take(&mut self) -> anyhow::Result<Process> {
        let process = self.process.take();
        process.with_context(|| format!("member {} is not running", self.number))
    }
}

const LOG_TAIL_LINES: usize = 12;
