//! Words to commands, usages and exit codes, as the records have them.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use super::*;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn command(words: &'static str) -> Command {
    Command {
        words,
        synopsis: "Does it.",
        error_prefix: "Error: ",
        deadline: Some(Duration::from_secs(1)),
        flags: || {
            FlagSet::new("thing make")
                .boolean("fail", "Fail.")
                .string("size", "", "Size.")
                .alias("big", "size")
        },
        run: |parsed, terminal| {
            Box::pin(async move {
                anyhow::ensure!(!parsed.boolean("fail"), "as asked");
                terminal.line(&format!("made {}", parsed.string("size")));
                Ok(())
            })
        },
    }
}

fn program() -> Program {
    Program {
        name: "prog".to_owned(),
        version: "1.2.3",
        commands: vec![
            command("thing make"),
            command("thing make twice"),
            command("go"),
        ],
    }
}

async fn check(line: &str, code: u8, output: &str, errors: &str) {
    let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let (out, err) = (Page::default(), Page::default());
    let mut terminal = Terminal::new(io::empty(), out.clone(), err.clone());
    let ended = program().execute(&arguments, &mut terminal).await;
    assert_eq!(
        (ended, out.text().as_str(), err.text().as_str()),
        (code, output, errors),
        "{line}"
    );
}

const PROGRAM_HELP: &str = "Usage: prog [--version] [--help] <command> [<args>]

Available commands are:
    go       Does it.
    thing    \n";

const GROUP_HELP: &str = "Usage of thing make:
  -fail
    \tFail.
  -size string
    \tSize.
This command is accessed by using one of the subcommands below.

Subcommands:
    make    Does it.
";

#[tokio::test]
async fn an_unknown_command_prints_the_help_and_ends_with_127() {
    check("", 127, "", PROGRAM_HELP).await;
    check("nosuch", 127, "", PROGRAM_HELP).await;
    check("--help", 0, PROGRAM_HELP, "").await;
    check("--version", 0, "", "1.2.3\n").await;
}

#[tokio::test]
async fn an_incomplete_command_prints_its_group_and_ends_with_1() {
    check("thing", 1, "", GROUP_HELP).await;
    check("thing nosuch", 1, "", GROUP_HELP).await;
    check("thing -h", 0, GROUP_HELP, "").await;
}

#[tokio::test]
async fn the_longest_name_is_the_command() {
    check("thing make -size 3", 0, "made 3\n", "").await;
    check("thing make twice --size=4", 0, "made 4\n", "").await;
    check("thing make trailing", 0, "made \n", "").await;
}

#[tokio::test]
async fn failures_are_told_once_with_their_prefix() {
    check("go -fail", 1, "", "Error: as asked\n").await;
    check("go -bad", 1, "", "flag provided but not defined: -bad\nUsage of thing make:\n  -fail\n    \tFail.\n  -size string\n    \tSize.\n").await;
}

#[tokio::test]
async fn an_old_flag_name_works_with_a_warning() {
    let warning = "Warning: -big is the old name of -size; please use -size\n";
    check("go -big 5", 0, "made 5\n", warning).await;
}
