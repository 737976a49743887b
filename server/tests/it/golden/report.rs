//! What differs between the answers that were expected and those that came, for a person to read.

use std::fmt::Write as _;

use super::fixture::Step;

/// Collects the answers that differ.
#[derive(Debug, Default)]
pub(crate) struct Report {
    text: String,
    differing: usize,
}

impl Report {
    /// Notes the answer to a step.
    pub(crate) fn add(&mut self, step: &Step, answer: &[String]) {
        if step.answer == answer {
            return;
        }
        self.differing += 1;
        let same_before = step
            .answer
            .iter()
            .zip(answer)
            .take_while(|(expected, came)| expected == came)
            .count();
        let same_after = step.answer[same_before..]
            .iter()
            .rev()
            .zip(answer[same_before..].iter().rev())
            .take_while(|(expected, came)| expected == came)
            .count();
        writeln!(self.text, "{}", shortened(&step.line)).expect("a String takes every write");
        for (sign, lines) in [('-', step.answer.as_slice()), ('+', answer)] {
            for line in &lines[same_before..lines.len() - same_after] {
                writeln!(self.text, "{sign}{line}").expect("a String takes every write");
            }
        }
    }

    /// Fails if an answer differed.
    pub(crate) fn finish(self, name: &str) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.differing == 0,
            "{name}: {} answers differ from the record (- expected, + came)\n{}",
            self.differing,
            self.text
        );
        Ok(())
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[test]
fn only_the_lines_that_differ_are_shown() {
    let lines =
        |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let step = Step {
        line: "call A {}".to_owned(),
        body: vec![],
        answer: lines(&["  OK", "  a", "  z"]),
    };
    let mut report = Report::default();
    report.add(&step, &lines(&["  OK", "  b", "  c", "  z"]));
    assert_eq!(report.text, "call A {}\n-  a\n+  b\n+  c\n");
    assert!(report.finish("f").is_err());

    let mut same = Report::default();
    same.add(&step, &step.answer);
    assert!(same.finish("f").is_ok());
}
