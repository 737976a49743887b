//! An agent in this process, and a workload that calls it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::config::{self, Config, LoadArgs};
use daemon::supervisor::Shutdown;
use identity::clock::SystemClock;
use proto::spire::api::types;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use proto::workload::{JwtsvidRequest, JwtsvidResponse, X509svidRequest, X509svidResponse};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::fake_server::FakeServer;

/// Nothing that is waited for takes this long unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The directories of an agent, which outlive its runs.
pub(crate) struct Home {
    directory: Arc<TempDir>,
    token: &'static str,
    experimental: &'static str,
    extra: &'static str,
    trust: Option<String>,
    plugins: String,
    replicas: Vec<SocketAddr>,
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) socket_path: PathBuf,
    pub(crate) admin_socket_path: PathBuf,
    /// Gone with its last user.
    _directory: Arc<TempDir>,
    shutdown: Shutdown,
    task: JoinSet<anyhow::Result<()>>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            token: "token",
            experimental: "sync_interval = \"100ms\"",
            extra: "",
            trust: None,
            plugins: String::new(),
            replicas: Vec::new(),
        }
    }

    pub(crate) fn with_token(mut self, token: &'static str) -> Self {
        self.token = token;
        self
    }

    pub(crate) fn with(mut self, extra: &'static str) -> Self {
        self.extra = extra;
        self
    }

    /// Believes the first server by what these lines name, not by a file.
    pub(crate) fn trusting(mut self, lines: String) -> Self {
        self.trust = Some(lines);
        self
    }

    /// With a `plugins` block of these lines.
    pub(crate) fn with_plugins(mut self, lines: &str) -> Self {
        self.plugins = format!("plugins {{ {lines} }}");
        self
    }

    pub(crate) fn with_experimental(mut self, experimental: &'static str) -> Self {
        self.experimental = experimental;
        self
    }

    /// Names these servers too.
    pub(crate) fn beside(mut self, replicas: &[&FakeServer]) -> Self {
        self.replicas = replicas.iter().map(|one| one.address).collect();
        self
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What the agent stored.
    pub(crate) fn stored(&self) -> serde_json::Value {
        let bytes = std::fs::read(self.data_dir().join("agent-data.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Lets the agent store nothing any more, as a full disk does.
    pub(crate) async fn block_disk(&self) {
        for blocker in self.blockers() {
            // The name of a file that is written before it replaces another, as it may be just now.
            wait_until(async || std::fs::create_dir(&blocker).is_ok()).await;
        }
    }

    pub(crate) fn free_disk(&self) {
        for blocker in self.blockers() {
            std::fs::remove_dir(blocker).unwrap();
        }
    }

    fn blockers(&self) -> [PathBuf; 2] {
        ["keys.json.tmp", "agent-data.json.tmp"].map(|name| self.data_dir().join(name))
    }

    fn config(&self, server: &FakeServer) -> Config {
        let bundle_path = self.directory.path().join("bootstrap.pem");
        if !bundle_path.exists() {
            let bundle = server.with(|registry| registry.authority.bundle().to_pem());
            std::fs::write(&bundle_path, bundle).unwrap();
        }
        let servers = match self.replicas.is_empty() {
            true => format!(
                "server_address = \"{}\"\nserver_port = {}",
                server.address.ip(),
                server.address.port()
            ),
            false => {
                let all = [&[server.address], self.replicas.as_slice()].concat();
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                format!("server_addresses = {all:?}")
            }
        };
        let text = format!(
            r#"agent {{
                trust_domain = "example.org"
                {servers}
                data_dir = "{data_dir}"
                socket_path = "{socket_path}"
                admin_socket_path = "{admin_socket_path}"
                {trust}
                join_token = "{token}"
                {extra}
                experimental {{ {experimental} }}
            }}
            {plugins}"#,
            data_dir = self.data_dir().display(),
            socket_path = self.directory.path().join("run/agent.sock").display(),
            admin_socket_path = self.directory.path().join("admin/admin.sock").display(),
            trust = self
                .trust
                .clone()
                .unwrap_or_else(|| format!("trust_bundle_path = {bundle_path:?}")),
            token = self.token,
            extra = self.extra,
            plugins = self.plugins,
            experimental = self.experimental,
        );
        let path = self.directory.path().join("agent.conf");
        std::fs::write(&path, text).unwrap();
        let mut arguments = LoadArgs::default();
        arguments.path = path;
        config::load(&arguments).unwrap()
    }

    /// Starts an agent and does not wait for it.
    pub(crate) fn spawn(&self, server: &FakeServer) -> Agent {
        let config = self.config(server);
        let socket_path = config.socket_path.clone();
        let admin_socket_path = config.admin_socket_path.clone().unwrap();
        let shutdown = Shutdown::new();
        let (_layer, log) = daemon::log::layer(daemon::log::Options::default()).unwrap();
        let mut task = JoinSet::new();
        task.spawn(agent::app::run_until(
            config,
            Arc::new(SystemClock),
            log,
            shutdown.clone(),
        ));
        Agent {
            socket_path,
            admin_socket_path,
            _directory: Arc::clone(&self.directory),
            shutdown,
            task,
        }
    }

    /// Starts an agent and waits until it serves.
    pub(crate) async fn start(&self, server: &FakeServer) -> Agent {
        let mut agent = self.spawn(server);
        let socket_path = agent.socket_path.clone();
        let served = wait_until(async || daemon::unix::connect(&socket_path).await.is_ok());
        tokio::select! {
            biased;
            end = agent.task.join_next() => panic!("agent ended: {end:?}"),
            () = served => {}
        }
        agent
    }
}

impl Agent {
    pub(crate) async fn connect(&self) -> Result<Channel, daemon::unix::ConnectError> {
        daemon::unix::connect(&self.socket_path).await
    }

    /// The admin socket, which opens after the Workload API's.
    pub(crate) async fn admin(&self) -> Channel {
        let path = &self.admin_socket_path;
        wait_until(async || daemon::unix::connect(path).await.is_ok()).await;
        daemon::unix::connect(path).await.unwrap()
    }

    pub(crate) async fn client(&self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(self.connect().await.unwrap())
    }

    /// Opens a stream of X.509-SVIDs.
    pub(crate) async fn watch_x509(&self) -> Result<Streaming<X509svidResponse>, Status> {
        let request = with_header(X509svidRequest {});
        Ok(self
            .client()
            .await
            .fetch_x509svid(request)
            .await?
            .into_inner())
    }

    /// The first message of a new stream.
    pub(crate) async fn fetch_x509(&self) -> Result<X509svidResponse, Status> {
        next(&mut self.watch_x509().await?).await
    }

    /// As a workload does it: asks again until it has an identity.
    pub(crate) async fn wait_for_x509(&self) -> X509svidResponse {
        let found = parking_lot::Mutex::new(None);
        wait_until(async || {
            let answer = self.fetch_x509().await.ok();
            *found.lock() = answer;
            found.lock().is_some()
        })
        .await;
        found.into_inner().unwrap()
    }

    pub(crate) async fn fetch_jwt(&self, audience: &[&str]) -> Result<JwtsvidResponse, Status> {
        let request = with_header(JwtsvidRequest {
            audience: audience.iter().map(ToString::to_string).collect(),
            spiffe_id: String::new(),
        });
        Ok(self
            .client()
            .await
            .fetch_jwtsvid(request)
            .await?
            .into_inner())
    }

    /// Tells the agent to stop and waits for its end.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        let end = self.end().await;
        end.unwrap_or_else(|error| panic!("agent failed: {error:#}"));
    }

    /// Tells the agent to stop, and does not wait.
    pub(crate) fn request_stop(&self) {
        self.shutdown.request();
    }

    /// Waits for the agent's end.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let end = timeout(PATIENCE, self.task.join_next()).await;
        end.expect("the agent ends").unwrap().unwrap()
    }
}

/// The next message of a stream, which does not end well.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    let message = timeout(PATIENCE, stream.message()).await;
    message
        .expect("a message comes")?
        .ok_or_else(|| panic!("stream ended well"))
}

pub(crate) fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert("workload.spiffe.io", header);
    request
}

/// Asks again and again until the answer is yes.
pub(crate) async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked)
        .await
        .expect("the condition holds in time");
}

/// An entry that this process matches.
pub(crate) fn own_entry(id: &str, path: &str) -> types::Entry {
    let uid = rustix::process::geteuid().as_raw();
    entry(id, path, &format!("uid:{uid}"))
}

/// An entry for the workloads with a selector of kind `unix`.
pub(crate) fn entry(id: &str, path: &str, selector: &str) -> types::Entry {
    types::Entry {
        id: id.to_owned(),
        spiffe_id: Some(types::Spiffeid {
            trust_domain: "example.org".to_owned(),
            path: path.to_owned(),
        }),
        selectors: vec![types::Selector {
            r#type: "unix".to_owned(),
            value: selector.to_owned(),
        }],
        created_at: 1_700_000_000,
        ..types::Entry::default()
    }
}

pub(crate) fn ids(response: &X509svidResponse) -> Vec<&str> {
    response
        .svids
        .iter()
        .map(|svid| svid.spiffe_id.as_str())
        .collect()
}
