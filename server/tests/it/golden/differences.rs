//! Where our answers are meant to differ from the recorded ones: a list with a reason for each.
//!
//! The list (`differences.txt` beside the fixtures) is made of paragraphs:
//!
//! ```text
//! in 10-entry.script: the reason
//! @ the line that is answered, or its beginning; without it every answer of the fixture
//! - a line as recorded
//! + a line as we answer
//! ```
//!
//! `in c4-workload.cli on a follower: …` holds only where the fixture runs against a member of several.
//! Instead of whole lines, `< part` and `> part` replace a part of every line that has it, and
//! `drop: …` names the profile of a certificate that our chains have and the recorded ones have not.
//! A paragraph whose recorded text is found nowhere is out of date, and fails the test.

use anyhow::{Context as _, bail, ensure};

use super::fixture::{Fixture, Step, folder};

/// The intended differences of one fixture.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    changes: Vec<Change>,
    /// Profiles of certificates to leave out of chains.
    pub(crate) dropped_certificates: Vec<String>,
}

#[derive(Debug, Default)]
struct Change {
    at: String,
    recorded: Vec<String>,
    ours: Vec<String>,
    recorded_part: String,
    our_part: String,
}

impl Differences {
    /// Reads the list for one fixture, run against a lone server or a follower.
    pub(crate) fn load(fixture: &str, on_follower: bool) -> anyhow::Result<Self> {
        let path = folder().join("differences.txt");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text, fixture, on_follower)
    }

    fn parse(text: &str, fixture: &str, on_follower: bool) -> anyhow::Result<Self> {
        let mut differences = Self::default();
        for paragraph in text.split("\n\n") {
            differences
                .read(paragraph, fixture, on_follower)
                .with_context(|| paragraph.to_owned())?;
        }
        Ok(differences)
    }

    fn read(&mut self, paragraph: &str, fixture: &str, on_follower: bool) -> anyhow::Result<()> {
        let mut lines = paragraph
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let Some(head) = lines.next() else {
            return Ok(());
        };
        let (names, reason) = head
            .strip_prefix("in ")
            .and_then(|head| head.split_once(": "))
            .context("a paragraph begins with `in FIXTURE: reason`")?;
        ensure!(!reason.trim().is_empty(), "a reason is needed");
        let is_ours = names
            .split(", ")
            .any(|name| match name.strip_suffix(" on a follower") {
                Some(name) => on_follower && name == fixture,
                None => name == fixture,
            });
        let mut change = Change::default();
        for line in lines {
            match line.split_at_checked(1) {
                Some(("@", at)) => at.trim_start().clone_into(&mut change.at),
                Some(("-", recorded)) => change.recorded.push(recorded.to_owned()),
                Some(("+", ours)) => change.ours.push(ours.to_owned()),
                Some(("<", recorded)) => recorded.trim().clone_into(&mut change.recorded_part),
                Some((">", ours)) => ours.trim().clone_into(&mut change.our_part),
                _ => match line.strip_prefix("drop: ") {
                    Some(profile) if is_ours => self.dropped_certificates.push(profile.to_owned()),
                    Some(_) => {}
                    None => bail!("unknown line {line:?}"),
                },
            }
        }
        if is_ours && !(change.recorded.is_empty() && change.recorded_part.is_empty()) {
            self.changes.push(change);
        }
        Ok(())
    }

    /// Turns the recorded answers into those that are expected of us.
    pub(crate) fn apply(&self, fixture: &mut Fixture) -> anyhow::Result<()> {
        for change in &self.changes {
            let applied = fixture
                .steps
                .iter_mut()
                .filter(|step| step.line.starts_with(&change.at))
                .filter(|step| !step.answer.is_empty())
                .map(|step| change.apply(step))
                .sum::<usize>();
            ensure!(applied > 0, "out of date: {change:#?}");
        }
        Ok(())
    }
}

impl Change {
    /// Replaces the recorded lines wherever they stand, and says how often that was.
    fn apply(&self, step: &mut Step) -> usize {
        if !self.recorded_part.is_empty() {
            return self.apply_to_parts(step);
        }
        let mut applied = 0;
        let mut from = 0;
        while let Some(found) = step.answer[from..]
            .windows(self.recorded.len())
            .position(|lines| lines == self.recorded)
        {
            let start = from + found;
            step.answer
                .splice(start..start + self.recorded.len(), self.ours.clone());
            from = start + self.ours.len();
            applied += 1;
        }
        applied
    }

    fn apply_to_parts(&self, step: &mut Step) -> usize {
        let lines = step
            .answer
            .iter_mut()
            .filter(|line| line.contains(&self.recorded_part));
        lines
            .map(|line| *line = line.replace(&self.recorded_part, &self.our_part))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# a comment\n\nin f.script, g.script: own words\n@ call A\n-  one\n+  two\n\n\
                        in other.script: own words\n-  x\n+  y\n";

    fn fixture(answer: &[&str]) -> Fixture {
        Fixture {
            steps: vec![Step {
                line: "call A {}".to_owned(),
                body: vec![],
                answer: answer.iter().map(|line| (*line).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn recorded_lines_are_replaced_wherever_they_stand() {
        let mut changed = fixture(&["  one", "  1", "  one"]);
        let differences = Differences::parse(LIST, "f.script", false).unwrap();
        differences.apply(&mut changed).unwrap();
        assert_eq!(changed.steps[0].answer, ["  two", "  1", "  two"]);
    }

    #[test]
    fn part_of_a_line_is_replaced_in_every_line() {
        let mut changed = fixture(&["  \"a old b\"", "  old"]);
        let list = "in f.script: own words\n< old\n> new\n";
        let differences = Differences::parse(list, "f.script", false).unwrap();
        differences.apply(&mut changed).unwrap();
        assert_eq!(changed.steps[0].answer, ["  \"a new b\"", "  new"]);
    }

    #[test]
    fn difference_of_a_follower_is_no_other_servers() {
        let list = "in f.script on a follower: one file more\n- 1\n+ 2\n";
        for (on_follower, expected) in [(true, " 2"), (false, " 1")] {
            let mut changed = fixture(&[" 1"]);
            let differences = Differences::parse(list, "f.script", on_follower).unwrap();
            differences.apply(&mut changed).unwrap();
            assert_eq!(changed.steps[0].answer, [expected]);
        }
    }

    #[test]
    fn difference_that_is_found_nowhere_is_out_of_date() {
        let differences = Differences::parse(LIST, "g.script", false).unwrap();
        assert!(differences.apply(&mut fixture(&["  three"])).is_err());
    }

    #[test]
    fn difference_without_a_reason_is_refused() {
        assert!(Differences::parse("in f.script: \n-a\n+b\n", "f.script", false).is_err());
        assert!(Differences::parse("-a\n+b\n", "f.script", false).is_err());
    }
}
