//! What the attestor is told: where engines listen, and how containers are found.

use std::path::PathBuf;

use super::locator::Locator;

/// The `docker` workload attestor's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The socket of the Docker engine.
    pub socket: PathBuf,
    /// The version of the engine's API; agreed upon with the engine if it is not said.
    pub version: Option<ApiVersion>,
    /// The socket of the host's Podman.
    pub podman_socket: PathBuf,
    /// The sockets of users' own Podmans.
    pub rootless_podman: RootlessPodman,
    /// How a container is found.
    pub locator: Locator,
    /// Whether what containers are found by is told to the debug log.
    pub is_verbose: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: "/var/run/docker.sock".into(),
            version: None,
            podman_socket: "/run/podman/podman.sock".into(),
            rootless_podman: RootlessPodman {
                template: UidTemplate {
                    before: "/run/user/".to_owned(),
                    after: "/podman/podman.sock".to_owned(),
                },
                is_believed: false,
            },
            locator: Locator::default(),
            is_verbose: false,
        }
    }
}

/// The sockets of Podmans that users run for themselves.
///
/// Who answers there is the user, who may say whatever they like of the containers that they call their
/// own. SPIRE asks them unless it is kept from it; here the config has to name them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RootlessPodman {
    /// Where they are.
    pub template: UidTemplate,
    /// Whether every user of this host is believed.
    pub is_believed: bool,
}

impl RootlessPodman {
    /// Whom to ask about the containers of `uid`, if anybody.
    pub(super) fn socket_of(&self, uid: u32) -> Option<PathBuf> {
        (self.is_believed || uid == 0).then(|| self.template.path(uid))
    }
}

/// A path with the id of a user in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UidTemplate {
    before: String,
    after: String,
}

impl UidTemplate {
    /// Parses an address like `unix:///run/user/%d/podman/podman.sock`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = text.strip_prefix(SCHEME);
        let address = address.ok_or_else(|| not_unix("socket template", text))?;
        let mut parts = vec![String::new()];
        let mut characters = address.chars();
        while let Some(character) = characters.next() {
            let shown = match character {
                '%' => match characters.next() {
                    Some('%') => '%',
                    Some('d') => {
                        parts.push(String::new());
                        continue;
                    }
                    Some(_) => {
                        return Err(
                            "template only supports escaped %% or the %d UID placeholder"
                                .to_owned(),
                        );
                    }
                    None => return Err("trailing % at end of template".to_owned()),
                },
                other => other,
            };
            if let Some(part) = parts.last_mut() {
                part.push(shown);
            }
        }
        match <[String; 2]>::try_from(parts) {
            Ok([before, after]) => Ok(Self { before, after }),
            Err(_none_or_several) => {
                Err("template must contain exactly one %d UID placeholder".to_owned())
            }
        }
    }

    fn path(&self, uid: u32) -> PathBuf {
        format!("{}{uid}{}", self.before, self.after).into()
    }
}

/// The socket that an address like `unix:///var/run/docker.sock` names.
///
/// # Errors
/// It names none.
pub fn parse_socket(address: &str) -> Result<PathBuf, String> {
    match address.strip_prefix(SCHEME) {
        Some(path) if !path.is_empty() => Ok(path.into()),
        Some(_) | None => Err(not_unix("docker host", address)),
    }
}

fn not_unix(what: &str, text: &str) -> String {
    format!("unable to parse {what} {text:?}: it must be {SCHEME} and the path of a socket")
}

const SCHEME: &str = "unix://";

/// A version of an engine's API.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// The newest version that SPIRE knows, so that engines answer both in the same way.
    pub(super) const NEWEST: Self = Self {
        major: 1,
        minor: 55,
    };

    /// Parses `1.41`, or `v1.41`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (major, minor) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|digit| digit.is_ascii_digit());
            is_plain.then(|| digits.parse().ok()).flatten()
        };
        Some(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { major, minor } = self;
        write!(formatter, "{major}.{minor}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_has_one_place_for_the_user() {
        let path = |text: &str| UidTemplate::parse(text).map(|template| template.path(7));
        assert_eq!(path("unix:///a%%/%d.sock"), Ok("/a%/7.sock".into()));
        for (text, problem) in [
            (
                "unix:///a",
                "template must contain exactly one %d UID placeholder",
            ),
            (
                "unix:///%d/%d",
                "template must contain exactly one %d UID placeholder",
            ),
            ("unix:///%d/%", "trailing % at end of template"),
            (
                "unix:///%s",
                "template only supports escaped %% or the %d UID placeholder",
            ),
            (
                "/%d",
                "unable to parse socket template \"/%d\": it must be unix:// and the path of a socket",
            ),
        ] {
            assert_eq!(path(text), Err(problem.to_owned()), "{text}");
        }
        let default = Settings::default().rootless_podman;
        assert_eq!(default.socket_of(1000), None);
        assert_eq!(
            default.socket_of(0),
            Some("/run/user/0/podman/podman.sock".into())
        );
    }

    #[test]
    fn versions_are_two_numbers_in_order() {
        let parse = ApiVersion::parse;
        assert_eq!(parse("v1.41"), parse(" 1.41 "));
        assert!(parse("1.9") < parse("1.41"));
        assert_eq!(parse("1.41").unwrap().to_string(), "1.41");
        for text in [
            "",
            "1",
            "v",
            "vv1.2",
            "1.2.3",
            "1.+2",
            "1.x",
            ".",
            "1.4294967296",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
