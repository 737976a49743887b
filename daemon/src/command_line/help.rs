//! Help texts for a whole program and for a group of commands.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Command, Program};

/// The commands by their first word.
pub(super) fn program_help(program: &Program) -> String {
    let children = children(program, "");
    let mut text = format!(
        "Usage: {} [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n",
        program.name
    );
    list(&mut text, &children);
    text
}

/// The flags of the group's commands, then their names.
pub(super) fn group_help(program: &Program, group: &str) -> String {
    let children = children(program, group);
    let mut text = String::new();
    for command in children.values().flatten() {
        text.push_str(&(command.flags)().usage());
    }
    text.push_str(
        "This command is accessed by using one of the subcommands below.\n\nSubcommands:\n",
    );
    list(&mut text, &children);
    text
}

/// The words that can follow `group`, each with its command if the command ends there.
fn children<'a>(program: &'a Program, group: &str) -> BTreeMap<&'a str, Option<&'a Command>> {
    let mut children: BTreeMap<_, Option<&Command>> = BTreeMap::new();
    for command in &program.commands {
        let Some(rest) = command.words.strip_prefix(group) else {
            continue;
        };
        let rest = match (group.is_empty(), rest.strip_prefix(' ')) {
            (true, _) => rest,
            (false, Some(rest)) => rest,
            (false, None) => continue,
        };
        let (word, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let child = children.entry(word).or_default();
        if more.is_empty() {
            *child = Some(command);
        }
    }
    children
}

fn list(text: &mut String, children: &BTreeMap<&str, Option<&Command>>) {
    let width = children.keys().map(|word| word.len()).max().unwrap_or(0);
    for (word, command) in children {
        let synopsis = command.map_or("", |command| command.synopsis);
        writeln!(text, "    {word:width$}    {synopsis}").expect("a String takes every write");
    }
}
