//! What a plugin writes, line by line into the log: bounded in length and in number.
//!
//! Plugins made with the SDK write hclog's JSON to their standard error; anything else is taken as text, with
//! the level that its first word tells.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::time::Instant;
use tracing::{debug, error, info, trace, warn};

use crate::handshake::MAX_LINE_LEN_BYTES;

/// How many lines a plugin may write at once.
const BURST_LINES: u32 = 1_000;

/// How much is remembered of what a plugin said last.
const MAX_LAST_WORDS_CHARS: usize = 400;

/// How soon it may write as many again.
const BURST_EVERY: Duration = Duration::from_secs(10);

/// Reads one line, without its end; what is over [`MAX_LINE_LEN_BYTES`] is passed over. `None` at the end.
/// Cancel-safe with the same `line`.
///
/// # Errors
/// The reading failed.
pub(crate) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<Option<String>> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() && line.is_empty() {
            return Ok(None);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        let room = MAX_LINE_LEN_BYTES - line.len();
        line.extend_from_slice(&available[..taken.min(room)]);
        let is_over = end.is_some() || available.is_empty();
        reader.consume(taken + usize::from(end.is_some()));
        if is_over {
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            line.clear();
            return Ok(Some(text));
        }
    }
}

/// Puts the lines of one plugin into the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    window_began: Instant,
    written: u32,
    dropped: u32,
    /// A panic's text goes on for lines that tell no level.
    panics: bool,
    last_words: String,
}

impl LogWriter {
    pub(crate) fn new() -> Self {
        Self {
            window_began: Instant::now(),
            written: 0,
            dropped: 0,
            panics: false,
            last_words: String::new(),
        }
    }

    /// The last lines that are no log records: of a program that ended too soon, probably the reason.
    pub(crate) fn last_words(&self) -> &str {
        self.last_words.trim_start()
    }

    fn remember(&mut self, line: &str) {
        self.last_words.push(' ');
        self.last_words.push_str(line);
        let count = self.last_words.chars().count();
        let over = count.saturating_sub(MAX_LAST_WORDS_CHARS);
        if let Some((start, _)) = self
            .last_words
            .char_indices()
            .nth(over)
            .filter(|_| over > 0)
        {
            self.last_words.drain(..start);
        }
    }

    /// Logs a line, unless there were too many lately.
    pub(crate) fn write(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if self.window_began.elapsed() >= BURST_EVERY {
            if self.dropped > 0 {
                warn!(
                    lines = self.dropped,
                    "plugin wrote too much; lines were dropped"
                );
            }
            (self.window_began, self.written, self.dropped) = (Instant::now(), 0, 0);
        }
        match Record::parse(line) {
            Some(record) if self.may_write() => record.log(),
            Some(_) => {}
            None => {
                self.remember(line);
                let level = self.level(line);
                if self.may_write() {
                    log(level, line, "");
                }
            }
        }
    }

    fn may_write(&mut self) -> bool {
        match self.written < BURST_LINES {
            true => self.written += 1,
            false => self.dropped += 1,
        }
        self.dropped == 0
    }

    fn level(&mut self, line: &str) -> Level {
        let told = [
            ("[TRACE]", Level::Trace),
            ("[DEBUG]", Level::Debug),
            ("[INFO]", Level::Info),
            ("[WARN]", Level::Warn),
            ("[ERROR]", Level::Error),
        ];
        let told = told.iter().find(|(word, _)| line.starts_with(word));
        self.panics |= line.starts_with("panic: ") || line.starts_with("fatal error: ");
        match told {
            Some((_, level)) => *level,
            None if self.panics => Level::Error,
            None => Level::Debug,
        }
    }
}

/// A line of hclog.
#[derive(Debug, Eq, PartialEq)]
struct Record {
    level: Level,
    message: String,
    /// `key=value …`, in the order of the keys.
    details: String,
}

impl Record {
    fn parse(line: &str) -> Option<Self> {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
            return None;
        };
        let mut take = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let message = take("@message");
        let level = Level::parse(&take("@level"))?;
        take("@timestamp");
        let details = fields.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{}={text:?}", name.trim_start_matches('@')),
            value => format!("{}={value}", name.trim_start_matches('@')),
        });
        let details = details.collect::<Vec<_>>().join(" ");
        Some(Self {
            level,
            message,
            details,
        })
    }

    fn log(&self) {
        log(self.level, &self.message, &self.details);
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => return None,
        })
    }
}

fn log(level: Level, message: &str, details: &str) {
    let details = (!details.is_empty()).then_some(details);
    match level {
        Level::Trace => trace!(details, "{message}"),
        Level::Debug => debug!(details, "{message}"),
        Level::Info => info!(details, "{message}"),
        Level::Warn => warn!(details, "{message}"),
        Level::Error => error!(details, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(mut text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while let Some(text) = read_line(&mut text, &mut line).await.unwrap() {
            lines.push(text);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_cut_at_their_limit() {
        assert_eq!(lines(b"a\r\n\nb").await, ["a", "", "b"]);
        let long = [vec![b'x'; 3 * MAX_LINE_LEN_BYTES], b"\nnext\n".to_vec()].concat();
        let found = lines(&long).await;
        assert_eq!(
            found.iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE_LEN_BYTES, 4]
        );
        assert_eq!(lines(b"\xff\n").await, ["\u{fffd}"]);
    }

    #[test]
    fn records_of_hclog_are_taken_apart() {
        let line =
            r#"{"@level":"warn","@message":"hot","@module":"m","@timestamp":"t","a":1,"b":"x y"}"#;
        let record = Record::parse(line).unwrap();
        assert_eq!(
            (record.level, record.message.as_str()),
            (Level::Warn, "hot")
        );
        assert_eq!(record.details, r#"module="m" a=1 b="x y""#);
        for other in ["{}", "[]", "text", r#"{"@level":7}"#] {
            assert_eq!(Record::parse(other), None, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_off_and_ends() {
        let mut writer = LogWriter::new();
        writer.write("[INFO] much");
        let written = (0..BURST_LINES + 4).filter(|_| writer.may_write()).count();
        assert_eq!(u32::try_from(written), Ok(BURST_LINES - 1));
        assert_eq!((writer.written, writer.dropped), (BURST_LINES, 5));
        tokio::time::advance(BURST_EVERY).await;
        writer.write("panic: why");
        assert_eq!((writer.written, writer.dropped), (1, 0));
        assert_eq!(writer.level("goroutine 1"), Level::Error);
        assert!(writer.last_words().ends_with("much panic: why"));
        assert!(writer.last_words().len() <= MAX_LAST_WORDS_CHARS);
    }
}
