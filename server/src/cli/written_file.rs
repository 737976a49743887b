//! Files that commands write credentials to.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path, PathBuf},
};

use daemon::command_line::path_error_text;

/// Who may read a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readers {
    /// Everybody: certificates.
    All,
    /// The owner alone: keys and tokens.
    Owner,
}

/// Writes a file, over one that is there.
pub(crate) fn write(path: &Path, content: &[u8], readers: Readers) -> anyhow::Result<()> {
    write_file(path, content, readers)
        .map_err(|error| anyhow::Error::msg(path_error_text("open", path, &error)))
}

fn write_file(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mode = match readers {
        Readers::All => 0o644,
        Readers::Owner => 0o600,
    };
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // The mode above is for a new file only.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.write_all(content)
}

/// `name` in `folder`, without the dot of a folder `.`, as users are told it.
pub(super) fn in_folder(folder: &str, name: &str) -> PathBuf {
    let path = Path::new(folder).join(name);
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_that_replaces_a_readable_file_is_not_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (readers, mode) in [(Readers::All, 0o644), (Readers::Owner, 0o600)] {
            write(&path, b"content", readers).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn the_current_folder_is_not_named() {
        assert_eq!(in_folder(".", "svid.pem"), Path::new("svid.pem"));
        assert_eq!(
            in_folder("/tmp/x/", "svid.pem"),
            Path::new("/tmp/x/svid.pem")
        );
    }
}
