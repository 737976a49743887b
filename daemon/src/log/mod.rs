//! The process's log: logrus' text and JSON lines, which operators' scripts read, written from `tracing` events.
//!
//! Fields of an event and of the spans around it become keys. Libraries are heard from `warn` up only: their
//! lower levels describe frames and buffers, which may hold secrets.

mod layer;
mod level;
mod line;
mod sink;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{callsite::rebuild_interest_cache, error, info};
use tracing_subscriber::{Registry, layer::SubscriberExt};

use self::sink::Sink;
pub use self::{
    layer::LogLayer,
    level::{Level, ParseLevelError},
    line::{Format, ParseFormatError},
};
use crate::supervisor::Shutdown;

/// What is logged, how and where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// The form of a line.
    pub format: Format,
    /// The least severe level that is written.
    pub level: Level,
    /// The file appended to; standard output if none.
    pub file: Option<PathBuf>,
    /// Adds the place in the source to every line.
    pub source_location: bool,
}

/// Makes this process log; once in a process, from `main`.
///
/// # Errors
/// When the file cannot be opened, or the process logs already.
pub fn init(options: Options) -> Result<LogControl, LogError> {
    let (layer, control) = layer(options)?;
    tracing::subscriber::set_global_default(Registry::default().with(layer))
        .map_err(LogError::AlreadyLogging)?;
    // Callsites met before now have cached that nobody listens.
    rebuild_interest_cache();
    Ok(PROCESS.get_or_init(|| control).clone())
}

/// The log that [`init`] made for this process. In one that does not log, as a test, its level has
/// no effect.
pub fn of_process() -> LogControl {
    let silent = || LogControl(Arc::new(Shared::new(Level::default(), Sink::Stdout)));
    PROCESS.get().cloned().unwrap_or_else(silent)
}

/// A subscriber belongs to a process, and so does its control.
static PROCESS: OnceLock<LogControl> = OnceLock::new();

/// The parts that [`init`] installs, for a process that composes its own subscriber and for tests.
///
/// # Errors
/// When the file cannot be opened.
pub fn layer(options: Options) -> Result<(LogLayer, LogControl), LogError> {
    let sink = match options.file {
        Some(path) => Sink::open(&path).map_err(|source| LogError::Open { path, source })?,
        None => Sink::Stdout,
    };
    let shared = Arc::new(Shared::new(options.level, sink));
    let control = LogControl(shared.clone());
    let layer = LogLayer::new(shared, options.format, options.source_location);
    Ok((layer, control))
}

/// The running log.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    launch_level: Level,
    sink: Sink,
}

impl LogControl {
    /// The level in force.
    #[must_use]
    pub fn level(&self) -> Level {
        self.0.level()
    }

    /// The level that the process was started with.
    #[must_use]
    pub fn launch_level(&self) -> Level {
        self.0.launch_level
    }

    /// Puts another level in force, for every line from now on.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(level.severity(), Ordering::Relaxed);
        rebuild_interest_cache();
    }

    /// Opens the file anew, as after a rotation moved it away; nothing to do without a file.
    ///
    /// # Errors
    /// The operating system's; the file open before stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.0.sink.reopen()
    }

    /// Reopens the file at every SIGUSR2 until `shutdown`.
    ///
    /// # Errors
    /// When the signal cannot be listened for.
    pub async fn reopen_on_signal(self, shutdown: Shutdown) -> io::Result<()> {
        let mut signals = signal(SignalKind::user_defined2())?;
        loop {
            tokio::select! {
                _ = signals.recv() => match self.reopen() {
                    Ok(()) => info!("log file reopened"),
                    Err(error) => error!(%error, "log file not reopened"),
                },
                () = shutdown.requested() => return Ok(()),
            }
        }
    }
}

impl Shared {
    fn new(level: Level, sink: Sink) -> Self {
        Self {
            level: AtomicU8::new(level.severity()),
            launch_level: level,
            sink,
        }
    }

    fn level(&self) -> Level {
        Level::from_severity(self.level.load(Ordering::Relaxed))
    }
}

/// Why the process does not log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file could not be opened.
    #[error("open log file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody installed a subscriber before.
    #[error("log is already set up")]
    AlreadyLogging(#[source] tracing::subscriber::SetGlobalDefaultError),
}

#[cfg(test)]
mod tests;
