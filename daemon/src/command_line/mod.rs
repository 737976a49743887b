//! The command lines of both binaries: a table of commands found by their words, help texts, exit codes, and what
//! their commands share: where to print, `-output`, the socket to talk to and how a gRPC error reads.
//!
//! Words, texts and exit codes are SPIRE's, because scripts rely on them: 0 when all went well, 1 for a failure or
//! a wrong flag, 127 for an unknown command. Nothing here knows a SPIFFE type.

mod dial;
mod help;
mod os_error;
mod output;
mod rpc_error;
mod socket;
mod terminal;
mod time_text;
mod written_file;

use std::{future::Future, pin::Pin, time::Duration};

use self::help::{group_help, program_help};
pub use self::{
    dial::{DialTarget, dial},
    os_error::{errno_text, path_error_text},
    output::OutputFormat,
    rpc_error::{RpcError, code_name},
    socket::SocketChoice,
    terminal::Terminal,
    time_text::{rfc3339_text, utc_text},
    written_file::{Readers, write_file},
};
use crate::flags::{FlagError, FlagSet, Parsed};

/// One command of a program.
pub struct Command {
    /// The words that select it, as in `entry create`.
    pub words: &'static str,
    /// One line that says what it does.
    pub synopsis: &'static str,
    /// Stands before an error: `Error: ` for the commands that scripts know with it, else nothing.
    pub error_prefix: &'static str,
    /// The command is given up after this time; without it, it may run for ever.
    pub deadline: Option<Duration>,
    /// The flags it takes.
    pub flags: fn() -> FlagSet,
    /// What it does.
    pub run: for<'a> fn(&'a Parsed, &'a mut Terminal) -> Execution<'a>,
}

/// A command at work. Its error is shown with its causes, separated by colons.
pub type Execution<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// The commands of one binary.
pub struct Program {
    /// As users know it: the name it was called by.
    pub name: String,
    /// What `--version` prints.
    pub version: &'static str,
    /// All commands, in any order.
    pub commands: Vec<Command>,
}

/// Everything went well.
pub const SUCCESS: u8 = 0;
/// The command failed or its flags were wrong.
pub const FAILURE: u8 = 1;
/// There is no such command.
pub const UNKNOWN_COMMAND: u8 = 127;

enum Selection<'a> {
    Version,
    Help,
    GroupHelp(&'a str),
    Command(&'a Command, &'a [String]),
    IncompleteGroup(String),
    Unknown,
}

impl Program {
    /// Runs what `arguments` (without the program's own name) ask for and answers the exit code.
    pub async fn execute(&self, arguments: &[String], terminal: &mut Terminal) -> u8 {
        match self.select(arguments) {
            Selection::Version => {
                terminal.error_line(self.version);
                SUCCESS
            }
            Selection::Help => {
                terminal.print(&program_help(self));
                SUCCESS
            }
            Selection::GroupHelp(group) => {
                terminal.print(&group_help(self, group));
                SUCCESS
            }
            Selection::IncompleteGroup(group) => {
                terminal.error_print(&group_help(self, &group));
                FAILURE
            }
            Selection::Unknown => {
                terminal.error_print(&program_help(self));
                UNKNOWN_COMMAND
            }
            Selection::Command(command, flags) => run_command(command, flags, terminal).await,
        }
    }

    /// The longest command or group whose words the arguments begin with.
    fn select<'a>(&'a self, arguments: &'a [String]) -> Selection<'a> {
        match arguments.first().map(String::as_str) {
            None => return Selection::Unknown,
            Some("-v" | "-version" | "--version") => return Selection::Version,
            Some("-h" | "-help" | "--help") => return Selection::Help,
            Some(_) => {}
        }
        let words = arguments.iter().take_while(|word| !word.starts_with('-'));
        for length in (1..=words.count()).rev() {
            let (words, rest) = arguments.split_at(length);
            let words = words.join(" ");
            if let Some(command) = self.commands.iter().find(|c| c.words == words) {
                return Selection::Command(command, rest);
            }
            let Some(group) = self.group(&words) else {
                continue;
            };
            let wants_help = matches!(
                rest.first().map(String::as_str),
                Some("-h" | "-help" | "--help")
            );
            return if wants_help {
                Selection::GroupHelp(group)
            } else {
                Selection::IncompleteGroup(words)
            };
        }
        Selection::Unknown
    }

    /// `words` as the table spells them, if they are the first words of longer commands.
    fn group(&self, words: &str) -> Option<&str> {
        self.commands.iter().find_map(|command| {
            let rest = command.words.strip_prefix(words)?;
            rest.starts_with(' ').then(|| &command.words[..words.len()])
        })
    }
}

async fn run_command(command: &Command, arguments: &[String], terminal: &mut Terminal) -> u8 {
    let parsed = match (command.flags)().parse(arguments) {
        Ok(parsed) => parsed,
        Err(FlagError::Help { usage }) => {
            terminal.print(&usage);
            return SUCCESS;
        }
        Err(error @ FlagError::Invalid { .. }) => {
            terminal.error_print(&error.report());
            return FAILURE;
        }
    };
    for (alias, name) in parsed.aliases_used() {
        terminal.error_line(&format!(
            "Warning: -{alias} is the old name of -{name}; please use -{name}"
        ));
    }
    let outcome = match command.deadline {
        None => (command.run)(&parsed, terminal).await,
        Some(deadline) => tokio::time::timeout(deadline, (command.run)(&parsed, terminal))
            .await
            .unwrap_or_else(|_elapsed| Err(RpcError::deadline_exceeded().into())),
    };
    match outcome {
        Ok(()) => SUCCESS,
        Err(error) => {
            terminal.error_line(&format!("{}{error:#}", command.error_prefix));
            FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
