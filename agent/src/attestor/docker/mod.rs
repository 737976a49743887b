//! The attestor `docker`: labels, environment and image of the container that a process is in, as the
//! engine of the container says them.
//!
//! The engine is told which container the process claims to be in by its control groups. The claim is
//! believed only if the container's first process stands in the same place.

mod cgroup;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod decoded;
mod engine;
mod locator;
mod mountinfo;
mod settings;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::chain;
use identity::selector::{Selector, SelectorError, SelectorSet};
use tokio::sync::Semaphore;
use tracing::debug;

use cgroup::{Cgroups, Claim, Podman};
use engine::{Container, Engine};

pub use cgroup::CgroupError;
pub use engine::EngineError;
pub use locator::{Locator, Patterns};
pub use mountinfo::MountError;
pub use settings::{ApiVersion, RootlessPodman, Settings, UidTemplate, parse_socket};

/// The name in configs, and the kind of the selectors.
pub(crate) const NAME: &str = "docker";

/// A container may start, or its engine, while one of its processes calls already.
const RETRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The time for all of it, as plugins have it for a call.
const WITHIN: Duration = Duration::from_secs(30);

/// The first pid namespace, in which every process of the host is seen (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Attests a process by the container that it is in.
#[derive(Debug)]
pub struct Docker {
    settings: Settings,
    docker: Arc<Engine>,
    podman: Arc<Engine>,
    rootless_places: Arc<Semaphore>,
}

impl Docker {
    /// An attestor that asks the engines of `settings`. None is asked yet.
    pub fn new(settings: Settings) -> Self {
        let engine = |socket: &Path, version| {
            Arc::new(Engine::new(socket.to_owned(), version, engine::places()))
        };
        Self {
            docker: engine(&settings.socket, settings.version),
            podman: engine(&settings.podman_socket, None),
            rootless_places: engine::places(),
            settings,
        }
    }

    /// The selectors of the process at `directory`, its place in `/proc`; none if it is in no container.
    /// The caller makes sure that it is still the same process.
    ///
    /// # Errors
    /// It cannot be said whether the process is in a container, or in which; or the engine does not
    /// answer, or does not know the container.
    pub async fn attest(&self, directory: PathBuf) -> Result<SelectorSet, DockerError> {
        let groups = Cgroups::read(&directory)?;
        let Some(claim) = self.claim(&groups, &directory)? else {
            return Ok(SelectorSet::default());
        };
        let engine = self.engine(&groups)?;
        let asked = tokio::time::timeout(WITHIN, self.persist(&engine, &claim, &directory)).await;
        asked.unwrap_or(Err(DockerError::TimedOut))
    }

    fn claim(&self, groups: &Cgroups, directory: &Path) -> Result<Option<Claim>, DockerError> {
        let is_verbose = self.settings.is_verbose;
        if is_verbose {
            groups.enumerate(directory);
        }
        let claim = groups.claim(&self.settings.locator)?;
        if claim.is_some() || self.settings.locator != Locator::ByShape || !groups.are_roots() {
            return Ok(claim);
        }
        let own = mountinfo::own_container(&beside(directory, "self"), is_verbose)?;
        Ok(own.map(Claim::granted))
    }

    /// Who made the container.
    fn engine(&self, groups: &Cgroups) -> Result<Arc<Engine>, DockerError> {
        match groups.podman() {
            None => Ok(Arc::clone(&self.docker)),
            Some(Podman::Rootful) => Ok(Arc::clone(&self.podman)),
            Some(Podman::Rootless { uid }) => {
                let socket = self.settings.rootless_podman.socket_of(uid);
                let socket = socket.ok_or(DockerError::RootlessPodman { uid })?;
                let places = Arc::clone(&self.rootless_places);
                Ok(Arc::new(Engine::new(socket, None, places)))
            }
        }
    }

    /// Asks again, a little later each time, as SPIRE does whatever the failure is.
    async fn persist(
        &self,
        engine: &Engine,
        claim: &Claim,
        directory: &Path,
    ) -> Result<SelectorSet, DockerError> {
        let mut wait = FIRST_WAIT;
        for _ in 0..RETRIES {
            match self.ask(engine, claim, directory).await {
                Ok(selectors) => return Ok(selectors),
                Err(failure) => {
                    let error = chain(&failure);
                    debug!(error, container = claim.id, "Container is asked for again");
                }
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.ask(engine, claim, directory).await
    }

    async fn ask(
        &self,
        engine: &Engine,
        claim: &Claim,
        directory: &Path,
    ) -> Result<SelectorSet, DockerError> {
        let container = engine.container(&claim.id).await?;
        if claim.is_to_be_compared() {
            self.compare(claim, &container, directory)?;
        }
        // SPIRE asks for what the image's name stands for now, which may be another image than it was.
        let image = container.image.as_ref().or(container.config.image.as_ref());
        let image_id = match image.filter(|image| !image.is_empty()) {
            Some(image) => engine.image_id(image).await,
            None => Ok(String::new()),
        };
        let image_id = image_id.unwrap_or_else(|failure| {
            let error = chain(&failure);
            debug!(
                error,
                container = claim.id,
                "Image of the container is not known"
            );
            String::new()
        });
        selectors(&container, &image_id).map_err(DockerError::Selector)
    }

    /// Makes sure that the process stands where the container's first process does.
    fn compare(
        &self,
        claim: &Claim,
        container: &Container,
        directory: &Path,
    ) -> Result<(), DockerError> {
        let id = || claim.id.clone();
        let pid = container.first_pid();
        let pid = pid.ok_or_else(|| DockerError::NotRunning { id: id() })?;
        let first = Cgroups::read(&beside(directory, &pid.to_string()));
        let first = first.and_then(|groups| groups.claim(&self.settings.locator));
        match first {
            Ok(Some(first)) if claim.stands_with(&first) => Ok(()),
            Ok(Some(first)) if claim.id == first.id => {
                Err(DockerError::Elsewhere { id: id(), pid })
            }
            Ok(_) | Err(_) if sees_all(directory) => Err(DockerError::NotSeen { id: id(), pid }),
            // The engine may count processes in another namespace than this agent.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether this agent sees every process of the host.
fn sees_all(directory: &Path) -> bool {
    let namespace = fs::read_link(beside(directory, "self").join("ns/pid"));
    namespace.is_ok_and(|namespace| namespace == Path::new(FIRST_PID_NAMESPACE))
}

/// The place in `/proc` of another process.
fn beside(directory: &Path, name: &str) -> PathBuf {
    directory.with_file_name(name)
}

fn selectors(container: &Container, image_id: &str) -> Result<SelectorSet, SelectorError> {
    let config = &container.config;
    let labels = config.labels.iter().flatten();
    let labels = labels.map(|(key, value)| format!("label:{key}:{value}"));
    let env = config.env.iter().flatten();
    let env = env.map(|variable| format!("env:{variable}"));
    let fact = |name: &str, value: &str| (!value.is_empty()).then(|| format!("{name}:{value}"));
    let image = config.image.as_deref().unwrap_or_default();
    labels
        .chain(env)
        .chain(fact("image_id", image))
        .chain(fact("image_config_digest", image_id))
        .map(|value| Selector::new(NAME, &value))
        .collect()
}

/// Why nothing can be said of a process's container.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The control groups of the process do not tell.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The agent's own mounts do not tell.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A user's own Podman made the container, and is not to be asked.
    #[error(
        "the container is of the rootless Podman of user {uid}, whose word the config does not take: set \
         podman_socket_path_template to let every user of this host say what their containers are"
    )]
    RootlessPodman {
        /// The user.
        uid: u32,
    },
    /// The engine does not tell.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Nothing was told in time.
    #[error("the container engine did not answer within {WITHIN:?}")]
    TimedOut,
    /// No process can be in a container that does not run.
    #[error("container {id} does not run")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The process claims a container that it is not in.
    #[error(
        "the process is in a control group with the name of container {id}, but not in that of the container's \
         first process {pid}"
    )]
    Elsewhere {
        /// The container.
        id: String,
        /// Its first process.
        pid: i64,
    },
    /// The claim cannot be compared with anything.
    #[error(
        "first process {pid} of container {id} is not to be seen in a control group of that name: the agent has \
         to run in the pid namespace of the container engine"
    )]
    NotSeen {
        /// The container.
        id: String,
        /// Its first process.
        pid: i64,
    },
    /// A fact makes no selector.
    #[error("no selector can be made")]
    Selector(#[source] SelectorError),
}
