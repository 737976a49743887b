//! Settings that both config files have, under the same names and rules.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};

use super::Findings;
use crate::{duration, flags::Parsed, hcl::Object, health, log};

/// Log settings given on the command line, which go before those of the file.
#[derive(Clone, Debug, Default)]
pub struct LogOverrides {
    file: Option<String>,
    format: Option<String>,
    level: Option<String>,
    source_location: bool,
}

impl LogOverrides {
    /// Reads `-logFile`, `-logFormat`, `-logLevel` and `-logSourceLocation`.
    #[must_use]
    pub fn from_flags(parsed: &Parsed) -> Self {
        let text = |name| parsed.string_if_set(name).map(str::to_owned);
        Self {
            file: text("logFile"),
            format: text("logFormat"),
            level: text("logLevel"),
            source_location: parsed.boolean("logSourceLocation"),
        }
    }
}

/// Takes the `log_…` keys of the main section.
///
/// # Errors
/// When a level or format is not known, or a value is of the wrong type.
pub fn take_log(section: &mut Object, overrides: &LogOverrides) -> anyhow::Result<log::Options> {
    let mut text = |name, given: &Option<String>| -> anyhow::Result<Option<String>> {
        let in_file = section.take_string(name)?;
        let value = given.clone().or(in_file);
        Ok(value.filter(|text| !text.is_empty()))
    };
    let file = text("log_file", &overrides.file)?.map(PathBuf::from);
    let format = text("log_format", &overrides.format)?;
    let level = text("log_level", &overrides.level)?;
    let in_file = section.take_bool("log_source_location")?.unwrap_or(false);
    let format = format.as_deref().unwrap_or("text").parse();
    let level = level.as_deref().unwrap_or("INFO").parse();
    Ok(log::Options {
        format: format.context("could not start logger")?,
        level: level.context("could not start logger")?,
        file,
        source_location: overrides.source_location || in_file,
    })
}

/// Takes the `health_checks` block; `None` unless its listener is enabled.
///
/// # Errors
/// When a value is of the wrong type or no port.
pub fn take_health_checks(
    document: &mut Object,
    findings: &mut Findings,
) -> anyhow::Result<Option<health::Options>> {
    let Some(mut block) = document.take_block("health_checks")? else {
        return Ok(None);
    };
    let defaults = health::Options::default();
    let is_enabled = block.take_bool("listener_enabled")?.unwrap_or(false);
    let port = block.take_integer("bind_port")?;
    let bind_port = port.map_or(Ok(defaults.bind_port), u16::try_from);
    let options = health::Options {
        bind_address: block
            .take_string("bind_address")?
            .unwrap_or(defaults.bind_address),
        bind_port: bind_port.context("health_checks.bind_port is no port")?,
        live_path: block
            .take_string("live_path")?
            .unwrap_or(defaults.live_path),
        ready_path: block
            .take_string("ready_path")?
            .unwrap_or(defaults.ready_path),
    };
    findings.finish("health_checks", &block);
    for path in [&options.live_path, &options.ready_path] {
        ensure!(
            path.starts_with('/'),
            "health_checks path {path:?} must begin with a slash"
        );
    }
    Ok(is_enabled.then_some(options))
}

/// Takes `feature_flags` of the `experimental` block; the flags that SPIRE knows are refused until they are there.
///
/// # Errors
/// When a flag is not one of SPIRE's.
pub fn take_feature_flags(
    experimental: &mut Object,
    section: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let line = experimental.line_of("feature_flags");
    for flag in experimental.take_list("feature_flags")?.unwrap_or_default() {
        match flag.as_str() {
            "i_am_a_test_flag" => {}
            "wit-svid" => findings.refuse_key(section, "feature_flags \"wit-svid\"", line),
            _ => anyhow::bail!("unknown feature flag(s): {flag:?}"),
        }
    }
    Ok(())
}

/// Reads a duration that must be longer than nothing; `what` is what SPIRE's error calls the setting.
///
/// An absent or empty text is no duration given.
///
/// # Errors
/// When the text is no duration, negative or zero.
pub fn parse_duration(text: Option<&str>, what: &str) -> anyhow::Result<Option<Duration>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let duration =
        duration::parse_go(text).with_context(|| format!("could not parse {what} {text:?}"))?;
    ensure!(!duration.is_zero(), "{what} must be longer than zero");
    Ok(Some(duration))
}
