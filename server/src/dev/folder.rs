//! The folder that holds all that a `dev` run has: config files, sockets, data and logs.

use std::{
    env, fs,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tempfile::TempDir;

/// Linux takes socket paths of 108 bytes with the zero at their end.
const MAX_SOCKET_PATH_LEN_BYTES: usize = 107;

/// As many servers as one folder has at most: more voters make a cluster slower, not safer.
pub const MAX_REPLICAS: u8 = 7;

/// The files of one server.
#[derive(Clone, Debug)]
pub(super) struct ServerFiles {
    pub(super) number: u8,
    pub(super) config: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) data: PathBuf,
    /// What it joins the others with at its first start.
    pub(super) invite: PathBuf,
    /// Shared by all servers, whose lines tell their number.
    pub(super) log: PathBuf,
}

/// The folder; a temporary one goes with its value.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Folder {
    /// Opens the named folder, made if it is not there, or a new temporary one for this user alone.
    pub(super) fn open(named: Option<PathBuf>) -> anyhow::Result<Self> {
        let folder = match named {
            Some(path) => {
                let path = std::path::absolute(path)?;
                let mut builder = fs::DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(&path);
                made.with_context(|| format!("cannot make the folder {}", path.display()))?;
                Self {
                    path,
                    temporary: None,
                }
            }
            None => {
                let temporary = temporary()?;
                Self {
                    path: temporary.path().to_owned(),
                    temporary: Some(temporary),
                }
            }
        };
        folder.check_socket_paths()?;
        Ok(folder)
    }

    /// Leaves a temporary folder behind, so that its logs can be read.
    pub(super) fn keep(&mut self) {
        if let Some(temporary) = &mut self.temporary {
            temporary.disable_cleanup(true);
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the server with this number has its files; the first one's carry no number.
    pub(super) fn server(&self, number: u8) -> ServerFiles {
        let name = match number {
            1 => "server".to_owned(),
            number => format!("server-{number}"),
        };
        let path = |ending: &str| self.path.join(format!("{name}{ending}"));
        ServerFiles {
            number,
            config: path(".conf"),
            socket: path(".sock"),
            data: path(""),
            invite: path(".invite"),
            log: self.path.join("server.log"),
        }
    }

    pub(super) fn agent_config(&self) -> PathBuf {
        self.path.join("agent.conf")
    }

    pub(super) fn agent_socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    pub(super) fn agent_data(&self) -> PathBuf {
        self.path.join("agent")
    }

    pub(super) fn agent_log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    pub(super) fn bundle(&self) -> PathBuf {
        self.path.join("bundle.pem")
    }

    pub(super) fn join_token(&self) -> PathBuf {
        self.path.join("join-token")
    }

    fn check_socket_paths(&self) -> anyhow::Result<()> {
        let longest = self.server(MAX_REPLICAS).socket;
        anyhow::ensure!(
            longest.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH_LEN_BYTES,
            "{} is too long for a socket path (at most {MAX_SOCKET_PATH_LEN_BYTES} bytes); name a shorter folder with \
             -dataDir",
            longest.display()
        );
        Ok(())
    }
}

/// Below the user's runtime folder if there is one, which no other user can enter.
fn temporary() -> anyhow::Result<TempDir> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usable = runtime.filter(|path| path.is_absolute() && path.is_dir());
    let mut builder = tempfile::Builder::new();
    builder.prefix("conclave-");
    if let Some(made) = usable.and_then(|runtime| builder.tempdir_in(runtime).ok()) {
        return Ok(made);
    }
    let place = env::temp_dir();
    let made = builder.tempdir_in(&place);
    made.with_context(|| {
        format!(
            "cannot make a folder in {}; name one with -dataDir",
            place.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_too_deep_for_sockets_is_refused_with_the_way_out() {
        let base = tempfile::tempdir().unwrap();
        let deep = base.path().join("d".repeat(100));
        let error = Folder::open(Some(deep)).unwrap_err().to_string();
        assert!(
            error.contains("name a shorter folder with -dataDir"),
            "{error}"
        );
    }

    #[test]
    fn a_temporary_folder_goes_with_its_value() {
        let folder = Folder::open(None).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_folder_stays() {
        let mut folder = Folder::open(None).unwrap();
        folder.keep();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(path.is_dir());
        fs::remove_dir(path).unwrap();
    }
}
