//! `conclave-server dev`: a whole trust domain for one developer. A server, an agent attested to it and an entry for
//! the calling user, in one process tree that ends as a whole.
//!
//! What must hold: nothing listens beyond the loopback and the calling user's own sockets; no root is needed; nothing
//! is left behind by a run that ends well, unless a folder was named.

mod agent_process;
mod folder;
mod provision;
mod settings;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use daemon::{command_line::Terminal, process, supervisor::Shutdown};
use identity::{clock::SystemClock, trust_domain::TrustDomain};

use self::{
    agent_process::AgentProcess,
    folder::Folder,
    provision::{Provision, wait_until_healthy},
    settings::Settings,
};
use crate::{
    app::App,
    config::{self, LoadArgs},
};

/// What `dev` may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The trust domain to run.
    pub trust_domain: TrustDomain,
    /// The server's port on the loopback; 0 for a free one.
    pub port: u16,
    /// Where to keep state; a temporary folder without.
    pub folder: Option<PathBuf>,
}

/// Runs until the process is told to stop or a part of the tree fails.
///
/// # Errors
/// What kept a part from starting, or ended it.
pub async fn run(options: Options, terminal: &mut Terminal) -> anyhow::Result<()> {
    let agent_binary = agent_process::find_binary()?;
    let mut folder = Folder::open(options.folder.clone())?;
    let outcome = run_in(&folder, &agent_binary, &options, terminal).await;
    if outcome.is_err() {
        folder.keep();
    }
    outcome
}

async fn run_in(
    folder: &Folder,
    agent_binary: &Path,
    options: &Options,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let (app, settings) = start_server(options, folder, shutdown.clone()).await?;
    let mut server = Box::pin(app.run());
    let mut agent = None;
    let node = async {
        let provision = Provision::make(&options.trust_domain, folder).await?;
        settings.write_agent(&provision)?;
        let agent = agent.insert(AgentProcess::start(agent_binary, folder)?);
        let socket = folder.agent_socket();
        let healthy = wait_until_healthy(&socket, AGENT_START_DEADLINE);
        agent.or_end(healthy).await?;
        terminal.print(&greeting(
            &options.trust_domain,
            folder,
            agent_binary,
            &provision,
        ));
        agent.wait().await
    };
    let (server_ended, node_ended) = tokio::select! {
        ended = &mut server => (Some(ended), Ok(())),
        ended = node => (None, ended),
    };
    if let Some(agent) = &mut agent {
        agent.stop().await?;
    }
    shutdown.request();
    let server_ended = match server_ended {
        Some(ended) => ended,
        None => server.await,
    };
    node_ended.and(server_ended)
}

/// Attesting takes well under a second on a fast machine.
const AGENT_START_DEADLINE: Duration = Duration::from_secs(30);

/// A server on the loopback that takes calls, and the settings with the port that it got.
async fn start_server<'a>(
    options: &'a Options,
    folder: &'a Folder,
    shutdown: Shutdown,
) -> anyhow::Result<(App, Settings<'a>)> {
    let mut settings = Settings {
        trust_domain: &options.trust_domain,
        port: Some(options.port).filter(|port| *port != 0),
        folder,
    };
    settings.write_server()?;
    let mut config = config::load(&LoadArgs::from_path(folder.server_config()))?;
    // No port in a file is the default port; here it is any that is free.
    config.bind_port = options.port;
    process::prepare(config.log.clone())?;
    let app = App::start(&config, Arc::new(SystemClock), shutdown).await;
    let app = app.with_context(|| {
        format!(
            "the server did not start; see {}",
            folder.server_log().display()
        )
    })?;
    settings.port = Some(app.tls_address().port());
    settings.write_server()?;
    Ok((app, settings))
}

fn greeting(
    trust_domain: &TrustDomain,
    folder: &Folder,
    agent_binary: &Path,
    provision: &Provision,
) -> String {
    let socket = folder.agent_socket();
    let socket = socket.display();
    format!(
        "Conclave runs the trust domain {trust_domain}.\n\
         \n\
         Workload API     {socket}\n\
         Server API       {server}\n\
         Logs and state   {folder}\n\
         \n\
         Processes of user {uid} are {spiffe_id}. Try:\n\
         \n\
         \x20 {agent} api fetch x509 -socketPath {socket}\n\
         \x20 export SPIFFE_ENDPOINT_SOCKET=unix://{socket}\n\
         \n\
         Ctrl-C stops all of it.\n",
        server = folder.server_socket().display(),
        folder = folder.path().display(),
        uid = provision.uid,
        spiffe_id = provision.spiffe_id,
        agent = agent_binary.display(),
    )
}
