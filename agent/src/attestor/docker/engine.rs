//! What a container engine says: its API over HTTP on its Unix socket, as Docker and Podman have it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daemon::https::{Document, GetError, Limits, get_from_socket};
use http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::settings::ApiVersion;

/// The longest answer. Environments of some hundred kilobytes exist.
const MAX_LEN_BYTES: usize = 4 << 20;

const LIMITS: Limits = Limits {
    max_len_bytes: MAX_LEN_BYTES,
    within: Duration::from_secs(10),
};

/// How many requests an engine has at once; more wait.
const MAX_REQUESTS: usize = 16;

/// A container engine.
#[derive(Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    version: Version,
    places: Arc<Semaphore>,
}

/// The version of the API that is spoken.
#[derive(Debug)]
enum Version {
    Fixed(ApiVersion),
    /// Once the engine has told its own, the older of both newest ones.
    Agreed(Mutex<Option<ApiVersion>>),
}

/// The places of an engine, or of several that share them.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_REQUESTS))
}

impl Engine {
    /// The engine that listens on `socket`. Nothing is asked yet.
    pub(super) fn new(
        socket: PathBuf,
        version: Option<ApiVersion>,
        places: Arc<Semaphore>,
    ) -> Self {
        Self {
            socket,
            version: version.map_or_else(|| Version::Agreed(Mutex::default()), Version::Fixed),
            places,
        }
    }

    /// The container with this id.
    pub(super) async fn container(&self, id: &str) -> Result<Container, EngineError> {
        if !is_name(id) {
            return Err(EngineError::Name(id.to_owned()));
        }
        let path = format!("/containers/{id}/json");
        decode(&path, &self.get_versioned(&path).await?.body)
    }

    /// The engine's id of an image: the digest of its configuration, or of its manifest, however the
    /// engine keeps images.
    pub(super) async fn image_id(&self, image: &str) -> Result<String, EngineError> {
        if !image.split('/').all(is_name) {
            return Err(EngineError::Name(image.to_owned()));
        }
        let path = format!("/images/{image}/json");
        let Image { id } = decode(&path, &self.get_versioned(&path).await?.body)?;
        Ok(id)
    }

    /// An engine that was replaced may speak another version: after a failure it is asked again.
    async fn get_versioned(&self, path: &str) -> Result<Document, EngineError> {
        let answer = async {
            let version = self.version().await?;
            let document = self.get(&format!("/v{version}{path}")).await?;
            match document.status {
                StatusCode::OK => Ok(document),
                _ => Err(EngineError::refusal(&document)),
            }
        };
        let answer = answer.await;
        if answer.is_err()
            && let Version::Agreed(agreed) = &self.version
        {
            *agreed.lock() = None;
        }
        answer
    }

    async fn version(&self) -> Result<ApiVersion, EngineError> {
        let agreed = match &self.version {
            Version::Fixed(version) => return Ok(*version),
            Version::Agreed(agreed) => agreed,
        };
        if let Some(version) = *agreed.lock() {
            return Ok(version);
        }
        let answer = self.get("/_ping").await?;
        let told = answer.headers.get("api-version");
        let told = told.and_then(|version| ApiVersion::parse(version.to_str().ok()?));
        let version = told.map_or(ApiVersion::NEWEST, |told| told.min(ApiVersion::NEWEST));
        *agreed.lock() = Some(version);
        Ok(version)
    }

    async fn get(&self, path: &str) -> Result<Document, EngineError> {
        let place = self.places.acquire().await;
        let _place = place.map_err(EngineError::Stopping)?;
        let got = get_from_socket(&format!("http://localhost{path}"), &self.socket, LIMITS).await;
        got.map_err(|source| EngineError::Unreachable {
            socket: self.socket.clone(),
            source,
        })
    }
}

/// A container, as far as it matters.
#[derive(Deserialize)]
pub(super) struct Container {
    /// The image that it was made of.
    #[serde(rename = "Image", default)]
    pub(super) image: Option<String>,
    #[serde(rename = "State", default)]
    state: Option<State>,
    #[serde(rename = "Config")]
    pub(super) config: Config,
}

#[derive(Default, Deserialize)]
struct State {
    #[serde(rename = "Pid", default)]
    pid: Option<i64>,
}

/// What a container was made with.
#[derive(Deserialize)]
pub(super) struct Config {
    /// The name by which its image was named.
    #[serde(rename = "Image", default)]
    pub(super) image: Option<String>,
    #[serde(rename = "Labels", default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// `NAME=value`, secrets among them: never to be shown.
    #[serde(rename = "Env", default)]
    pub(super) env: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Id")]
    id: String,
}

impl Container {
    /// Its first process, as the engine counts processes; none if it does not run.
    pub(super) fn first_pid(&self) -> Option<i64> {
        let pid = self.state.as_ref()?.pid?;
        (pid > 0).then_some(pid)
    }
}

pub(super) fn decode<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, EngineError> {
    // The library's own text may show values.
    serde_json::from_slice(body).map_err(|error| EngineError::Content {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// Whether a text can be a part of a name of the engine's, and so a part of a path.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-:@".contains(&byte))
}

/// Why an engine does not say what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no complete answer.
    #[error(
        "failed to ask the container engine at unix://{}; check that it runs and that the agent may use its \
         socket", socket.display()
    )]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// What became of the request.
        #[source]
        source: GetError,
    },
    /// The engine does not want to say.
    #[error("Error response from daemon: {text} (status {status})")]
    Refused {
        /// The status.
        status: u16,
        /// What it says instead.
        text: String,
    },
    /// The answer is not what was asked for.
    #[error("unusable answer of the container engine to {path} (line {line}, column {column})")]
    Content {
        /// What was asked for.
        path: String,
        /// Where it is that it is not understood.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// No container or image is called so.
    #[error("{0:?} is no name of a container or an image")]
    Name(String),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping(#[source] tokio::sync::AcquireError),
}

impl EngineError {
    /// `{"message": "…"}`, or what a proxy says.
    fn refusal(document: &Document) -> Self {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        let told = serde_json::from_slice(&document.body);
        let text = told.map_or_else(
            |_other| String::from_utf8_lossy(&document.body).into_owned(),
            |Refusal { message }| message,
        );
        let shown = text.trim().chars().take(MAX_SHOWN_CHARACTERS);
        Self::Refused {
            status: document.status.as_u16(),
            text: shown
                .map(|one| if one.is_control() { ' ' } else { one })
                .collect(),
        }
    }
}

const MAX_SHOWN_CHARACTERS: usize = 256;
