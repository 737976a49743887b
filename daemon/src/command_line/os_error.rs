//! The words of operating system errors as C and Go have them: lower case, without a number.

use std::{io, path::Path};

/// `no such file or directory` for `No such file or directory (os error 2)`.
#[must_use]
pub fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once(" (os error ")
        .map_or(text.as_str(), |(words, _)| words);
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// `open PATH: no such file or directory`, with `open` for `action`.
#[must_use]
pub fn path_error_text(action: &str, path: &Path, error: &io::Error) -> String {
    format!("{action} {}: {}", path.display(), errno_text(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_os_error_reads_as_in_c() {
        let error = std::fs::File::open("/nonexistent/x").unwrap_err();
        assert_eq!(
            path_error_text("open", Path::new("/nonexistent/x"), &error),
            "open /nonexistent/x: no such file or directory"
        );
    }
}
