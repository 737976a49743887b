//! The functions that a template can call: Go's own and those of `sprig` that SPIRE allows.
//!
//! A table for each kind of value. Those that SPIRE allows and that are not here are named in
//! [`UNSUPPORTED`], with the reason.

mod compare;
mod encode;
mod format;
mod list;
mod map;
mod path;
mod pattern;
mod text;

use std::collections::BTreeMap;

use super::{TemplateError, Value};

/// A function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    name: &'static str,
    pub(super) call: Call,
}

/// What a function does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// Computes something of all its arguments.
    Plain(fn(&Arguments<'_>) -> Result<Value, String>),
    /// Returns the first argument whose truth is this one, or else the last.
    UntilTruthIs(bool),
}

/// The functions of one kind of value.
type Table = &'static [(&'static str, fn(&Arguments<'_>) -> Result<Value, String>)];

const TABLES: [Table; 8] = [
    compare::TABLE,
    encode::TABLE,
    format::TABLE,
    list::TABLE,
    map::TABLE,
    path::TABLE,
    pattern::TABLE,
    text::TABLE,
];

const CASES: &str = "its rules about words are a library's own; use lower, upper or replace";
const LAYOUT: &str = "it makes lines and blanks, which a path cannot have";
const CHANGES: &str = "it changes its argument; use dict, pick or omit";

/// Functions of SPIRE's templates that are not here.
const UNSUPPORTED: [(&str, &str); 27] = [
    ("abbrev", LAYOUT),
    ("abbrevboth", LAYOUT),
    ("call", "there is nothing to call"),
    ("camelcase", CASES),
    ("chunk", "no path needs it"),
    ("dig", "use nested fields or get"),
    ("html", "what it escapes cannot stand in a path"),
    ("indent", LAYOUT),
    ("js", "what it escapes cannot stand in a path"),
    ("kebabcase", CASES),
    ("merge", CHANGES),
    ("mergeOverwrite", CHANGES),
    ("mustChunk", "no path needs it"),
    ("mustMerge", CHANGES),
    ("mustMergeOverwrite", CHANGES),
    ("nindent", LAYOUT),
    ("plural", "use if"),
    ("pluck", "use get"),
    ("set", CHANGES),
    ("snakecase", CASES),
    ("unset", CHANGES),
    ("urlJoin", "use printf"),
    ("urlParse", "use regexFind"),
    ("urlquery", "what it escapes cannot stand in a path"),
    (
        "uuidv4",
        "every attestation would make another agent; use Fingerprint or SerialNumberHex",
    ),
    ("wrap", LAYOUT),
    ("wrapWith", LAYOUT),
];

impl Function {
    /// The function with this name.
    pub(super) fn find(name: &str) -> Result<Self, TemplateError> {
        match name {
            "and" => return Ok(Self::until("and", false)),
            "or" => return Ok(Self::until("or", true)),
            _ => {}
        }
        let mut all = TABLES.iter().copied().flatten();
        if let Some((name, call)) = all.find(|(known, _)| *known == name) {
            let call = Call::Plain(*call);
            return Ok(Self { name, call });
        }
        let unsupported = UNSUPPORTED.iter().find(|(known, _)| *known == name);
        Err(match unsupported {
            Some((name, reason)) => TemplateError::UnsupportedFunction {
                name: (*name).to_owned(),
                reason,
            },
            None => TemplateError::UnknownFunction(name.to_owned()),
        })
    }

    fn until(name: &'static str, truth: bool) -> Self {
        let call = Call::UntilTruthIs(truth);
        Self { name, call }
    }

    /// What a call costs beside its arguments: a pattern is compiled anew by each.
    pub(super) fn work(self) -> usize {
        match pattern::TABLE.iter().any(|(name, _)| *name == self.name) {
            true => PATTERN_WORK,
            false => 1,
        }
    }

    pub(super) fn failed(self, problem: impl Into<String>) -> TemplateError {
        TemplateError::Call {
            name: self.name.to_owned(),
            problem: problem.into(),
        }
    }

    /// The result for `values`.
    pub(super) fn apply(self, values: &[Value]) -> Result<Value, TemplateError> {
        let Call::Plain(call) = self.call else {
            return Err(self.failed("wrong number of args"));
        };
        let result = call(&Arguments(values)).map_err(|problem| self.failed(problem))?;
        match size(&result) <= MAX_VALUE_SIZE {
            true => Ok(result),
            false => Err(self.failed(TOO_LARGE)),
        }
    }
}

/// The largest value that a function may make, in bytes of text and numbers of items.
const MAX_VALUE_SIZE: usize = 64 * 1024;

/// As much as reading a few thousand bytes.
const PATTERN_WORK: usize = 16 * 1024;

const TOO_LARGE: &str = "result is too large";

/// Whether a text of this length may be made. Asked before it is, where a few words make a long one.
fn check_len(len_bytes: usize) -> Result<(), String> {
    match len_bytes <= MAX_VALUE_SIZE {
        true => Ok(()),
        false => Err(TOO_LARGE.to_owned()),
    }
}

/// What a value counts, in bytes of text and numbers of items.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Nil | Value::Bool(_) | Value::Int(_) => 1,
        Value::Text(text) => text.len() + 1,
        Value::List(values) => values.iter().map(size).sum::<usize>() + 1,
        Value::Map(values) => {
            let sizes = values.iter().map(|(name, value)| name.len() + size(value));
            sizes.sum::<usize>() + 1
        }
    }
}

/// What a function was called with.
pub(super) struct Arguments<'a>(&'a [Value]);

impl<'a> Arguments<'a> {
    fn all(&self) -> &'a [Value] {
        self.0
    }

    /// All of them, if they are so many.
    fn exactly<const N: usize>(&self) -> Result<&'a [Value; N], String> {
        self.0
            .try_into()
            .map_err(|_error| format!("wrong number of args: want {N} got {}", self.0.len()))
    }

    /// The first, and what follows it.
    fn first_and_rest(&self) -> Result<(&'a Value, &'a [Value]), String> {
        let parts = self.0.split_first();
        parts.ok_or_else(|| "wrong number of args: want at least 1 got 0".to_owned())
    }

    /// One text.
    fn text(&self) -> Result<&'a str, String> {
        text_of(&self.exactly::<1>()?[0])
    }

    /// Two texts.
    fn two_texts(&self) -> Result<(&'a str, &'a str), String> {
        let [one, two] = self.exactly()?;
        Ok((text_of(one)?, text_of(two)?))
    }
}

fn text_of(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong(other, "string")),
    }
}

fn int_of(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(wrong(other, "int")),
    }
}

/// A number of things; what is negative is none.
fn count_of(value: &Value) -> Result<usize, String> {
    Ok(usize::try_from(int_of(value)?).unwrap_or(0))
}

fn list_of(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::List(values) => Ok(values),
        other => Err(wrong(other, "list")),
    }
}

fn map_of(value: &Value) -> Result<&BTreeMap<String, Value>, String> {
    match value {
        Value::Map(values) => Ok(values),
        other => Err(wrong(other, "map")),
    }
}

fn wrong(value: &Value, wanted: &str) -> String {
    format!(
        "wrong type for value; expected {wanted}; got {}",
        value.kind()
    )
}
