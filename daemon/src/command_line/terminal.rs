//! Where a command reads and prints.

use std::io::{self, Read, Write};

/// The three standard streams, or what stands in for them in a test.
///
/// A reader that went away (`… | head -1`) is no failure of the command: what cannot be printed is dropped.
pub struct Terminal {
    input: Box<dyn Read + Send>,
    output: Box<dyn Write + Send>,
    errors: Box<dyn Write + Send>,
}

impl Terminal {
    /// The process's own streams.
    #[must_use]
    pub fn standard() -> Self {
        Self::new(io::stdin(), io::stdout(), io::stderr())
    }

    /// Other streams.
    pub fn new(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        errors: impl Write + Send + 'static,
    ) -> Self {
        Self {
            input: Box::new(input),
            output: Box::new(output),
            errors: Box::new(errors),
        }
    }

    /// Prints `text` as it stands.
    pub fn print(&mut self, text: &str) {
        write_all(&mut self.output, text);
    }

    /// Prints `text` and a line feed.
    pub fn line(&mut self, text: &str) {
        write_all(&mut self.output, &format!("{text}\n"));
    }

    /// Prints `text` as it stands to the error stream.
    pub fn error_print(&mut self, text: &str) {
        write_all(&mut self.errors, text);
    }

    /// Prints `text` and a line feed to the error stream.
    pub fn error_line(&mut self, text: &str) {
        write_all(&mut self.errors, &format!("{text}\n"));
    }

    /// All of the input, at most `limit_bytes`.
    ///
    /// # Errors
    /// What reading failed with, and [`io::ErrorKind::FileTooLarge`] when there is more than the limit.
    pub fn read_input(&mut self, limit_bytes: u64) -> io::Result<Vec<u8>> {
        read_limited(&mut self.input, limit_bytes)
    }

    /// The content of the file `path`, or of the input if `path` is `-`; at most `limit_bytes`.
    ///
    /// # Errors
    /// As [`Terminal::read_input`], and what opening failed with.
    pub fn read_file_or_input(&mut self, path: &str, limit_bytes: u64) -> io::Result<Vec<u8>> {
        if path == "-" {
            return self.read_input(limit_bytes);
        }
        read_limited(&mut std::fs::File::open(path)?, limit_bytes)
    }
}

fn write_all(stream: &mut Box<dyn Write + Send>, text: &str) {
    stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush())
        .ok();
}

fn read_limited(source: &mut dyn Read, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = source
        .take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read > limit_bytes) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
