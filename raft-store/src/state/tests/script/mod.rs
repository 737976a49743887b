//! The script language: one command a line, `----`, then the answer and the revision.
//!
//! Words are separated by spaces; `name=value` words are options. Time is `at=`, 1000 unless told;
//! the place in the log is `index=`, 0 unless told.
//! `again` repeats the command before it with the same request id.

mod answer;
mod authorities;
mod bundles;
mod entries;
mod line;
mod members;

use std::fmt::Write as _;

use identity::clock::UnixTime;

use self::answer::brief;
use self::line::Line;
use crate::command::{Command, Envelope, RequestId};
use crate::state::State;

/// Runs a script and compares, or with `REWRITE=1`, records.
pub(super) fn check(name: &str, script: &str) {
    let actual = run(script);
    if std::env::var_os("REWRITE").is_some() {
        let path = format!(
            "{}/src/state/tests/scripts/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::write(path, actual).unwrap();
    } else {
        assert_eq!(actual, script, "REWRITE=1 records the answers anew");
    }
}

fn run(script: &str) -> String {
    let mut state = State::default();
    let mut last: Option<(u64, Envelope)> = None;
    let mut actual = String::new();
    let mut is_answer = false;
    for (number, line) in (0_u128..).zip(script.lines()) {
        match line {
            "" => {
                is_answer = false;
                actual.push('\n');
            }
            _ if is_answer => {}
            "----" => {
                is_answer = true;
                actual.push_str("----\n");
                let (index, envelope) = last.as_ref().expect("a command before its answer");
                let applied = state.apply(*index, envelope);
                let revision = state.revision();
                writeln!(actual, "{}, revision {revision}", brief(&applied.outcome)).unwrap();
            }
            _ => {
                writeln!(actual, "{line}").unwrap();
                if !line.starts_with('#') && line != "again" {
                    last = Some(parse(line, number));
                }
            }
        }
    }
    actual
}

/// The command of one line, and its place in the log.
pub(super) fn parse(text: &str, number: u128) -> (u64, Envelope) {
    let (options, words) = text
        .split(' ')
        .partition::<Vec<_>, _>(|word| word.contains('='));
    let options = options.iter().map(|word| word.split_once('=').unwrap());
    let line = Line {
        words,
        options: options.collect(),
    };
    let envelope = Envelope {
        request_id: RequestId::from_bytes(number.to_be_bytes()),
        at: UnixTime::from_secs(line.number("at").unwrap_or(1000)),
        command: command(&line),
    };
    (line.unsigned("index").unwrap_or(0), envelope)
}

/// Each of these has the words of what it is about.
fn command(line: &Line<'_>) -> Command {
    let about = [
        entries::command,
        entries::agent_command,
        bundles::command,
        bundles::federation_command,
        members::command,
        authorities::key_command,
        authorities::upstream_command,
        authorities::command,
    ];
    let command = about.iter().find_map(|command| command(line));
    command.unwrap_or_else(|| panic!("unknown command {}", line.word(0)))
}
