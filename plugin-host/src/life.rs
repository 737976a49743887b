//! One life of a plugin: from the start of its process to its end.

use std::io;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use proto::grpc::health::v1::HealthCheckRequest;
use proto::grpc::health::v1::health_client::HealthClient;
use proto::plugin::Empty;
use proto::plugin::grpc_controller_client::GrpcControllerClient;
use proto::plugin::grpc_stdio_client::GrpcStdioClient;
use proto::spire::service::private::init::v1::DeinitRequest;
use proto::spire::service::private::init::v1::init_client::InitClient;
use tokio::io::BufReader;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{Instrument as _, debug, warn};

use crate::broker::{Broker, BrokerError};
use crate::connection::{ConnectError, connect};
use crate::handshake::{self, HandshakeError};
use crate::host_services::HostServices;
use crate::introduction::{Introduced, within};
use crate::output::{LogWriter, read_line};
use crate::process::{Pipes, Process, SpawnError};
use crate::settings::Settings;

/// What every plugin of a process is given.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) trust_domain: String,
    pub(crate) services: HostServices,
    pub(crate) limits: Limits,
}

/// How long a plugin may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the start of the process to its first line, and for each of the first calls.
    pub(crate) start: Duration,
    /// For a call, or a step of a conversation.
    pub(crate) call: Duration,
    /// To answer whether it is well, after a call that took too long.
    pub(crate) health: Duration,
    /// Before the second start after a first one; later ones wait longer.
    pub(crate) first_restart: Duration,
    /// For all plugins together to be asked about their configuration.
    pub(crate) validation: Duration,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        start: Duration::from_secs(60),
        call: Duration::from_secs(30),
        health: Duration::from_secs(5),
        first_restart: Duration::from_secs(1),
        validation: Duration::from_secs(30),
    };
}

/// How long a plugin may take to clear up, and then to end by itself.
const DEINIT_WITHIN: Duration = Duration::from_secs(2);
const END_WITHIN: Duration = Duration::from_secs(1);

/// The name under which plugins answer for their health.
const HEALTH_NAME: &str = "plugin";

/// A running plugin. Dropped, its process is killed.
pub(crate) struct Life {
    process: Process,
    plugin: Introduced,
    end: Shutdown,
    /// What reads its output and offers it services.
    _attendants: JoinSet<()>,
}

impl Life {
    /// Starts the program and makes it ready, but for its configuration.
    ///
    /// # Errors
    /// Why it cannot be used; its process has ended.
    pub(crate) async fn begin(settings: &Settings, host: &Host) -> Result<Self, StartError> {
        if settings.checksum.is_none() {
            warn!("Plugin checksum not configured");
        }
        let (process, pipes) = Process::start(settings).await?;
        let Pipes { stdout, stderr } = pipes;
        let mut attendants = JoinSet::new();
        let (told, said) = tokio::sync::oneshot::channel();
        attendants.spawn(
            async move {
                let last = follow(BufReader::new(stderr)).await;
                told.send(last).ok();
            }
            .in_current_span(),
        );
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        let first = tokio::time::timeout(host.limits.start, read_line(&mut stdout, &mut line));
        let first = first
            .await
            .map_err(|_elapsed| StartError::Silent(host.limits.start))?;
        let Some(first) = first.map_err(StartError::Output)? else {
            let said = tokio::time::timeout(END_WITHIN, said).await;
            let said = said.ok().and_then(Result::ok).unwrap_or_default();
            return Err(StartError::Ended { said });
        };
        let address = handshake::parse(&first)?;
        attendants.spawn(async move { drop(follow(stdout).await) }.in_current_span());
        let channel = connect(&address).await?;
        attendants.spawn(follow_stdio(channel.clone()).in_current_span());
        let end = Shutdown::new();
        let broker = Broker::bind().await?;
        let served = broker.serve(channel.clone(), &host.services, end.clone());
        attendants.spawn(served.in_current_span());
        let plugin = Introduced::new(channel, settings.kind, host).await?;
        Ok(Self {
            process,
            plugin,
            end,
            _attendants: attendants,
        })
    }

    /// The connection.
    pub(crate) fn channel(&self) -> Channel {
        self.plugin.channel()
    }

    /// Returns when the process has ended, with how. Cancel-safe.
    pub(crate) async fn ended(&self) -> String {
        match self.process.exited().await {
            Some(status) => status.to_string(),
            None => "end unknown".to_owned(),
        }
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Has the plugin take `data`, which nothing but the plugin understands.
    ///
    /// # Errors
    /// The plugin cannot be configured, or does not like it.
    pub(crate) async fn configure(
        &self,
        data: Option<&str>,
        host: &Host,
    ) -> Result<(), StartError> {
        self.plugin.configure(data, host).await
    }

    /// What the plugin has to say against `data`, without taking it.
    ///
    /// # Errors
    /// The plugin cannot be configured, or does not answer.
    pub(crate) async fn validate(
        &self,
        data: Option<&str>,
        host: &Host,
    ) -> Result<Vec<String>, StartError> {
        self.plugin.validate(data, host).await
    }

    /// Whether the plugin answers anything at all.
    pub(crate) async fn is_well(&self, host: &Host) -> bool {
        let mut client = HealthClient::new(self.channel());
        let request = HealthCheckRequest {
            service: HEALTH_NAME.to_owned(),
        };
        tokio::time::timeout(host.limits.health, client.check(request))
            .await
            .is_ok()
    }

    /// Has the plugin clear up and end; it is killed if it does not.
    pub(crate) async fn finish(self) {
        let mut client = InitClient::new(self.channel());
        match within(DEINIT_WITHIN, client.deinit(DeinitRequest {})).await {
            Ok(_) => debug!("Plugin deinitialized"),
            Err(status) if status.code() == Code::Unimplemented => {}
            Err(status) => warn!(%status, "Failed to deinitialize plugin"),
        }
        self.end.request();
        let mut controller = GrpcControllerClient::new(self.channel());
        within(END_WITHIN, controller.shutdown(Empty {})).await.ok();
        if tokio::time::timeout(END_WITHIN, self.ended())
            .await
            .is_err()
        {
            debug!("plugin failed to exit gracefully");
        }
    }
}

/// Logs what comes out of `pipe` until its end; returns the last words that were no log record.
async fn follow(mut pipe: impl tokio::io::AsyncBufRead + Unpin) -> String {
    let mut writer = LogWriter::new();
    let mut line = Vec::new();
    while let Ok(Some(text)) = read_line(&mut pipe, &mut line).await {
        writer.write(&text);
    }
    writer.last_words().to_owned()
}

/// Takes what the plugin prints after its first line, which it would wait with otherwise.
async fn follow_stdio(channel: Channel) {
    let mut client = GrpcStdioClient::new(channel);
    let Ok(chunks) = client.stream_stdio(()).await else {
        return;
    };
    let mut chunks = chunks.into_inner();
    let mut writer = LogWriter::new();
    while let Ok(Some(chunk)) = chunks.message().await {
        for line in String::from_utf8_lossy(&chunk.data).lines() {
            writer.write(line);
        }
    }
}

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program does not run.
    #[error("failed to launch plugin")]
    Spawn(#[from] SpawnError),
    /// The program says nothing, or not where it listens.
    #[error(
        "failed to launch plugin: timeout while waiting for plugin to start: nothing within {0:?}"
    )]
    Silent(Duration),
    /// What the program says cannot be read.
    #[error("failed to launch plugin: cannot read its output")]
    Output(#[source] io::Error),
    /// The program ended. One that was made for another kind does so.
    #[error("failed to launch plugin: plugin exited before we could connect; it said {said:?}")]
    Ended {
        /// Its last words.
        said: String,
    },
    /// The program is no plugin, or one of other times.
    #[error("failed to launch plugin")]
    Handshake(#[from] HandshakeError),
    /// The plugin does not listen where it says.
    #[error("failed to launch plugin")]
    Connect(#[from] ConnectError),
    /// The plugin cannot be offered the services of this process.
    #[error("failed to launch plugin")]
    Broker(#[from] BrokerError),
    /// The plugin refuses to begin.
    #[error("failed to initialize plugin: {}", .0.message())]
    Init(Status),
    /// The plugin is of another kind.
    #[error(
        "no supported plugin interface found in: {}; expected {wanted:?}",
        shown(found)
    )]
    WrongService {
        /// What it should have.
        wanted: &'static str,
        /// What it has.
        found: Vec<String>,
    },
    /// There is a configuration, and the plugin takes none.
    #[error("no supported configuration interface found: remove plugin_data")]
    NoConfig,
    /// The configuration cannot be read.
    #[error("failed to load plugin data")]
    Data(#[source] io::Error),
    /// The plugin refuses its configuration.
    #[error("failed to configure plugin: {}", .0.message())]
    Configure(Status),
}

fn shown(names: &[String]) -> String {
    let shown: String = format!("{names:?}").chars().take(500).collect();
    shown
}
