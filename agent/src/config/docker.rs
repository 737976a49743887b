//! The settings of the `docker` workload attestor, as SPIRE has them.

use daemon::config::Plugin;
use daemon::hcl::{DecodeError, Object};

use super::plugins::unknown_keys;
use crate::attestor::docker::{
    ApiVersion, Locator, Patterns, RootlessPodman, Settings, UidTemplate, parse_socket,
};

/// The settings, or all that is wrong with them.
pub(super) fn take(plugin: &Plugin) -> Result<Settings, Vec<String>> {
    let mut data = plugin.data.clone();
    let written = Written::take(&mut data)
        .map_err(|error| vec![format!("unable to decode configuration: {error}")])?;
    let mut problems = Vec::new();
    if !data.take_any("sigstore").is_empty() {
        problems.push("sigstore is not supported yet".to_owned());
    }
    problems.extend(unknown_keys(&data));
    let settings = written.check(&mut problems);
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(problems),
    }
}

/// What is there, none of it judged yet. An empty text counts as none.
struct Written {
    socket: Option<String>,
    version: Option<String>,
    podman_socket: Option<String>,
    podman_template: Option<String>,
    matchers: Vec<String>,
    is_new_locator: Option<bool>,
    is_verbose: Option<bool>,
}

impl Written {
    fn take(data: &mut Object) -> Result<Self, DecodeError> {
        let mut text = |name| {
            let taken = data.take_string(name);
            taken.map(|text| text.filter(|text| !text.trim().is_empty()))
        };
        Ok(Self {
            socket: text("docker_socket_path")?,
            version: text("docker_version")?,
            podman_socket: text("podman_socket_path")?,
            podman_template: text("podman_socket_path_template")?,
            matchers: data
                .take_list("container_id_cgroup_matchers")?
                .unwrap_or_default(),
            is_new_locator: data.take_bool("use_new_container_locator")?,
            is_verbose: data.take_bool("verbose_container_locator_logs")?,
        })
    }

    fn check(self, problems: &mut Vec<String>) -> Settings {
        let mut settings = Settings {
            is_verbose: self.is_verbose.unwrap_or(false),
            ..Settings::default()
        };
        if let Some(socket) = taken(self.socket.as_deref().map(parse_socket), problems) {
            settings.socket = socket;
        }
        if let Some(socket) = taken(self.podman_socket.as_deref().map(parse_socket), problems) {
            settings.podman_socket = socket;
        }
        settings.version = taken(self.version.as_deref().map(version), problems);
        if let Some(template) = taken(self.podman_template.as_deref().map(template), problems) {
            settings.rootless_podman = RootlessPodman {
                template,
                is_believed: true,
            };
        }
        if !self.matchers.is_empty() {
            let patterns = match self.is_new_locator {
                Some(false) => Patterns::parse(&self.matchers),
                Some(true) | None => Err(BOTH_LOCATORS.to_owned()),
            };
            if let Some(patterns) = taken(Some(patterns), problems) {
                settings.locator = Locator::ByPatterns(patterns);
            }
        }
        settings
    }
}

fn taken<T>(parsed: Option<Result<T, String>>, problems: &mut Vec<String>) -> Option<T> {
    match parsed? {
        Ok(value) => Some(value),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn version(text: &str) -> Result<ApiVersion, String> {
    let malformed = || format!("invalid API version ({text}): must be formatted <major>.<minor>");
    ApiVersion::parse(text).ok_or_else(malformed)
}

fn template(text: &str) -> Result<UidTemplate, String> {
    let parsed = UidTemplate::parse(text);
    parsed.map_err(|problem| format!("invalid podman_socket_path_template: {problem}"))
}

const BOTH_LOCATORS: &str = "the new container locator and custom cgroup matchers cannot both be used; to use \
                             custom matchers set use_new_container_locator=false";
