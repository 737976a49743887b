//! Ways past a plugin's process, for fuzz targets: a plugin behind any stream, and what it prints.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};

use crate::connection::over;
use crate::output::{LogWriter, read_line};
use crate::plugin::{Plugin, State};
use crate::settings::Kind;

/// A plugin that is at the other end of `stream`, if somebody there speaks HTTP/2.
pub async fn plugin_behind<S>(kind: Kind, name: &str, stream: S) -> Option<Plugin>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let channel = over(stream).await.ok()?;
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
