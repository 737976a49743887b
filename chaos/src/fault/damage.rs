//! Damage to files of a store that is not open.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The largest file below `folder` whose path `is_wanted`.
///
/// # Errors
/// There is none, or the folder cannot be read.
pub fn largest(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> anyhow::Result<PathBuf> {
    let mut best: Option<(u64, PathBuf)> = None;
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let listed =
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in listed {
            let (path, metadata) = {
                let entry = entry?;
                (entry.path(), entry.metadata()?)
            };
            if metadata.is_dir() {
                open.push(path);
            } else if is_wanted(&path) && best.as_ref().is_none_or(|(len, _)| metadata.len() > *len)
            {
                best = Some((metadata.len(), path));
            }
        }
    }
    let found = best.filter(|(len, _)| *len > 0).map(|(_, path)| path);
    found.with_context(|| format!("{} has no such file", folder.display()))
}

/// Flips one bit of a file, at a share of its used length (trailing zeros do not count).
///
/// # Errors
/// The file cannot be read or written.
pub fn flip_bit(file: &Path, per_cent: usize) -> anyhow::Result<()> {
    let mut bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .context("the file is empty")?;
    bytes[used * per_cent / 100] ^= 0x10;
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// Copies a folder with all that is in it.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.metadata()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_the_largest_wanted_file_is_flipped() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("x.log"), b"abcdefghij\0\0\0\0\0\0\0\0").unwrap();
        fs::write(inner.join("y.log"), b"abc").unwrap();
        fs::write(inner.join("z.sst"), [1; 100]).unwrap();
        let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        let found = largest(folder.path(), is_log).unwrap();
        assert_eq!(found, inner.join("x.log"));
        flip_bit(&found, 50).unwrap();
        assert_eq!(fs::read(&found).unwrap(), b"abcdufghij\0\0\0\0\0\0\0\0");
        let copy = folder.path().join("copy");
        copy_folder(&folder.path().join("a"), &copy).unwrap();
        assert_eq!(fs::read(copy.join("b/y.log")).unwrap(), b"abc");
    }
}
