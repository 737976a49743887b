//! Command line flags with the semantics of Go's `flag` package, which SPIRE's command lines have and
//! scripts rely on: `-x`, `--x`, `-x=v`, `-x v`, switches without a value, parsing that ends at the first
//! positional, and the same usage and error texts.
//!
//! Beyond Go, a name may be written in kebab case: `--spiffe-id` is `-spiffeID`.

mod parsed;
mod usage;

use std::{collections::BTreeMap, time::Duration};

use self::parsed::Given;
pub use self::parsed::Parsed;
use crate::duration;

/// The flags that one command understands.
///
/// Names are unique; declaring one twice replaces it.
#[derive(Clone, Debug)]
pub struct FlagSet {
    name: String,
    flags: BTreeMap<&'static str, Flag>,
    aliases: BTreeMap<&'static str, &'static str>,
    takes_positionals: bool,
}

/// A check of a flag's text; the error's text ends the message `invalid value "…" for flag -x: `.
pub type Check = fn(&str) -> Result<(), String>;

#[derive(Clone, Debug)]
struct Flag {
    help: &'static str,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
    Duration(Duration),
    Checked { text: String, check: Check },
    List { items: Vec<String>, check: Check },
}

impl FlagSet {
    /// An empty set; `name` is what the usage text is titled with, as in `Usage of entry create:`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            flags: BTreeMap::new(),
            aliases: BTreeMap::new(),
            takes_positionals: true,
        }
    }

    /// Refuses positionals, where one that is overlooked would do harm.
    #[must_use]
    pub fn without_positionals(self) -> Self {
        Self {
            takes_positionals: false,
            ..self
        }
    }

    /// A switch, off unless given.
    #[must_use]
    pub fn boolean(self, name: &'static str, help: &'static str) -> Self {
        self.with(name, help, Value::Bool(false))
    }

    /// A whole number.
    #[must_use]
    pub fn integer(self, name: &'static str, default: i64, help: &'static str) -> Self {
        self.with(name, help, Value::Integer(default))
    }

    /// A text.
    #[must_use]
    pub fn string(self, name: &'static str, default: &str, help: &'static str) -> Self {
        self.with(name, help, Value::Text(default.to_owned()))
    }

    /// A Go duration; the usage calls its argument `duration`.
    #[must_use]
    pub fn duration(self, name: &'static str, default: Duration, help: &'static str) -> Self {
        self.with(name, help, Value::Duration(default))
    }

    /// A text that must pass a check; the usage calls its argument `value`. The default is not checked.
    #[must_use]
    pub fn value(
        self,
        name: &'static str,
        default: &str,
        check: Check,
        help: &'static str,
    ) -> Self {
        let text = default.to_owned();
        self.with(name, help, Value::Checked { text, check })
    }

    /// A Go duration that the usage calls `value`, as flags of SPIRE's own duration type are shown.
    #[must_use]
    pub fn duration_value(self, name: &'static str, default: Duration, help: &'static str) -> Self {
        let default = duration::format_go(default);
        self.value(name, &default, check_duration, help)
    }

    /// A text that may be given many times; the usage calls its argument `value`.
    #[must_use]
    pub fn list(self, name: &'static str, help: &'static str) -> Self {
        self.checked_list(name, |_| Ok(()), help)
    }

    /// Like [`FlagSet::list`], each item checked as it is read.
    #[must_use]
    pub fn checked_list(self, name: &'static str, check: Check, help: &'static str) -> Self {
        let items = Vec::new();
        self.with(name, help, Value::List { items, check })
    }

    /// Another name for a declared flag, not shown in the usage.
    #[must_use]
    pub fn alias(mut self, alias: &'static str, name: &'static str) -> Self {
        self.aliases.insert(alias, name);
        self
    }

    fn with(mut self, name: &'static str, help: &'static str, value: Value) -> Self {
        self.flags.insert(name, Flag { help, value });
        self
    }

    /// Reads the arguments that follow the command's name.
    ///
    /// Parsing ends at `--` or at the first argument that is no flag; what follows are positionals, which
    /// the caller may ignore as SPIRE does.
    ///
    /// # Errors
    /// [`FlagError::Help`] for `-h` and `-help` unless declared; [`FlagError::Invalid`] with Go's text, or for a
    /// positional that is not taken.
    pub fn parse(self, arguments: &[String]) -> Result<Parsed, FlagError> {
        let usage = usage::render(&self);
        let mut aliases_used = Vec::new();
        let mut values: BTreeMap<_, _> = self
            .flags
            .iter()
            .map(|(name, flag)| (*name, Given::default_of(&flag.value)))
            .collect();
        let mut rest = arguments.iter();
        let positionals = loop {
            let remaining = rest.as_slice();
            let Some((minuses, body)) = remaining.first().and_then(|text| as_flag(text)) else {
                break remaining;
            };
            rest.next();
            if body.is_empty() {
                break rest.as_slice();
            }
            let outcome = self.parse_one(minuses, body, &mut rest, &mut values);
            match outcome {
                Ok(()) => aliases_used.extend(self.alias_in(body)),
                Err(Stop::Help) => return Err(FlagError::Help { usage }),
                Err(Stop::Invalid(message)) => return Err(FlagError::Invalid { message, usage }),
            }
        };
        match positionals.first() {
            Some(first) if !self.takes_positionals => {
                let message = format!("{} takes flags only, not {first:?}", self.name);
                Err(FlagError::Invalid { message, usage })
            }
            Some(_) | None => Ok(Parsed::new(values, aliases_used, positionals, usage)),
        }
    }

    fn parse_one(
        &self,
        minuses: usize,
        body: &str,
        rest: &mut std::slice::Iter<'_, String>,
        values: &mut BTreeMap<&'static str, Given>,
    ) -> Result<(), Stop> {
        if body.starts_with(['-', '=']) {
            let dashes = &"--"[..minuses];
            return Err(Stop::Invalid(format!("bad flag syntax: {dashes}{body}")));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some(declared) = self.resolve(name) else {
            if name == "h" || name == "help" {
                return Err(Stop::Help);
            }
            return Err(Stop::Invalid(format!(
                "flag provided but not defined: -{name}"
            )));
        };
        let given = values
            .get_mut(declared)
            .expect("invariant: every declared flag has a value");
        if matches!(given.value, Value::Bool(_)) {
            return given.set_switch(name, inline);
        }
        let text = match inline {
            Some(text) => text,
            None => rest
                .next()
                .ok_or_else(|| Stop::Invalid(format!("flag needs an argument: -{name}")))?,
        };
        given.set(text).map_err(|reason| {
            Stop::Invalid(format!("invalid value {text:?} for flag -{name}: {reason}"))
        })
    }

    /// The alias that an argument is written with, and what it stands for.
    fn alias_in(&self, body: &str) -> Option<(&'static str, &'static str)> {
        let name = body.split_once('=').map_or(body, |(name, _)| name);
        let (alias, declared) = self.aliases.get_key_value(name)?;
        Some((alias, declared))
    }

    /// The declared name that `name` stands for: itself, an alias, or its kebab-case spelling.
    fn resolve(&self, name: &str) -> Option<&'static str> {
        if let Some((declared, _)) = self.flags.get_key_value(name) {
            return Some(declared);
        }
        if let Some(declared) = self.aliases.get(name) {
            return Some(declared);
        }
        if !name.contains('-') {
            return None;
        }
        let folded = fold(name);
        let matches = |declared: &&str| fold(declared) == folded;
        let flag = self.flags.keys().copied().find(matches);
        flag.or_else(|| {
            let alias = self.aliases.iter().find(|(alias, _)| matches(alias));
            alias.map(|(_, declared)| *declared)
        })
    }

    /// The usage text, ending in a line feed.
    #[must_use]
    pub fn usage(&self) -> String {
        usage::render(self)
    }
}

/// Why a command line was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// Help was asked for.
    #[error("flag: help requested")]
    Help {
        /// The usage text.
        usage: String,
    },
    /// The command line is wrong.
    #[error("{message}")]
    Invalid {
        /// What is wrong, in Go's words.
        message: String,
        /// The usage text.
        usage: String,
    },
}

impl FlagError {
    /// What Go's `flag` prints to the error output: the message, if any, and the usage.
    #[must_use]
    pub fn report(&self) -> String {
        match self {
            Self::Help { usage } => usage.clone(),
            Self::Invalid { message, usage } => format!("{message}\n{usage}"),
        }
    }
}

enum Stop {
    Help,
    Invalid(String),
}

/// The count of dashes and what follows them, if the argument is a flag or the terminator `--`.
fn as_flag(argument: &str) -> Option<(usize, &str)> {
    let body = argument.strip_prefix('-').filter(|body| !body.is_empty())?;
    match body.strip_prefix('-') {
        Some(body) => Some((2, body)),
        None => Some((1, body)),
    }
}

fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn check_duration(text: &str) -> Result<(), String> {
    duration::parse_go(text)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
