//! `api watch`.

use std::{convert::Infallible, path::Path, time::Duration};

use daemon::{
    command_line::{Command, RpcError, Terminal},
    flags::{FlagSet, Parsed},
};
use identity::clock::{Clock as _, SystemClock};
use proto::workload::X509svidRequest;
use tokio::time::Instant;
use tonic::Status;

use super::{
    received::ReceivedSvids,
    report::{Hints, report},
    workload,
};
use crate::cli::SOCKET;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) fn command() -> Command {
    Command {
        words: "api watch",
        synopsis: "Prints X.509-SVIDs at every change, until it is stopped.",
        error_prefix: "",
        deadline: None,
        flags: || SOCKET.flags(FlagSet::new("watch")),
        run: |parsed, terminal| Box::pin(watch(parsed, terminal)),
    }
}

async fn watch(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let path = SOCKET.resolve(parsed)?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
        () = follow(&path, terminal) => Ok(()),
    }
}

/// Begins anew after every end of the stream: the agent may restart, and an identity may come later.
async fn follow(path: &Path, terminal: &mut Terminal) {
    let mut since = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let before = since;
        let Err(error) = follow_one_stream(path, terminal, &mut since).await;
        if since > before {
            pause = FIRST_PAUSE;
        }
        terminal.error_line(&format!("{error:#}"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Ends with the stream's error. `since` is the time of the last update.
async fn follow_one_stream(
    path: &Path,
    terminal: &mut Terminal,
    since: &mut Instant,
) -> anyhow::Result<Infallible> {
    let mut client = workload::connect_to(path).await?;
    let request = workload::request(X509svidRequest {});
    let stream = client.fetch_x509svid(request).await;
    let mut stream = stream.map_err(RpcError::from)?.into_inner();
    loop {
        let update = stream.message().await.map_err(RpcError::from)?;
        let update = update.ok_or_else(|| RpcError::from(Status::unknown("EOF")))?;
        let received = ReceivedSvids::parse(update, SystemClock.now())?;
        terminal.print(&report(&received, since.elapsed(), Hints::Hidden));
        *since = Instant::now();
    }
}
