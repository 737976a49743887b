//! Which container a process claims to be in, by its control groups.
//!
//! The kernel writes `/proc/<pid>/cgroup`, but not all that stands in it is the kernel's word: whoever a
//! part of a hierarchy was handed to, as every user of systemd was, makes groups there by any name. So it
//! is a claim, and it holds only if the container's first process stands in the same place
//! ([`Claim::stands_with`]).

use std::io;
use std::path::{Path, PathBuf};

use daemon::bounded_file;
use tracing::{debug, warn};

use super::locator::Locator;

/// A path has up to 4096 bytes, and there are about a dozen hierarchies.
const MAX_LEN_BYTES: usize = 256 << 10;

/// The control groups of a process, in the order of the file.
#[derive(Debug)]
pub(super) struct Cgroups(Vec<Cgroup>);

#[derive(Debug)]
struct Cgroup {
    /// `hierarchy-ID:controller-list`
    hierarchy: Box<[u8]>,
    path: Box<[u8]>,
}

impl Cgroups {
    /// The groups of the process at `directory`, its place in `/proc`.
    pub(super) fn read(directory: &Path) -> Result<Self, CgroupError> {
        let path = directory.join("cgroup");
        match bounded_file::read(&path, MAX_LEN_BYTES) {
            Ok(text) => Self::parse(&text),
            Err(source) => Err(CgroupError::Read { path, source }),
        }
    }

    /// Lines of `hierarchy-ID:controller-list:path` (cgroups(7)).
    pub(super) fn parse(text: &[u8]) -> Result<Self, CgroupError> {
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let parsed = lines.map(|line| Cgroup::parse(line).ok_or_else(|| CgroupError::line(line)));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Tells the debug log all there is.
    pub(super) fn enumerate(&self, directory: &Path) {
        for (index, group) in self.0.iter().enumerate() {
            debug!(
                process = %directory.display(),
                index = index + 1,
                total = self.0.len(),
                path = %String::from_utf8_lossy(&group.path),
                "PID cgroup enumerated"
            );
        }
    }

    /// Whether the process is nowhere below the place where this agent's own view of the groups begins.
    pub(super) fn are_roots(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|group| *group.path == *b"/")
    }

    /// The one container that the groups name. One that names none says nothing: of several hierarchies
    /// an engine may use but some.
    pub(super) fn claim(&self, locator: &Locator) -> Result<Option<Claim>, CgroupError> {
        let mut claim: Option<Claim> = None;
        for group in &self.0 {
            let Some(found) = locator.find(&group.path) else {
                continue;
            };
            if found.id.is_empty() {
                return Err(CgroupError::Blank);
            }
            let place = Place {
                hierarchy: group.hierarchy.clone(),
                path: group.path[..found.end].into(),
            };
            match &mut claim {
                None => {
                    claim = Some(Claim {
                        id: found.id,
                        places: vec![place],
                    });
                }
                Some(claim) if claim.id == found.id => claim.places.push(place),
                Some(claim) => return Err(CgroupError::Several(claim.id.clone(), found.id)),
            }
        }
        Ok(claim)
    }

    /// Whose Podman made the container, if one did.
    pub(super) fn podman(&self) -> Option<Podman> {
        let made = self.0.iter().find(|group| {
            [b"libpod-".as_slice(), b"/libpod/"]
                .iter()
                .any(|mark| contains(&group.path, mark))
        })?;
        match user_of_slice(&made.path) {
            Some(Ok(uid)) => return Some(Podman::Rootless { uid }),
            Some(Err(text)) => warn!(
                uid = text,
                "Failed to parse rootless Podman UID from cgroup path, falling back to rootful Podman socket"
            ),
            None => {}
        }
        Some(Podman::Rootful)
    }
}

impl Cgroup {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut colons = (0..line.len()).filter(|at| line[*at] == b':');
        let second = colons.nth(1)?;
        Some(Self {
            hierarchy: line[..second].into(),
            path: line[second + 1..].into(),
        })
    }
}

/// A container, and where in each hierarchy it is that names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Claim {
    pub(super) id: String,
    places: Vec<Place>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Place {
    hierarchy: Box<[u8]>,
    path: Box<[u8]>,
}

impl Claim {
    /// A claim that needs no comparison.
    pub(super) fn granted(id: String) -> Self {
        let places = Vec::new();
        Self { id, places }
    }

    /// Whether all places of this claim are places of `first`, that of the container's first process.
    pub(super) fn stands_with(&self, first: &Self) -> bool {
        self.id == first.id && self.places.iter().all(|place| first.places.contains(place))
    }

    /// Whether it was made by groups.
    pub(super) fn is_to_be_compared(&self) -> bool {
        !self.places.is_empty()
    }
}

/// Whose Podman made a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Podman {
    /// The host's.
    Rootful,
    /// A user's own.
    Rootless {
        /// The user.
        uid: u32,
    },
}

/// The digits of the first `/user-<digits>.slice/`, and the number if they are one.
fn user_of_slice(path: &[u8]) -> Option<Result<u32, String>> {
    // A slice is a folder between others: the first and the last part have no slash on one side.
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let inner = parts.get(1..parts.len().saturating_sub(1))?;
    let digits = inner.iter().find_map(|part| {
        let digits = part.strip_prefix(b"user-")?.strip_suffix(b".slice")?;
        (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(digits)
    })?;
    let text = String::from_utf8_lossy(digits);
    Some(text.parse().map_err(|_too_large| text.into_owned()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Why no container can be told from control groups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The process is gone, or may not be looked at.
    #[error("cannot read {path}")]
    Read {
        /// The file of `/proc`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line has not the form that it must have.
    #[error("invalid cgroup entry {0:?}: it is not hierarchy-ID:controller-list:path")]
    Line(String),
    /// The groups name two containers.
    #[error("multiple container IDs found in cgroups ({0}, {1})")]
    Several(String, String),
    /// A pattern took nothing for a container.
    #[error("a pattern matched, but no container id was found")]
    Blank,
}

impl CgroupError {
    fn line(line: &[u8]) -> Self {
        let shown = &line[..line.len().min(MAX_SHOWN_LEN_BYTES)];
        Self::Line(String::from_utf8_lossy(shown).into_owned())
    }
}

const MAX_SHOWN_LEN_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    fn groups(text: &str) -> Cgroups {
        Cgroups::parse(text.as_bytes()).unwrap()
    }

    fn claim(text: &str) -> Result<Option<Claim>, String> {
        let claim = groups(text).claim(&Locator::ByShape);
        claim.map_err(|error| error.to_string())
    }

    #[test]
    fn container_is_named_by_any_hierarchy_and_never_by_two_names() {
        let id = |text: &str| claim(text).map(|claim| claim.map(|claim| claim.id));
        assert_eq!(id(""), Ok(None));
        assert_eq!(id("0::/user.slice\n"), Ok(None));
        assert_eq!(id(&format!("0::/../{A}\n")).unwrap().as_deref(), Some(A));
        // Docker on a host with both versions of the hierarchy.
        let both =
            format!("2:cpu:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/system.slice/d.service\n");
        assert_eq!(id(&both).unwrap().as_deref(), Some(A));
        assert_eq!(
            id(&format!("2:cpu:/docker/{A}\n1:pids:/docker/{B}\n")),
            Err(format!(
                "multiple container IDs found in cgroups ({A}, {B})"
            ))
        );
        for line in ["0", "0:", "x\n0::/"] {
            let error = Cgroups::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("invalid cgroup entry"), "{error}");
        }
    }

    #[test]
    fn claim_holds_only_where_the_first_process_stands() {
        let claim = |text: &str| claim(text).unwrap().unwrap();
        let first = claim(&format!("0::/system.slice/docker-{A}.scope\n"));
        let below = claim(&format!("0::/system.slice/docker-{A}.scope/init/x\n"));
        assert!(below.stands_with(&first) && first.stands_with(&below));
        // A group that a user made below its own slice.
        let forged = claim(&format!("0::/user.slice/user-7.slice/docker-{A}.scope\n"));
        assert!(!forged.stands_with(&first));
        let other = claim(&format!("0::/system.slice/docker-{B}.scope\n"));
        assert!(!other.stands_with(&first));
        // In a hierarchy where the first process is in no container.
        let first = claim(&format!("2:cpu:/docker/{A}\n1:name=systemd:/init\n"));
        let forged = claim(&format!("2:cpu:/\n1:name=systemd:/docker/{A}\n"));
        assert!(!forged.stands_with(&first));
        let partly = claim(&format!("2:cpu:/docker/{A}\n1:name=systemd:/docker/{A}\n"));
        assert!(!partly.stands_with(&first) && first.stands_with(&partly));
    }

    #[test]
    fn podman_is_told_by_the_names_of_its_groups() {
        let podman = |path: &str| groups(&format!("1:x:/\n0::{path}\n")).podman();
        let user = "/user.slice/user-1000.slice/user@1000.service/user.slice";
        assert_eq!(podman("/system.slice/docker-1.scope"), None);
        assert_eq!(podman(&format!("{user}/docker-1.scope")), None);
        assert_eq!(
            podman("/machine.slice/libpod-1.scope"),
            Some(Podman::Rootful)
        );
        assert_eq!(podman("/libpod/1"), Some(Podman::Rootful));
        assert_eq!(
            podman(&format!("{user}/libpod-1.scope/container")),
            Some(Podman::Rootless { uid: 1000 })
        );
        for none in ["user-4294967296.slice", "user-.slice", "user-1.slices"] {
            let path = format!("/user.slice/{none}/libpod-1.scope");
            assert_eq!(podman(&path), Some(Podman::Rootful), "{none}");
        }
        assert_eq!(podman("/libpod-1/user-7.slice"), Some(Podman::Rootful));
    }
}
