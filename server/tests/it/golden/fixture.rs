//! Recorded conversations: what was asked, line by line, and what came back.
//!
//! A line that begins with two blanks is part of an answer; every other line is input. The lines of
//! a `file NAME <<END` up to `END` belong to that one input.

use std::path::PathBuf;

use anyhow::Context as _;
use regex::Regex;

/// A recorded conversation.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) steps: Vec<Step>,
}

/// One input and its recorded answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Step {
    /// The command, or a comment.
    pub(crate) line: String,
    /// The lines of a file to write.
    pub(crate) body: Vec<String>,
    /// The answer, with its two blanks.
    pub(crate) answer: Vec<String>,
}

impl Fixture {
    /// Reads one of the fixtures beside these tests.
    pub(crate) fn load(name: &str) -> anyhow::Result<Self> {
        let path = folder().join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // The records were made by root; whoever runs them here is that workload.
        let root = Regex::new(r"\buid:0\b")?;
        let own = format!("uid:{}", rustix::process::getuid().as_raw());
        Ok(Self {
            steps: parse(&root.replace_all(&text, own)),
        })
    }
}

/// Where the fixtures are.
pub(crate) fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"]
        .iter()
        .collect()
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match steps.last_mut() {
            Some(step) if line.starts_with("  ") => step.answer.push(line.to_owned()),
            _ => steps.push(Step {
                line: line.to_owned(),
                body: if line.starts_with("file ") {
                    lines
                        .by_ref()
                        .take_while(|line| *line != "END")
                        .map(str::to_owned)
                        .collect()
                } else {
                    Vec::new()
                },
                answer: Vec::new(),
            }),
        }
    }
    steps
}

#[test]
fn answers_belong_to_the_line_above_them() {
    let steps = parse("# x\ncall A.B {}\n  OK\n  {}\nfile f <<END\na\n  b\nEND\nwait 2s\n");
    let summary: Vec<_> = steps
        .iter()
        .map(|step| (step.line.as_str(), step.body.len(), step.answer.len()))
        .collect();
    assert_eq!(
        summary,
        [
            ("# x", 0, 0),
            ("call A.B {}", 0, 2),
            ("file f <<END", 2, 0),
            ("wait 2s", 0, 0),
        ]
    );
}
