//! What a run found: figures, promises kept or broken, and whether the run counts at all.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// The outcome of one scenario.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    scenario: String,
    /// Every promise was kept, and the run counts.
    passed: bool,
    figures: Vec<Figure>,
    /// Why the run does not count: a fault that did not bite proves nothing.
    void: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<Bound>,
    ok: bool,
}

/// What a figure was promised to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
    /// Just this.
    Exactly(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Exactly(bound) => (value - bound).abs() < f64::EPSILON,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "at most {bound}"),
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::Exactly(bound) => write!(f, "exactly {bound}"),
        }
    }
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            ..Self::default()
        }
    }

    /// A figure that nothing was promised about.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.push(name.into(), value, unit, None);
    }

    /// A figure with the promise that it has to keep.
    pub fn promise(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        bound: Bound,
    ) {
        self.push(name.into(), value, unit, Some(bound));
    }

    /// A number of offences, of which there must be none.
    pub fn none_of(&mut self, name: impl Into<String>, offences: usize) {
        let value = crate::figures::count(offences);
        self.promise(name, value, "", Bound::Exactly(0.0));
    }

    /// A condition without which the run proves nothing.
    pub fn require(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.void.push(otherwise.into());
        }
    }

    /// A sentence for the reader, such as an example of an offence.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether every promise was kept in a run that counts.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.void.is_empty() && self.figures.iter().all(|figure| figure.ok)
    }

    /// One JSON object on one line.
    ///
    /// # Errors
    /// A figure is no number.
    pub fn to_json(&mut self) -> serde_json::Result<String> {
        self.passed = self.passed();
        serde_json::to_string(self)
    }

    fn push(&mut self, name: String, value: f64, unit: &'static str, bound: Option<Bound>) {
        let ok = bound.is_none_or(|bound| bound.holds(value));
        self.figures.push(Figure {
            name,
            value: (value * 1_000.0).round() / 1_000.0,
            unit,
            bound,
            ok,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        writeln!(f, "{}: {verdict}", self.scenario)?;
        for figure in &self.figures {
            let mut line = format!("{:<52} {:>12} {}", figure.name, figure.value, figure.unit);
            if let Some(bound) = figure.bound {
                let mark = if figure.ok { "kept" } else { "BROKEN" };
                write!(line, "  [{bound}: {mark}]")?;
            }
            writeln!(f, "  {}", line.trim_end())?;
        }
        for reason in &self.void {
            writeln!(f, "  void: {reason}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_fails_the_run() {
        let mut report = Report::new("x");
        report.promise("gap p99", 900.0, "ms", Bound::AtMost(1_000.0));
        assert!(report.passed());
        report.none_of("lost writes", 1);
        assert!(!report.passed());
        assert!(
            report.to_string().contains("[exactly 0: BROKEN]"),
            "{report}"
        );
    }

    #[test]
    fn a_fault_that_did_not_bite_fails_the_run() {
        let mut report = Report::new("x");
        report.require(false, "the leader did not change");
        assert!(!report.passed());
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!(json["passed"], false);
        assert_eq!(json["void"][0], "the leader did not change");
    }
}
