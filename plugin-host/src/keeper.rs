//! Keeps one plugin alive: starts it again when it has ended or hangs, and configures it anew when its
//! file has changed.
//!
//! SPIRE leaves a plugin dead that has died, and fails every call to it from then on. Here it is started
//! again, with the same checksum and configuration, a little later each time.

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::{Shutdown, chain};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, error, info, info_span};

use crate::life::{Host, Life, StartError};
use crate::plugin::{Plugin, State};
use crate::settings::Settings;

/// The longest wait before a plugin is started again.
const MAX_RESTART_WAIT: Duration = Duration::from_secs(60);

/// A plugin that lived this long has earned a quick restart.
const LIVED_WELL: Duration = Duration::from_secs(60);

/// What keeps one plugin.
pub(crate) struct Keeper {
    settings: Settings,
    host: Host,
    state: watch::Sender<State>,
    suspected: Arc<Notify>,
    /// What the plugin was configured with last.
    data: Option<String>,
    span: tracing::Span,
}

/// Why a life has to be looked after.
enum Event {
    Stop,
    Ended(String),
    Suspected,
    Reload,
}

impl Keeper {
    /// Starts and configures the plugin of `settings`; returns what keeps it, its first life, and the
    /// handle.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) async fn start(
        settings: Settings,
        host: Host,
    ) -> Result<(Self, Life, Plugin), StartError> {
        let span = info_span!(
            "plugin",
            external = true,
            plugin_name = settings.name,
            plugin_type = settings.kind.name()
        );
        let starting = begin(&settings, &host).instrument(span.clone());
        let (life, data) = starting.await?;
        span.in_scope(|| info!("Plugin loaded"));
        let (state, seen) = watch::channel(State::Up(life.channel()));
        let suspected = Arc::new(Notify::new());
        let title = (settings.kind, settings.name.clone());
        let plugin = Plugin::new(title, seen, host.limits.call, Arc::clone(&suspected));
        let keeper = Self {
            settings,
            host,
            state,
            suspected,
            data,
            span,
        };
        Ok((keeper, life, plugin))
    }

    /// Keeps the plugin until `shutdown`, then ends it. `reload` changes when files are to be read again.
    pub(crate) async fn run(self, first: Life, reload: watch::Receiver<u64>, shutdown: Shutdown) {
        let span = self.span.clone();
        self.keep(first, reload, shutdown).instrument(span).await;
    }

    async fn keep(mut self, first: Life, mut reload: watch::Receiver<u64>, shutdown: Shutdown) {
        let mut life = first;
        let mut wait = self.host.limits.first_restart;
        loop {
            let began = Instant::now();
            let Some(reason) = self.watch(&life, &mut reload, &shutdown).await else {
                self.state
                    .send_replace(State::Down("the process is stopping".to_owned()));
                life.finish().await;
                info!("Plugin unloaded");
                return;
            };
            error!(reason, "plugin has failed and is started again");
            self.state.send_replace(State::Down(reason));
            drop(life);
            if began.elapsed() >= LIVED_WELL {
                wait = self.host.limits.first_restart;
            }
            let Some(next) = self.restart(&mut wait, &shutdown).await else {
                return;
            };
            life = next;
            self.state.send_replace(State::Up(life.channel()));
            info!("plugin was started again");
        }
    }

    /// Returns when `life` is over, with why; `None` when it is to be ended.
    async fn watch(
        &mut self,
        life: &Life,
        reload: &mut watch::Receiver<u64>,
        shutdown: &Shutdown,
    ) -> Option<String> {
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.requested() => Event::Stop,
                how = life.ended() => Event::Ended(how),
                () = self.suspected.notified() => Event::Suspected,
                Ok(()) = reload.changed() => Event::Reload,
            };
            match event {
                Event::Stop => return None,
                Event::Ended(how) => return Some(format!("its process ended ({how})")),
                Event::Suspected => {
                    let is_well = tokio::select! {
                        () = shutdown.requested() => return None,
                        is_well = life.is_well(&self.host) => is_well,
                    };
                    if !is_well {
                        life.kill();
                        return Some("it answers nothing any more".to_owned());
                    }
                }
                Event::Reload => self.reconfigure(life).await,
            }
        }
    }

    /// Waits, then starts the plugin, until that works; `None` if `shutdown` came first.
    async fn restart(&mut self, wait: &mut Duration, shutdown: &Shutdown) -> Option<Life> {
        loop {
            let attempt = async {
                tokio::time::sleep(*wait).await;
                begin(&self.settings, &self.host).await
            };
            let begun = tokio::select! {
                () = shutdown.requested() => return None,
                begun = attempt => begun,
            };
            *wait = (*wait * 2).min(MAX_RESTART_WAIT);
            match begun {
                Ok((life, data)) => {
                    self.data = data;
                    return Some(life);
                }
                Err(error) => {
                    let reason = chain(&error);
                    error!(error = reason, retry_interval = ?*wait, "Failed to load plugin");
                    self.state.send_replace(State::Down(reason));
                }
            }
        }
    }

    /// Reads the data again and has the plugin take them if they have changed. What it refuses changes
    /// nothing here: it may have kept its old ones.
    async fn reconfigure(&mut self, life: &Life) {
        let crate::settings::Data::File(_) = &self.settings.data else {
            return;
        };
        let data = match self.settings.data.load() {
            Ok(data) => data,
            Err(error) => {
                error!(%error, "Failed to reconfigure plugin");
                return;
            }
        };
        if data == self.data {
            info!("Plugin not reconfigured since the config is unchanged");
            return;
        }
        match life.configure(data.as_deref(), &self.host).await {
            Ok(()) => {
                self.data = data;
                info!("Plugin reconfigured");
            }
            Err(error) => error!(error = chain(&error), "Failed to reconfigure plugin"),
        }
    }
}

/// A configured plugin, and with what.
async fn begin(settings: &Settings, host: &Host) -> Result<(Life, Option<String>), StartError> {
    let data = settings.data.load().map_err(StartError::Data)?;
    let life = Life::begin(settings, host).await?;
    life.configure(data.as_deref(), host).await?;
    Ok((life, data))
}
