//! Runs the lines of a `*.cli`: command lines of operators and workloads.
//!
//! ```text
//! start server | agent
//! server ARGS, agent ARGS                 with the flag for the socket behind them
//! server-nosock ARGS, agent-nosock ARGS   as they are
//! sh COMMAND
//! file NAME <<END … END                   writes a file
//! keep NAME REGEX                         keeps the first group, found in the last output
//! wait SECONDS                            what follows may take that long to come true
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use regex::RegexBuilder;

use super::command_mask::masked;
use super::fixture::Step;
use super::world::World;

/// The state of running commands.
pub(crate) struct Commands {
    pub(crate) world: World,
    kept: BTreeMap<String, String>,
    last_output: String,
}

impl Commands {
    /// Nothing runs yet.
    pub(crate) fn new(world: World) -> Self {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let kept = [
            ("serverbin".to_owned(), text(&world.server_binary)),
            ("agentbin".to_owned(), text(&world.agent_binary)),
        ];
        Self {
            world,
            kept: kept.into(),
            last_output: String::new(),
        }
    }

    /// Carries out a step; returns the answer's lines.
    pub(crate) async fn step(&mut self, step: &Step) -> anyhow::Result<Vec<String>> {
        let (word, rest) = step.line.split_once(' ').unwrap_or((&step.line, ""));
        let rest = self.expand(rest);
        match word {
            "start" if rest == "server" => self.world.start_server().await?,
            "start" if rest == "agent" => self.world.start_agent().await?,
            "keep" => self.keep(&rest)?,
            "file" => self.write(&rest, &step.body)?,
            "#" | "wait" => {}
            "sh" => return self.run(Path::new("sh"), vec!["-c".to_owned(), rest]).await,
            "server" | "server-nosock" | "agent" | "agent-nosock" => {
                return self.command(word, &rest).await;
            }
            _ => bail!("unknown line"),
        }
        Ok(Vec::new())
    }

    async fn command(&mut self, word: &str, rest: &str) -> anyhow::Result<Vec<String>> {
        let (binary, socket) = if word.starts_with("server") {
            (self.world.server_binary.clone(), self.world.server_socket())
        } else {
            (self.world.agent_binary.clone(), self.world.agent_socket())
        };
        let mut arguments = split_words(rest);
        if !word.ends_with("-nosock") {
            arguments.push("-socketPath".to_owned());
            arguments.push(socket.to_string_lossy().into_owned());
        }
        self.run(&binary, arguments).await
    }

    async fn run(&mut self, program: &Path, arguments: Vec<String>) -> anyhow::Result<Vec<String>> {
        let output = self.world.run(program, &arguments).await?;
        let mut lines = Vec::new();
        for (name, text) in [("out", &output.stdout), ("err", &output.stderr)] {
            let text = masked(&self.world, &self.kept, text);
            if !text.is_empty() {
                lines.push(format!("  {name}:"));
                let text = text.trim_end_matches('\n');
                lines.extend(text.split('\n').map(|line| format!("  | {line}")));
            }
        }
        lines.push(format!("  exit {}", output.code));
        self.last_output = output.stdout + &output.stderr;
        Ok(lines)
    }

    fn keep(&mut self, rest: &str) -> anyhow::Result<()> {
        let (name, pattern) = rest.split_once(' ').context("keep NAME REGEX")?;
        let pattern = RegexBuilder::new(pattern).build()?;
        let found = pattern.captures(&self.last_output);
        let value = found.and_then(|found| Some(found.get(1)?.as_str().to_owned()));
        self.kept.insert(name.to_owned(), value.unwrap_or_default());
        Ok(())
    }

    fn write(&self, rest: &str, body: &[String]) -> anyhow::Result<()> {
        let (name, _) = rest.split_once(' ').context("file NAME <<END")?;
        let lines: String = body.iter().flat_map(|line| [line, "\n"]).collect();
        let path = self.world.path("files").join(name);
        Ok(fs::write(path, self.expand(&lines))?)
    }

    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.kept {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        text.replace("${dir}", &self.world.path("").to_string_lossy())
    }
}

/// Words as a shell splits them: blanks between, quotes around and backslashes within.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().extend(characters.next());
            }
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(
        split_words(r#"a  -b "c d" '' e\ f 'g"h'"#),
        ["a", "-b", "c d", "", "e f", "g\"h"]
    );
}
