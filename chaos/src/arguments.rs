//! The command line of `chaos`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// What a run was told.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The scenario's name.
    pub scenario: String,
    /// The server's binary; beside our own unless given.
    pub server: PathBuf,
    /// The agent's binary; beside our own unless given.
    pub agent: PathBuf,
    /// A server of the next command format, for the runs that upgrade to it.
    pub next: Option<PathBuf>,
    /// How often a fault comes; the scenario's own number unless given.
    pub rounds: Option<u32>,
    /// How long a phase takes; the scenario's own time unless given.
    pub seconds: Option<u64>,
    /// What the choices of the run come from.
    pub seed: u64,
    /// Where everything is kept; a temporary folder that goes with the run unless given.
    pub folder: Option<PathBuf>,
    /// How the report is printed.
    pub output: Output,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// For people.
    Pretty,
    /// One JSON object on one line.
    Json,
}

/// How `chaos` is called.
pub const USAGE: &str = "\
usage: chaos SCENARIO [--server PATH] [--agent PATH] [--next PATH] [--rounds N] [--seconds S] [--seed N]
                      [--dir FOLDER] [--output pretty|json]

Starts real servers and agents, does something bad to them, checks what their clients were told, and prints
figures. Exits with 1 when a promise was broken or the fault did not bite. The binaries are those beside this
program unless given; that of --next is a server of the next command format (built with --features next-format).
A folder given with --dir is kept, a temporary one is not.
";

impl Arguments {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// A word is unknown, lacks its value, or the value is none of its kind.
    pub fn parse(words: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let mut words = words.into_iter();
        let scenario = words.next().context("no scenario named")?;
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let mut arguments = Self {
            scenario,
            server: own.with_file_name("conclave-server"),
            agent: own.with_file_name("conclave-agent"),
            next: None,
            rounds: None,
            seconds: None,
            seed: 1,
            folder: None,
            output: Output::Pretty,
        };
        while let Some(flag) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{flag} lacks its value"))?;
            arguments.set(&flag, value)?;
        }
        Ok(arguments)
    }

    fn set(&mut self, flag: &str, value: String) -> anyhow::Result<()> {
        let wrong = || format!("{flag} {value}: not a number");
        match flag {
            "--server" => self.server = std::path::absolute(value)?,
            "--next" => self.next = Some(std::path::absolute(value)?),
            "--agent" => self.agent = std::path::absolute(value)?,
            "--dir" => self.folder = Some(std::path::absolute(value)?),
            "--rounds" => self.rounds = Some(value.parse().with_context(wrong)?),
            "--seconds" => self.seconds = Some(value.parse().with_context(wrong)?),
            "--seed" => self.seed = value.parse().with_context(wrong)?,
            "--output" => {
                self.output = match value.as_str() {
                    "pretty" => Output::Pretty,
                    "json" => Output::Json,
                    _ => bail!("--output {value}: must be pretty or json"),
                };
            }
            _ => bail!("unknown flag {flag}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Arguments> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read() {
        let read = parse("leader-kill --rounds 3 --seed 9 --output json --server /x/s").unwrap();
        assert_eq!(read.scenario, "leader-kill");
        assert_eq!(
            (read.rounds, read.seed, read.output),
            (Some(3), 9, Output::Json)
        );
        assert_eq!(read.server, PathBuf::from("/x/s"));
        assert_eq!(read.agent.file_name().unwrap(), "conclave-agent");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text| parse(text).unwrap_err().to_string();
        assert_eq!(error(""), "no scenario named");
        assert_eq!(error("x --rounds"), "--rounds lacks its value");
        assert_eq!(error("x --rounds many"), "--rounds many: not a number");
        assert_eq!(error("x --nope 1"), "unknown flag --nope");
        assert_eq!(
            error("x --output yaml"),
            "--output yaml: must be pretty or json"
        );
    }
}
