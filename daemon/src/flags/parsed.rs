//! The values that a command line gave to the flags of a set.

use std::{collections::BTreeMap, time::Duration};

use super::{Stop, Value};
use crate::{duration, number};

/// The values of a parsed command line.
///
/// Asking for a name that was not declared, or as another type, is a programming error and panics.
#[derive(Clone, Debug)]
pub struct Parsed {
    values: BTreeMap<&'static str, Given>,
    aliases_used: Vec<(&'static str, &'static str)>,
    positionals: Vec<String>,
    usage: String,
}

#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) value: Value,
    is_set: bool,
}

impl Parsed {
    pub(super) fn new(
        values: BTreeMap<&'static str, Given>,
        aliases_used: Vec<(&'static str, &'static str)>,
        rest: &[String],
        usage: String,
    ) -> Self {
        Self {
            values,
            aliases_used,
            positionals: rest.to_vec(),
            usage,
        }
    }

    /// Whether the flag stood on the command line, be it with its default.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.given(name).is_set
    }

    /// A switch.
    #[must_use]
    pub fn boolean(&self, name: &str) -> bool {
        let Value::Bool(value) = self.given(name).value else {
            unreachable!("flag -{name} is not a switch");
        };
        value
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self, name: &str) -> i64 {
        let Value::Integer(value) = self.given(name).value else {
            unreachable!("flag -{name} is not a number");
        };
        value
    }

    /// A text, checked or not; the last one if it was given many times.
    #[must_use]
    pub fn string(&self, name: &str) -> &str {
        let (Value::Text(text) | Value::Checked { text, .. }) = &self.given(name).value else {
            unreachable!("flag -{name} is not a text");
        };
        text
    }

    /// The text if the flag stood on the command line.
    #[must_use]
    pub fn string_if_set(&self, name: &str) -> Option<&str> {
        self.is_set(name).then(|| self.string(name))
    }

    /// A duration, of either kind.
    #[must_use]
    pub fn duration(&self, name: &str) -> Duration {
        match &self.given(name).value {
            Value::Duration(value) => *value,
            Value::Checked { text, .. } => {
                duration::parse_go(text).expect("invariant: checked when it was read")
            }
            Value::Bool(_) | Value::Integer(_) | Value::Text(_) | Value::List { .. } => {
                unreachable!("flag -{name} is not a duration")
            }
        }
    }

    /// The items of a repeatable flag in the order given.
    #[must_use]
    pub fn list(&self, name: &str) -> &[String] {
        let Value::List { items, .. } = &self.given(name).value else {
            unreachable!("flag -{name} is not a list");
        };
        items
    }

    /// The aliases that stood on the command line, each with the name of its flag.
    #[must_use]
    pub fn aliases_used(&self) -> &[(&'static str, &'static str)] {
        &self.aliases_used
    }

    /// What followed the flags.
    #[must_use]
    pub fn positionals(&self) -> &[String] {
        &self.positionals
    }

    /// The usage text of the set that was parsed.
    #[must_use]
    pub fn usage(&self) -> &str {
        &self.usage
    }

    fn given(&self, name: &str) -> &Given {
        self.values
            .get(name)
            .unwrap_or_else(|| unreachable!("flag -{name} was not declared"))
    }
}

impl Given {
    pub(super) fn default_of(value: &Value) -> Self {
        Self {
            value: value.clone(),
            is_set: false,
        }
    }

    pub(super) fn set_switch(&mut self, name: &str, inline: Option<&str>) -> Result<(), Stop> {
        let text = inline.unwrap_or("true");
        let value = number::parse_bool(text).ok_or_else(|| {
            Stop::Invalid(format!(
                "invalid boolean value {text:?} for -{name}: parse error"
            ))
        })?;
        self.value = Value::Bool(value);
        self.is_set = true;
        Ok(())
    }

    pub(super) fn set(&mut self, text: &str) -> Result<(), String> {
        match &mut self.value {
            Value::Bool(_) => unreachable!("switches are set without a text"),
            Value::Integer(value) => *value = number::parse_integer(text)?,
            Value::Text(value) => text.clone_into(value),
            Value::Duration(value) => {
                *value = duration::parse_go(text).map_err(|_reason| "parse error".to_owned())?;
            }
            Value::Checked { text: value, check } => {
                check(text)?;
                text.clone_into(value);
            }
            Value::List { items, check } => {
                check(text)?;
                items.push(text.to_owned());
            }
        }
        self.is_set = true;
        Ok(())
    }
}
