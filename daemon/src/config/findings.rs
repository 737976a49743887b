//! What was found in a config file besides the settings that are read.

use std::fmt;

use super::plugins::{PluginProblem, PluginProblems, UnknownPlugin};
use crate::command_line::Terminal;
use crate::hcl::Object;

/// Collects, over a whole file, what is unknown, not supported or in want of a word.
#[derive(Debug, Default)]
pub struct Findings {
    unknown: Vec<KeyAt>,
    unsupported: Vec<KeyAt>,
    explanations: Vec<String>,
}

/// A key in a config file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyAt {
    /// The section's name, empty for the file itself.
    pub section: String,
    /// The key.
    pub name: String,
    /// The line.
    pub line: usize,
}

impl fmt::Display for KeyAt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            section,
            name,
            line,
        } = self;
        match section.is_empty() {
            true => write!(formatter, "{name} (line {line})"),
            false => write!(formatter, "{section}.{name} (line {line})"),
        }
    }
}

impl Findings {
    /// Nothing found yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses keys whose feature does not exist yet, if they are there.
    pub fn refuse(&mut self, section: &str, object: &mut Object, names: &[&str]) {
        for name in names {
            for line in object.take_any(name) {
                self.refuse_key(section, name, line);
            }
        }
    }

    /// Refuses one key at a line.
    pub fn refuse_key(&mut self, section: &str, name: &str, line: usize) {
        self.unsupported.push(key_at(section, name, line));
    }

    /// Refuses switches whose feature does not exist yet, if they are on; off is what there is.
    ///
    /// # Errors
    /// When a value is no truth value.
    pub fn refuse_if_on(
        &mut self,
        section: &str,
        object: &mut Object,
        names: &[&str],
    ) -> Result<(), crate::hcl::DecodeError> {
        for name in names {
            let line = object.line_of(name);
            if object.take_bool(name)? == Some(true) {
                self.refuse_key(section, name, line);
            }
        }
        Ok(())
    }

    /// Takes keys that mean nothing here, each with one explanation for the log.
    pub fn explain(&mut self, section: &str, object: &mut Object, names: &[&str], reason: &str) {
        for name in names {
            if !object.take_any(name).is_empty() {
                self.explanations.push(format!(
                    "{section}.{name} is accepted and ignored: {reason}"
                ));
            }
        }
    }

    /// Adds a line for the log.
    pub fn note(&mut self, explanation: impl Into<String>) {
        self.explanations.push(explanation.into());
    }

    /// Notes what is left of a section as unknown.
    pub fn finish(&mut self, section: &str, object: &Object) {
        let unknown = object.unknown().into_iter();
        self.unknown
            .extend(unknown.map(|key| key_at(section, &key.name, key.line)));
    }

    /// Itself, if no key is unknown: a misspelt key should be told before what it leaves unset.
    ///
    /// # Errors
    /// All unknown keys.
    pub fn without_unknown(self) -> Result<Self, Refused> {
        match self.unknown.is_empty() {
            true => Ok(self),
            false => Err(Refused::Unknown { keys: self.unknown }),
        }
    }

    /// The explanations, if nothing was refused.
    ///
    /// # Errors
    /// All unknown keys, or else all that are not supported yet.
    pub fn into_explanations(self) -> Result<Vec<String>, Refused> {
        let found = self.without_unknown()?;
        match found.unsupported.is_empty() {
            true => Ok(found.explanations),
            false => Err(Refused::NotSupportedYet {
                keys: found.unsupported,
            }),
        }
    }
}

/// Keys that keep a process from starting.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Nothing reads these keys: misspelt, or in the wrong place.
    #[error("unknown configuration detected: {}", list(keys))]
    Unknown {
        /// In the order of the file's sections.
        keys: Vec<KeyAt>,
    },
    /// SPIRE's keys whose feature is not there yet.
    #[error("not supported yet: {}", list(keys))]
    NotSupportedYet {
        /// In the order of the file's sections.
        keys: Vec<KeyAt>,
    },
}

/// What `validate` prints to the error output about a config that does not load.
///
/// `product` is the name that SPIRE puts there, as in `SPIRE server`.
#[must_use]
pub fn validation_report(product: &str, error: &anyhow::Error) -> String {
    if let Some(PluginProblems(problems)) = error.downcast_ref() {
        let mut report = format!("{product} configuration file is invalid.\nValidation errors:\n");
        let mut titled = "";
        for problem in problems {
            if problem.plugin != titled {
                report.push_str(&format!("\t{}:\n", problem.plugin));
            }
            report.push_str(&format!("\t\t{}\n", problem.reason));
            titled = &problem.plugin;
        }
        return report;
    }
    if error.is::<UnknownPlugin>() {
        return format!("Could not validate configuration file: {error:#}\n");
    }
    format!("{product} configuration file is invalid: {error:#}\n")
}

/// The end of `validate`, with what plugins have to say against a config that loads: tells that it is valid.
///
/// # Errors
/// The text of [`validation_report`], if it is not.
pub fn conclude_validation(
    product: &str,
    loaded: anyhow::Result<Vec<PluginProblem>>,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let error = match loaded {
        Ok(problems) if problems.is_empty() => {
            terminal.line(&format!("{product} configuration file is valid."));
            return Ok(());
        }
        Ok(problems) => PluginProblems(problems).into(),
        Err(error) => error,
    };
    let report = validation_report(product, &error);
    Err(anyhow::Error::msg(report.trim_end().to_owned()))
}

fn key_at(section: &str, name: &str, line: usize) -> KeyAt {
    KeyAt {
        section: section.to_owned(),
        name: name.to_owned(),
        line,
    }
}

fn list(keys: &[KeyAt]) -> String {
    let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
    keys.join(", ")
}
