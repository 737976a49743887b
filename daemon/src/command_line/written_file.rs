//! Files that commands write credentials to.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::path_error_text;

/// Who may read a file.
#[derive(Clone, Copy, Debug)]
pub enum Readers {
    /// Everybody: certificates.
    All,
    /// The owner alone: keys and tokens.
    Owner,
}

/// Writes a file, over one that is there.
///
/// # Errors
/// `open PATH: ` and the operating system's reason.
pub fn write_file(path: &Path, content: &[u8], readers: Readers) -> anyhow::Result<()> {
    try_write(path, content, readers)
        .map_err(|error| anyhow::Error::msg(path_error_text("open", path, &error)))
}

fn try_write(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_that_replaces_a_readable_file_is_not_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (readers, mode) in [(Readers::All, 0o644), (Readers::Owner, 0o600)] {
            write_file(&path, b"content", readers).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
    }
}
