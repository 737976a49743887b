//! The container that this agent itself is in, by the control groups that it has mounted.
//!
//! For a process whose groups are where the agent's own view of them begins: it is in the agent's
//! container. SPIRE reads the mounts of the process instead, which any user can arrange in a namespace of
//! its own so that they name the container of somebody else.

use std::io;
use std::path::{Path, PathBuf};

use daemon::bounded_file;
use tracing::debug;

use super::locator::Locator;

/// Hosts have some thousand mounts at most, of some hundred bytes.
const MAX_LEN_BYTES: usize = 16 << 20;

/// The container of this agent, whose place in `/proc` is `own`.
pub(super) fn own_container(own: &Path, is_verbose: bool) -> Result<Option<String>, MountError> {
    let path = own.join("mountinfo");
    let text = match bounded_file::read(&path, MAX_LEN_BYTES) {
        Ok(text) => text,
        Err(source) => return Err(MountError::Read { path, source }),
    };
    if is_verbose {
        enumerate(&text);
    }
    container(&text)
}

/// The one container that is the root of a mounted control group.
pub(super) fn container(text: &[u8]) -> Result<Option<String>, MountError> {
    let mut id: Option<String> = None;
    for mount in mounts(text) {
        let Mount { root, kind } = mount?;
        // The whole of a hierarchy says nothing.
        if !matches!(kind, b"cgroup" | b"cgroup2") || root == b"/" {
            continue;
        }
        let Some(found) = Locator::ByShape.find(root) else {
            continue;
        };
        match id {
            Some(id) if id != found.id => return Err(MountError::Several(id, found.id)),
            Some(_) | None => id = Some(found.id),
        }
    }
    Ok(id)
}

struct Mount<'a> {
    root: &'a [u8],
    kind: &'a [u8],
}

/// The lines of mountinfo (proc_pid_mountinfo(5)): six fields, optional ones, `-`, the file system's kind
/// and more. A field may be empty, so exactly one space parts two.
fn mounts(text: &[u8]) -> impl Iterator<Item = Result<Mount<'_>, MountError>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(|line| {
        let mut before = 0;
        let mut root = None;
        let mut fields = line.split(|byte| *byte == b' ');
        for field in fields.by_ref() {
            if field == b"-" {
                break;
            }
            if before == 3 {
                root = Some(field);
            }
            before += 1;
        }
        let kind = fields.next().filter(|kind| !kind.is_empty());
        match (root, kind) {
            (Some(root), Some(kind)) if before >= 6 => Ok(Mount { root, kind }),
            _ => Err(MountError::line(line)),
        }
    })
}

fn enumerate(text: &[u8]) {
    let total = mounts(text).count();
    for (index, mount) in mounts(text).enumerate() {
        if let Ok(Mount { root, kind }) = mount {
            debug!(
                index = index + 1,
                total,
                r#type = %String::from_utf8_lossy(kind),
                root = %String::from_utf8_lossy(root),
                "Own mount enumerated"
            );
        }
    }
}

/// Why the mounts do not tell this agent's container.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mounts cannot be looked at.
    #[error("cannot read {path}")]
    Read {
        /// The file of `/proc`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line has not the form that it must have.
    #[error("failed to parse mount info: {0:?}")]
    Line(String),
    /// The mounts name two containers.
    #[error("multiple container IDs found in mounts ({0}, {1})")]
    Several(String, String),
}

impl MountError {
    fn line(line: &[u8]) -> Self {
        let shown = &line[..line.len().min(256)];
        Self::Line(String::from_utf8_lossy(shown).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn found(text: &str) -> Result<Option<String>, String> {
        container(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn container_is_the_root_of_a_mounted_group() {
        let whole = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let own = format!(
            "572 571 0:33 /docker/{A} /sys/fs/cgroup ro,nosuid master:11 - cgroup cgroup rw\n"
        );
        let empty_source = "119 206 0:68 / /local rw,relatime - tmpfs  rw,size=8192k\n";
        assert_eq!(found(whole), Ok(None));
        assert_eq!(
            found(&format!("{whole}{own}{own}{empty_source}")),
            Ok(Some(A.to_owned()))
        );
        let elsewhere = format!("1 2 0:1 /overlay2/{A} / rw - ext4 /dev/vda rw\n");
        assert_eq!(found(&elsewhere), Ok(None));
        let other = own.replace(A, B);
        assert_eq!(
            found(&format!("{own}{other}")),
            Err(format!("multiple container IDs found in mounts ({A}, {B})"))
        );
    }

    #[test]
    fn line_of_another_form_is_an_error() {
        for line in [
            "x",
            "1 2 0:1 / /p rw",
            "1 2 0:1 / /p - cgroup x y",
            "1 2 0:1 / /p rw -",
            "1 2 0:1 / /p rw -  x y",
        ] {
            assert_eq!(
                found(line),
                Err(format!("failed to parse mount info: {line:?}"))
            );
        }
    }
}
