//! The seven levels of logrus.

use std::{fmt, str::FromStr};

/// How severe a line is; the most severe is the smallest.
///
/// Nothing of ours logs at [`Level::Panic`] or [`Level::Fatal`]: as thresholds they silence the log.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// A defect.
    Panic,
    /// The process ends.
    Fatal,
    /// Something failed that should not have.
    Error,
    /// Something an operator should look at.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

impl Level {
    /// All levels, the most severe first.
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::Fatal,
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The name that log lines carry; `warn` is written `warning` there.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The index in [`Level::ALL`].
    pub(super) fn severity(self) -> u8 {
        match self {
            Self::Panic => 0,
            Self::Fatal => 1,
            Self::Error => 2,
            Self::Warn => 3,
            Self::Info => 4,
            Self::Debug => 5,
            Self::Trace => 6,
        }
    }

    pub(super) fn from_severity(severity: u8) -> Self {
        Self::ALL
            .get(usize::from(severity))
            .copied()
            .unwrap_or(Self::Trace)
    }
}

impl From<&tracing::Level> for Level {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = ParseLevelError;

    /// Case does not matter; `warn` and `warning` are one.
    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        let lower = text.to_ascii_lowercase();
        if lower == "warn" {
            return Ok(Self::Warn);
        }
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == lower)
            .ok_or_else(|| ParseLevelError(text.to_owned()))
    }
}

/// The text names no level.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown log level {0:?}; must be one of [panic, fatal, error, warn, info, debug, trace]")]
pub struct ParseLevelError(String);
