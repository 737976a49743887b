//! The plugins of one process, as one task.

use std::fmt;
use std::time::Duration;

use daemon::config::PluginProblem;
use daemon::supervisor::Shutdown;
use identity::trust_domain::TrustDomain;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::host_services::HostServices;
use crate::keeper::Keeper;
use crate::life::{Host, Life, Limits, StartError};
use crate::plugin::Plugin;
use crate::settings::Settings;

/// The plugins that were loaded. Dropped, they are killed.
pub struct Plugins {
    host: Host,
    kept: Vec<(Keeper, Life)>,
}

impl Plugins {
    /// No plugins yet, for a process of `trust_domain` that offers `services` to them.
    pub fn new(trust_domain: &TrustDomain, services: HostServices) -> Self {
        let trust_domain = trust_domain.as_str().to_owned();
        Self {
            host: Host {
                trust_domain,
                services,
                limits: Limits::DEFAULT,
            },
            kept: Vec::new(),
        }
    }

    /// Starts and configures a plugin.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn load(&mut self, settings: &Settings) -> Result<Plugin, LoadError> {
        let started = Keeper::start(settings.clone(), self.host.clone()).await;
        let (keeper, life, plugin) = started.map_err(|source| LoadError {
            name: settings.name.clone(),
            source,
        })?;
        self.kept.push((keeper, life));
        Ok(plugin)
    }

    /// What plugins have to say against their configuration: each is started for the question alone.
    ///
    /// # Errors
    /// The first that cannot be used, and why; or they took too long together.
    pub async fn validate<'a>(
        &self,
        settings: impl IntoIterator<Item = &'a Settings>,
    ) -> Result<Vec<PluginProblem>, ValidateError> {
        let within = self.host.limits.validation;
        match tokio::time::timeout(within, self.problems(settings)).await {
            Ok(problems) => Ok(problems?),
            Err(_elapsed) => Err(ValidateError::Late(within)),
        }
    }

    async fn problems<'a>(
        &self,
        settings: impl IntoIterator<Item = &'a Settings>,
    ) -> Result<Vec<PluginProblem>, LoadError> {
        let mut problems = Vec::new();
        for one in settings {
            let notes = self.notes(one).await.map_err(|source| LoadError {
                name: one.name.clone(),
                source,
            })?;
            problems.extend(notes.into_iter().map(|reason| PluginProblem {
                plugin: format!("{} {:?}", one.kind.name(), one.name),
                reason,
            }));
        }
        Ok(problems)
    }

    async fn notes(&self, settings: &Settings) -> Result<Vec<String>, StartError> {
        let data = settings.data.load().map_err(StartError::Data)?;
        let life = Life::begin(settings, &self.host).await?;
        let notes = life.validate(data.as_deref(), &self.host).await;
        life.finish().await;
        notes
    }

    /// Keeps the plugins until `shutdown`. On SIGUSR1 files of plugins' data are read again.
    ///
    /// # Errors
    /// The operating system refuses the signal's handler.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), std::io::Error> {
        let mut signals = signal(SignalKind::user_defined1())?;
        let (told, reload) = watch::channel(0);
        let mut keepers = JoinSet::new();
        for (keeper, life) in self.kept {
            keepers.spawn(keeper.run(life, reload.clone(), shutdown.clone()));
        }
        let pass_on = async {
            while let Some(()) = signals.recv().await {
                told.send_modify(|count| *count += 1);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = pass_on => {}
        }
        while keepers.join_next().await.is_some() {}
        Ok(())
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Plugins")
            .field("count", &self.kept.len())
            .finish_non_exhaustive()
    }
}

/// Why a plugin cannot be used, with its name.
#[derive(Debug, thiserror::Error)]
#[error("failed to load plugin {name:?}")]
pub struct LoadError {
    /// The plugin.
    pub name: String,
    /// Why.
    #[source]
    pub source: StartError,
}

/// Why it is not known what plugins have to say against their configuration.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// One of them cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// They took too long.
    #[error("plugins did not answer within {0:?}")]
    Late(Duration),
}

#[cfg(feature = "testing")]
impl Plugins {
    /// The same, with less patience.
    #[must_use]
    pub fn with_limits(mut self, start: Duration, call: Duration) -> Self {
        self.host.limits = Limits {
            start,
            call,
            health: call,
            first_restart: Duration::from_millis(50),
            validation: start,
        };
        self
    }
}
