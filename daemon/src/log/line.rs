//! One log line, rendered as logrus renders it.
//!
//! Text: `time="2006-01-02T15:04:05Z" level=info msg="…" key=value`, keys in alphabetical order, values
//! quoted only where a blank, a quote or the like would make them ambiguous. JSON: one object, all keys in
//! alphabetical order. Times are UTC.

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Level;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

impl FromStr for Format {
    type Err = ParseFormatError;

    /// Case does not matter.
    fn from_str(text: &str) -> Result<Self, ParseFormatError> {
        if text.eq_ignore_ascii_case("text") {
            Ok(Self::Text)
        } else if text.eq_ignore_ascii_case("json") {
            Ok(Self::Json)
        } else {
            Err(ParseFormatError(text.to_owned()))
        }
    }
}

/// The text names no format.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown log format {0:?}; must be one of [text, json]")]
pub struct ParseFormatError(String);

/// Values by key; strings, numbers and truth values only.
pub(super) type Fields = BTreeMap<String, Value>;

/// What one line says.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: OffsetDateTime,
    pub(super) level: Level,
    pub(super) message: &'a str,
    /// The function's module and `file:line`.
    pub(super) source: Option<(&'a str, String)>,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    /// The line with its line feed.
    pub(super) fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.render_text(),
            Format::Json => self.render_json(),
        }
    }

    fn render_text(&self) -> String {
        let mut text = String::with_capacity(128);
        let whole_seconds = self.time.replace_nanosecond(0).unwrap_or(self.time);
        push_pair(&mut text, "time", &rfc3339(whole_seconds));
        push_pair(&mut text, "level", self.level.as_str());
        if !self.message.is_empty() {
            push_pair(&mut text, "msg", self.message);
        }
        if let Some((function, file)) = &self.source {
            push_pair(&mut text, "func", function);
            push_pair(&mut text, "file", file);
        }
        for (key, value) in self.fields {
            match value {
                Value::String(value) => push_pair(&mut text, own_key(key), value),
                value => push_pair(&mut text, own_key(key), &value.to_string()),
            }
        }
        text.push('\n');
        text
    }

    fn render_json(&self) -> String {
        let own = |(key, value): (&String, &Value)| (own_key(key).to_owned(), value.clone());
        let mut object: BTreeMap<String, Value> = self.fields.iter().map(own).collect();
        object.insert("time".to_owned(), rfc3339(self.time).into());
        object.insert("level".to_owned(), self.level.as_str().into());
        object.insert("msg".to_owned(), self.message.into());
        if let Some((function, file)) = &self.source {
            object.insert("func".to_owned(), (*function).into());
            object.insert("file".to_owned(), file.as_str().into());
        }
        let mut text = serde_json::to_string(&object).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A field must not pass for one of the line's own keys.
fn own_key(key: &str) -> &str {
    match key {
        "time" => "fields.time",
        "level" => "fields.level",
        "msg" => "fields.msg",
        "func" => "fields.func",
        "file" => "fields.file",
        _ => key,
    }
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

fn push_pair(text: &mut String, key: &str, value: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(key);
    text.push('=');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if value.chars().all(is_plain) {
        text.push_str(value);
    } else {
        push_quoted(text, value);
    }
}

/// As Go's `%q`.
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => push_escape(text, "\\x", 2, c),
            c if c.is_control() || is_unprintable(c) => push_escape(text, "\\u", 4, c),
            c => text.push(c),
        }
    }
    text.push('"');
}

fn push_escape(text: &mut String, prefix: &str, width: usize, c: char) {
    write!(text, "{prefix}{:0width$x}", u32::from(c)).expect("invariant: a String takes all text");
}

/// Blanks other than the space, byte order marks and direction marks: they would hide or reorder a line.
fn is_unprintable(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
