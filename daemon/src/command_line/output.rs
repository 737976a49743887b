//! The `-output` flag: human-readable or JSON.

use crate::flags::{FlagSet, Parsed};

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutputFormat {
    /// For people.
    Pretty,
    /// One JSON document on one line.
    Json,
}

impl OutputFormat {
    /// Adds `-output`.
    #[must_use]
    pub fn flag(flags: FlagSet) -> FlagSet {
        flags.checked_list(
            "output",
            check,
            "Form of the result: pretty (the default) or json.",
        )
    }

    /// What the command line chose.
    ///
    /// # Errors
    /// Given twice with different values.
    pub fn chosen(parsed: &Parsed) -> anyhow::Result<Self> {
        Self::chosen_as(parsed, "output")
    }

    /// Like [`OutputFormat::chosen`] for a flag of another name.
    ///
    /// # Errors
    /// Given twice with different values.
    pub fn chosen_as(parsed: &Parsed, flag: &str) -> anyhow::Result<Self> {
        let values = parsed.list(flag);
        if let [first, rest @ ..] = values {
            anyhow::ensure!(
                rest.iter().all(|value| value == first),
                "the output format is given twice: {first} and {}",
                rest.join(", ")
            );
        }
        match values.first().map(String::as_str) {
            Some("json") => Ok(Self::Json),
            _ => Ok(Self::Pretty),
        }
    }

    /// Adds the flag under another name.
    #[must_use]
    pub fn flag_as(flags: FlagSet, name: &'static str, help: &'static str) -> FlagSet {
        flags.checked_list(name, check, help)
    }
}

fn check(value: &str) -> Result<(), String> {
    match value {
        "pretty" | "json" => Ok(()),
        _ => Err(format!(
            "bad formatter flag: unknown format option: {value:?}; want pretty or json"
        )),
    }
}
