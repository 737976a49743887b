//! Ways past a plugin's process, for fuzz targets: a plugin behind any stream, what it prints, and what it calls.

use std::sync::Arc;
use std::time::Duration;

use daemon::router::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

use crate::StartError;
use crate::connection::over;
use crate::host_services::HostServices;
use crate::introduction::Introduced;
use crate::life::{Host, Limits};
use crate::output::{LogWriter, read_line};
use crate::plugin::{Plugin, State};
use crate::settings::Kind;

/// A connection over `stream`, if somebody there speaks HTTP/2.
pub async fn connected<S>(stream: S) -> Option<Channel>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    over(stream).await.ok()
}

/// The first calls to the plugin at the other end of `channel`: what it has to say against `data`, which it then takes.
///
/// # Errors
/// It is no plugin of `kind`, or does not like `data`.
pub async fn introduced(
    channel: Channel,
    kind: Kind,
    data: Option<&str>,
) -> Result<Vec<String>, StartError> {
    let host = Host {
        trust_domain: "example.org".to_owned(),
        services: HostServices::of_agent(),
        limits: Limits::DEFAULT,
    };
    let plugin = Introduced::new(channel, kind, &host).await?;
    let notes = plugin.validate(data, &host).await?;
    plugin.configure(data, &host).await?;
    Ok(notes)
}

/// The services of a process, as its plugins call them.
pub fn host_services(services: &HostServices) -> Router {
    services.router()
}

/// A plugin that is at the other end of `stream`, if somebody there speaks HTTP/2.
pub async fn plugin_behind<S>(kind: Kind, name: &str, stream: S) -> Option<Plugin>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let channel = connected(stream).await?;
    let (_, state) = watch::channel(State::Up(channel));
    let suspected = Arc::new(Notify::new());
    Some(Plugin::new(
        (kind, name.to_owned()),
        state,
        PATIENCE,
        suspected,
    ))
}

const PATIENCE: Duration = Duration::from_secs(8);

/// Logs what a plugin printed; returns its first line, and its last words.
pub async fn printed(mut output: &[u8]) -> (Option<String>, String) {
    let mut line = Vec::new();
    let first = read_line(&mut output, &mut line).await.ok().flatten();
    let mut writer = LogWriter::new();
    while let Ok(Some(text)) = read_line(&mut output, &mut line).await {
        writer.write(&text);
    }
    (first, writer.last_words().to_owned())
}
