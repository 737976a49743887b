//! The configuration language: HCL version 1 as HashiCorp's parser reads it, or JSON, into one tree.
//!
//! Both are read because operators write the one and generate the other. A document is bounded in size and
//! depth, every key keeps its line, and decoding takes keys out of the tree, so that what nobody took is
//! known by name and line: [`Object::unknown`].

mod decode;
mod expand;
mod json;
mod parser;
mod print;
mod scanner;
mod string;

pub use self::{
    decode::{DecodeError, Labelled, UnknownKey},
    expand::expand_env,
};

/// Reads a document; a text whose first character is `{` is JSON, any other HCL.
///
/// # Errors
/// [`HclError`] at the first place that does not parse or is beyond [`MAX_LEN_BYTES`] or [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Object, HclError> {
    if text.len() > MAX_LEN_BYTES {
        let message = format!("document is longer than {MAX_LEN_BYTES} bytes");
        return Err(Position::START.error(message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        json::parse(text)
    } else {
        parser::parse(text)
    }
}

/// The longest document that is read.
pub const MAX_LEN_BYTES: usize = 1 << 20;

/// How deep objects and lists may nest.
pub const MAX_DEPTH: usize = 64;

/// An object: the document itself, a block or a value in braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// In the order written; keys may repeat.
    items: Vec<Item>,
}

/// `key = value`, `key { … }` or `key "label" { … }`.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    /// The key and, for a block, its labels; never empty.
    keys: Vec<Key>,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
struct Key {
    name: String,
    line: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// A number in the notation it was written in.
    Number(String),
    Bool(bool),
    String(String),
    List(Vec<Self>),
    Object(Object),
}

/// Where in a document, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Position {
    line: usize,
    column: usize,
}

impl Position {
    const START: Self = Self { line: 1, column: 1 };

    fn pass(&mut self, text: &str) {
        for c in text.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
    }

    fn error(self, message: impl Into<String>) -> HclError {
        HclError {
            line: self.line,
            column: self.column,
            message: message.into(),
        }
    }
}

/// A document does not parse.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("At {line}:{column}: {message}")]
pub struct HclError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, in the words of HashiCorp's parser where it has any.
    pub message: String,
}

#[cfg(test)]
mod tests;
