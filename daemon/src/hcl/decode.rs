//! Taking typed values out of a tree.
//!
//! Values are as lenient as HCL's own decoder: numbers and truth values may be written as strings, strings
//! as numbers. A key written twice counts with its last value, a block written twice with both contents.

use super::{Item, Key, Object, Value};
use crate::number;

impl Object {
    /// Takes a text.
    ///
    /// # Errors
    /// When the value is something else.
    pub fn take_string(&mut self, name: &str) -> Result<Option<String>, DecodeError> {
        self.take_with(name, "a string", as_string)
    }

    /// Takes a whole number.
    ///
    /// # Errors
    /// When the value is something else or beyond 64 bits.
    pub fn take_integer(&mut self, name: &str) -> Result<Option<i64>, DecodeError> {
        self.take_with(name, "a whole number", |value| match value {
            Value::Number(text) | Value::String(text) => number::parse_integer(text).ok(),
            Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
        })
    }

    /// Takes a truth value.
    ///
    /// # Errors
    /// When the value is something else.
    pub fn take_bool(&mut self, name: &str) -> Result<Option<bool>, DecodeError> {
        self.take_with(name, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            Value::Number(text) | Value::String(text) => number::parse_bool(text),
            Value::List(_) | Value::Object(_) => None,
        })
    }

    /// Takes a list of texts.
    ///
    /// # Errors
    /// When the value is no list or has other items.
    pub fn take_list(&mut self, name: &str) -> Result<Option<Vec<String>>, DecodeError> {
        self.take_with(name, "a list of strings", |value| match value {
            Value::List(values) => values.iter().map(as_string).collect(),
            Value::Number(_) | Value::Bool(_) | Value::String(_) | Value::Object(_) => None,
        })
    }

    /// Takes an object without labels: `name { … }`, `name = { … }` or a list of such.
    ///
    /// # Errors
    /// When the value is something else or has labels.
    pub fn take_block(&mut self, name: &str) -> Result<Option<Self>, DecodeError> {
        let items = self.take_items(name);
        let mut merged: Option<Self> = None;
        for item in items {
            let mismatch = mismatch(&item, "a block");
            if item.keys.len() > 1 {
                return Err(mismatch);
            }
            for object in objects(item.value).ok_or(mismatch)? {
                let merged = merged.get_or_insert_with(Self::default);
                merged.items.extend(object.items);
            }
        }
        Ok(merged)
    }

    /// Takes blocks with one label, `name "label" { … }`, in the order written.
    ///
    /// # Errors
    /// When a value is something else, or has more labels than one.
    pub fn take_labelled(&mut self, name: &str) -> Result<Vec<Labelled>, DecodeError> {
        let mut blocks = Vec::new();
        for mut item in self.take_items(name) {
            let mismatch = mismatch(&item, "a block with one label");
            item.keys.remove(0);
            let inner = match item.keys.is_empty() {
                false => vec![Self { items: vec![item] }],
                true => objects(item.value).ok_or_else(|| mismatch.clone())?,
            };
            for mut item in inner.into_iter().flat_map(|object| object.items) {
                let label = item.keys.remove(0);
                let bodies = match item.keys.is_empty() {
                    true => objects(item.value).ok_or_else(|| mismatch.clone())?,
                    false => return Err(mismatch),
                };
                let items = bodies.into_iter().flat_map(|body| body.items).collect();
                blocks.push(Labelled {
                    label: label.name,
                    line: label.line,
                    body: Self { items },
                });
            }
        }
        Ok(blocks)
    }

    /// Takes a key whatever its value is; the lines it stands on, none if it is absent.
    pub fn take_any(&mut self, name: &str) -> Vec<usize> {
        let items = self.take_items(name);
        items.into_iter().map(|item| item.keys[0].line).collect()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The line of a key's last value; 0 if it is absent.
    #[must_use]
    pub fn line_of(&self, name: &str) -> usize {
        let last = self.items.iter().rfind(|item| item.keys[0].name == name);
        last.map_or(0, |item| item.keys[0].line)
    }

    /// The keys that nobody took, in the order written.
    #[must_use]
    pub fn unknown(&self) -> Vec<UnknownKey> {
        let unknown = |item: &Item| {
            let Key { name, line } = item.keys[0].clone();
            UnknownKey { name, line }
        };
        self.items.iter().map(unknown).collect()
    }

    fn take_with<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        decode: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, DecodeError> {
        let mut last = None;
        for item in self.take_items(name) {
            let value = decode(&item.value).filter(|_| item.keys.len() == 1);
            last = Some(value.ok_or_else(|| mismatch(&item, expected))?);
        }
        Ok(last)
    }

    fn take_items(&mut self, name: &str) -> Vec<Item> {
        self.items
            .extract_if(.., |item| item.keys[0].name == name)
            .collect()
    }
}

/// A block with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// The label.
    pub label: String,
    /// The label's line.
    pub line: usize,
    /// What stands in the braces.
    pub body: Object,
}

/// A key that nothing reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnknownKey {
    /// The key.
    pub name: String,
    /// Its line.
    pub line: usize,
}

/// A value is not what its key wants.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name} (line {line}) must be {expected}")]
pub struct DecodeError {
    /// The key.
    pub name: String,
    /// Its line.
    pub line: usize,
    /// What it must be.
    pub expected: &'static str,
}

fn as_string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) | Value::Number(text) => Some(text.clone()),
        Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
    }
}

fn objects(value: Value) -> Option<Vec<Object>> {
    match value {
        Value::Object(object) => Some(vec![object]),
        Value::List(values) => values
            .into_iter()
            .map(|value| match value {
                Value::Object(object) => Some(object),
                Value::Number(_) | Value::Bool(_) | Value::String(_) | Value::List(_) => None,
            })
            .collect(),
        Value::Number(_) | Value::Bool(_) | Value::String(_) => None,
    }
}

fn mismatch(item: &Item, expected: &'static str) -> DecodeError {
    let Key { name, line } = item.keys[0].clone();
    DecodeError {
        name,
        line,
        expected,
    }
}
