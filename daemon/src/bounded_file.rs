//! Files of settings, keys and state, read in whole and up to a length, whatever is at their path.

use std::fs::File;
use std::io::{self, Read as _};
use std::mem;
use std::path::Path;

use zeroize::Zeroizing;

/// What is in the file at `path`. It may be a key: it is wiped from memory when it is dropped.
///
/// # Errors
/// What opening or reading failed with, and [`io::ErrorKind::FileTooLarge`] when there are more than
/// `max_len_bytes`.
pub fn read(path: &Path, max_len_bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let len_bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if len_bytes > max_len_bytes {
        return Err(too_long(max_len_bytes));
    }
    // Reserved in full, so that no copy of a key is left behind by growing.
    let mut content = Zeroizing::new(Vec::with_capacity(len_bytes.saturating_add(1)));
    // A device or a pipe has more than its length says.
    let limit = u64::try_from(max_len_bytes).map_or(u64::MAX, |max| max.saturating_add(1));
    file.take(limit).read_to_end(&mut content)?;
    match content.len() <= max_len_bytes {
        true => Ok(content),
        false => Err(too_long(max_len_bytes)),
    }
}

/// The text in the file at `path`, wiped as that of [`read`].
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::InvalidData`] when it is not UTF-8.
pub fn read_text(path: &Path, max_len_bytes: usize) -> io::Result<Zeroizing<String>> {
    let mut content = read(path, max_len_bytes)?;
    match String::from_utf8(mem::take(&mut *content)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let problem = error.utf8_error();
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(io::ErrorKind::InvalidData, problem))
        }
    }
}

/// What [`read`] reads, on a thread that may wait.
///
/// # Errors
/// As [`read`].
pub async fn read_waiting(path: &Path, max_len_bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&path, max_len_bytes));
    reading.await.map_err(io::Error::other)?
}

fn too_long(max_len_bytes: usize) -> io::Error {
    let problem = format!("the file is longer than {max_len_bytes} bytes");
    io::Error::new(io::ErrorKind::FileTooLarge, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_up_to_its_limit_and_none_that_is_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (len_bytes, fits) in [(0, true), (8, true), (9, false), (4096, false)] {
            std::fs::write(&path, vec![7; len_bytes]).unwrap();
            let content = read_waiting(&path, 8).await;
            let content = content.map(|content| content.len());
            let kind = content.map_err(|error| error.kind());
            let expected = fits.then_some(len_bytes);
            assert_eq!(kind, expected.ok_or(io::ErrorKind::FileTooLarge));
        }
    }

    #[test]
    fn text_is_read_as_it_is_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "é").unwrap();
        assert_eq!(*read_text(&path, 2).unwrap(), "é");
        let kind = |max_len_bytes| read_text(&path, max_len_bytes).unwrap_err().kind();
        assert_eq!(kind(1), io::ErrorKind::FileTooLarge);
        std::fs::write(&path, b"a\xff").unwrap();
        assert_eq!(kind(2), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_device_without_end_is_too_long() {
        let error = read(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "the file is longer than 1048576 bytes");
    }

    #[test]
    fn a_file_that_is_not_there_is_not_found() {
        let error = read(Path::new("/nonexistent/key.pem"), 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
