//! The attestor `unix`: user, groups and, where asked for, path and digest of the program.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use identity::hex;
use identity::selector::{Selector, SelectorError, SelectorSet};

use super::accounts::Names;

/// `/proc/<pid>/status` of a process in the kernel's limit of 65,536 groups is shorter than this.
const MAX_STATUS_LEN_BYTES: u64 = 1 << 20;

const KIND: &str = "unix";

/// Attests a process by what `/proc` tells of it.
#[derive(Debug)]
pub struct Unix {
    users: Names,
    groups: Names,
    program: Option<Arc<Program>>,
}

impl Unix {
    /// An attestor of users and groups; of programs too if `discover_workload_path` is set.
    ///
    /// `workload_size_limit` is in bytes: 0 is no limit, and with a negative one no digest is made.
    pub fn new(discover_workload_path: bool, workload_size_limit: i64) -> Self {
        Self {
            users: Names::new("/etc/passwd"),
            groups: Names::new("/etc/group"),
            program: discover_workload_path.then(|| {
                Arc::new(Program {
                    digest: DigestLimit::from_config(workload_size_limit),
                })
            }),
        }
    }

    /// The selectors of the process at `directory`, its place in `/proc`. The caller makes sure
    /// that it is still the same process.
    ///
    /// # Errors
    /// The process is gone, or its program cannot be read or is over the limit.
    pub async fn attest(&self, directory: PathBuf) -> Result<SelectorSet, UnixError> {
        let status = read_status(&directory.join("status"))?;
        let mut selectors = self.account_selectors(&status)?;
        if let Some(program) = self.program.clone() {
            // A digest reads the whole program.
            let found =
                tokio::task::spawn_blocking(move || program.selectors(&directory.join("exe")));
            selectors.extend(found.await.map_err(UnixError::Stopped)??);
        }
        Ok(selectors.into_iter().collect())
    }

    fn account_selectors(&self, status: &Status) -> Result<Vec<Selector>, UnixError> {
        let users = self.users.current();
        let groups = self.groups.current();
        let mut selectors = vec![
            selector("uid", &status.uid.to_string())?,
            selector("gid", &status.gid.to_string())?,
        ];
        if let Some(name) = users.get(&status.uid) {
            selectors.push(selector("user", name)?);
        }
        if let Some(name) = groups.get(&status.gid) {
            selectors.push(selector("group", name)?);
        }
        for gid in &status.supplementary_gids {
            selectors.push(selector("supplementary_gid", &gid.to_string())?);
            if let Some(name) = groups.get(gid) {
                selectors.push(selector("supplementary_group", name)?);
            }
        }
        Ok(selectors)
    }
}

/// Why a process could not be attested.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// The process is gone, or may not be looked at.
    #[error("cannot read {path}")]
    Read {
        /// The file of `/proc`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `/proc` says nothing of the user or the group.
    #[error("{0} names no user and group")]
    Status(PathBuf),
    /// The path of the program cannot be written as a selector.
    #[error("program path {0:?} is not UTF-8")]
    Path(PathBuf),
    /// The program is larger than `workload_size_limit`.
    #[error("program has {len_bytes} bytes, more than the limit of {limit_bytes}")]
    TooLarge {
        /// The size of the program.
        len_bytes: u64,
        /// The configured limit.
        limit_bytes: u64,
    },
    /// A fact makes no selector.
    #[error("no selector can be made")]
    Selector(#[source] SelectorError),
    /// The agent is stopping.
    #[error("digest was stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

/// What `/proc/<pid>/status` tells of a process.
#[derive(Debug, Eq, PartialEq)]
struct Status {
    uid: u32,
    gid: u32,
    supplementary_gids: Vec<u32>,
}

impl Status {
    /// Takes the effective ids, as SPIRE does: each line has real, effective, saved, file system.
    fn parse(text: &str) -> Option<Self> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let effective = |name| line(name)?.split_ascii_whitespace().nth(1)?.parse().ok();
        Some(Self {
            uid: effective("Uid:")?,
            gid: effective("Gid:")?,
            supplementary_gids: line("Groups:")
                .unwrap_or_default()
                .split_ascii_whitespace()
                .filter_map(|gid| gid.parse().ok())
                .collect(),
        })
    }
}

/// What is read of a `/proc/<pid>/status`: effective user and group, supplementary groups.
#[cfg(feature = "fuzzing")]
pub fn told_by_status(file: &str) -> Option<(u32, u32, Vec<u32>)> {
    Status::parse(file).map(|status| (status.uid, status.gid, status.supplementary_gids))
}

#[derive(Debug)]
struct Program {
    digest: DigestLimit,
}

#[derive(Debug)]
enum DigestLimit {
    NoDigest,
    Unlimited,
    Bytes(u64),
}

impl DigestLimit {
    fn from_config(limit: i64) -> Self {
        match u64::try_from(limit) {
            Ok(0) => Self::Unlimited,
            Ok(bytes) => Self::Bytes(bytes),
            Err(_negative) => Self::NoDigest,
        }
    }
}

impl Program {
    fn selectors(&self, exe: &Path) -> Result<Vec<Selector>, UnixError> {
        let failed = |source| UnixError::Read {
            path: exe.to_path_buf(),
            source,
        };
        if let DigestLimit::NoDigest = self.digest {
            return Ok(vec![path_selector(exe)?]);
        }
        let mut file = File::open(exe).map_err(failed)?;
        // The path of the file that is open, because the process may start another program at any
        // moment: path and digest must be of the same one.
        let mut selectors = vec![path_selector(&own_link(&file))?];
        let len_bytes = file.metadata().map_err(failed)?.len();
        if let DigestLimit::Bytes(limit_bytes) = self.digest
            && len_bytes > limit_bytes
        {
            return Err(UnixError::TooLarge {
                len_bytes,
                limit_bytes,
            });
        }
        selectors.push(selector("sha256", &sha256_hex(&mut file).map_err(failed)?)?);
        Ok(selectors)
    }
}

/// The path of the program that `link` leads to.
fn path_selector(link: &Path) -> Result<Selector, UnixError> {
    let path = std::fs::read_link(link).map_err(|source| UnixError::Read {
        path: link.to_path_buf(),
        source,
    })?;
    match path.to_str() {
        Some(text) => selector("path", text),
        None => Err(UnixError::Path(path)),
    }
}

fn own_link(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn selector(fact: &str, value: &str) -> Result<Selector, UnixError> {
    Selector::new(KIND, &format!("{fact}:{value}")).map_err(UnixError::Selector)
}

fn read_status(path: &Path) -> Result<Status, UnixError> {
    let failed = |source| UnixError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = Vec::with_capacity(2048);
    File::open(path)
        .and_then(|file| file.take(MAX_STATUS_LEN_BYTES).read_to_end(&mut bytes))
        .map_err(failed)?;
    // The name of the process may be any bytes.
    Status::parse(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| UnixError::Status(path.to_path_buf()))
}

fn sha256_hex(file: &mut File) -> io::Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        context.update(&buffer[..len]);
    }
    Ok(hex::lower(context.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_ids_and_groups_are_taken() {
        let text = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n";
        assert_eq!(
            Status::parse(text),
            Some(Status {
                uid: 2,
                gid: 6,
                supplementary_gids: vec![10, 20],
            })
        );
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }

    #[tokio::test]
    async fn own_process_has_its_uid_path_and_digest() {
        let selectors = Unix::new(true, 0)
            .attest("/proc/self".into())
            .await
            .unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert!(selectors.contains(&Selector::new("unix", &format!("uid:{uid}")).unwrap()));
        let path = std::env::current_exe().unwrap();
        let path = Selector::new("unix", &format!("path:{}", path.display())).unwrap();
        assert!(selectors.contains(&path));
        let digest = sha256_hex(&mut File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(selectors.contains(&Selector::new("unix", &format!("sha256:{digest}")).unwrap()));
    }

    #[tokio::test]
    async fn program_over_the_limit_is_an_error_and_a_negative_limit_means_no_digest() {
        assert!(matches!(
            Unix::new(true, 1).attest("/proc/self".into()).await,
            Err(UnixError::TooLarge { limit_bytes: 1, .. })
        ));
        let selectors = Unix::new(true, -1)
            .attest("/proc/self".into())
            .await
            .unwrap();
        assert!(
            !selectors
                .iter()
                .any(|one| one.value().starts_with("sha256:"))
        );
    }
}
