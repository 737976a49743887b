//! What each format looks like, byte by byte, and what it means: the state that its commands lead
//! to.
//!
//! A file is of the first program that wrote its format and stays: a later program that reads it
//! otherwise breaks clusters that exist. `REWRITE=2` writes that of format 2 anew, for a format that
//! no release has yet.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use identity::hex;

use super::script::parse;
use crate::codec::{decode_envelope, encode_envelope, wire};
use crate::command::{Command, Envelope, RequestId};
use crate::state::{Loader, State, TableId};

const FORMAT_1: &str = include_str!("golden/format_1.txt");
const FORMAT_2: &str = include_str!("golden/format_2.txt");

/// A file of commands, each with its bytes, then the rows that they lead to, then the hash.
struct Golden<'a> {
    commands: Vec<(&'a str, &'a str)>,
    rows: Vec<&'a str>,
    hash: &'a str,
}

fn read(file: &str) -> Golden<'_> {
    let mut golden = Golden {
        commands: Vec::new(),
        rows: Vec::new(),
        hash: "",
    };
    let mut command = "";
    for line in file.lines() {
        match line.split_once(' ') {
            Some(("=", bytes)) => golden.commands.push((command, bytes)),
            Some(("row", row)) => golden.rows.push(row),
            Some(("hash", hash)) => golden.hash = hash,
            Some(("#", _)) | None => {}
            Some(_) => command = line,
        }
    }
    golden
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The rows on disk after these commands, and the state in memory.
fn apply(commands: &[&str]) -> (BTreeMap<Box<[u8]>, Vec<u8>>, State) {
    let mut rows = BTreeMap::new();
    let mut state = State::default();
    for (number, line) in (0_u128..).zip(commands) {
        let (index, envelope) = parse(line, number);
        for row in state.apply(index, &envelope).rows {
            match row.value {
                Some(value) => rows.insert(row.key, value),
                None => rows.remove(&row.key),
            };
        }
    }
    (rows, state)
}

fn shown(rows: &BTreeMap<Box<[u8]>, Vec<u8>>) -> Vec<String> {
    let rows = rows.iter();
    rows.map(|(key, value)| format!("{} {}", hex::lower(key), hex::lower(value)))
        .collect()
}

fn rewrite(format: u32, golden: &Golden<'_>) {
    let mut text =
        format!("# Format {format}: commands with their bytes, rows, hash of the state.\n");
    let lines: Vec<&str> = golden.commands.iter().map(|(line, _)| *line).collect();
    for (number, line) in (0_u128..).zip(&lines) {
        let (_, envelope) = parse(line, number);
        writeln!(
            text,
            "{line}\n= {}",
            hex::lower(&encode_envelope(&envelope))
        )
        .unwrap();
    }
    let (rows, state) = apply(&lines);
    for row in shown(&rows) {
        writeln!(text, "row {row}").unwrap();
    }
    writeln!(text, "hash {}", state.state_hash()).unwrap();
    let path = format!("src/state/tests/golden/format_{format}.txt");
    std::fs::write(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
}

#[test]
fn commands_of_format_1_have_their_bytes_and_their_meaning() {
    check(1, FORMAT_1);
}

/// With those of format 1 that they need.
#[test]
fn commands_of_format_2_have_their_bytes_and_their_meaning() {
    check(2, FORMAT_2);
}

fn check(format: u32, file: &str) {
    let golden = read(file);
    if std::env::var_os("REWRITE").is_some_and(|asked| *asked == *format.to_string()) {
        rewrite(format, &golden);
        return;
    }
    let mut seen = Vec::new();
    for (number, (line, bytes)) in (0_u128..).zip(&golden.commands) {
        let (_, envelope) = parse(line, number);
        assert_eq!(hex::lower(&encode_envelope(&envelope)), *bytes, "{line}");
        assert_eq!(decode_envelope(&unhex(bytes)).unwrap(), envelope, "{line}");
        assert!(envelope.command.format() <= format, "{line}");
        seen.push(envelope.command.name());
    }
    let missing: Vec<_> = Command::NAMES
        .iter()
        .filter(|(name, of)| *of == format && !seen.contains(name))
        .collect();
    assert!(missing.is_empty(), "no golden bytes of {missing:?}");

    let lines: Vec<&str> = golden.commands.iter().map(|(line, _)| *line).collect();
    let (rows, state) = apply(&lines);
    assert_eq!(shown(&rows), golden.rows);
    assert_eq!(state.state_hash().to_string(), golden.hash);
}

#[test]
fn rows_of_format_1_load() {
    let (mut state, mut loaded, tables) = load(FORMAT_1);
    assert_eq!(
        tables,
        (2..=12).collect::<Vec<u8>>(),
        "a table without a golden row"
    );
    assert!(state.entry_count() > 0);
    for (_, entry) in state.entries_after(None) {
        let (parent, spiffe_id) = (&entry.parent_id, &entry.spiffe_id);
        assert_eq!(loaded.entry(&entry.id), Some(entry));
        let siblings = state.entries_by_parent(parent, None);
        assert!(loaded.entries_by_parent(parent, None).eq(siblings));
        let namesakes = state.entries_by_spiffe_id(spiffe_id, None);
        assert!(loaded.entries_by_spiffe_id(spiffe_id, None).eq(namesakes));
    }
    // What similarity, federation and ends are looked up in is the same, too.
    for line in [
        "create twin spiffe=web parent=host sel=unix:uid:1,k8s:ns:default",
        "create ally spiffe=ally parent=host sel=a:b federates=partner.example",
        "prune-entries before=6000",
        "delete-bundle partner.example delete",
    ] {
        same_outcome(&mut state, &mut loaded, line);
    }
}

#[test]
fn rows_of_format_2_load() {
    let (mut state, mut loaded, tables) = load(FORMAT_2);
    assert_eq!(
        tables.last_chunk(),
        Some(&[13, 14]),
        "a table without a golden row"
    );
    for line in [
        "successor root e",
        "revoke root b",
        "federate partner.example url=https://a.example/",
        "separate partner.example",
        "prepare-upstream v2 issuer=v chain=x roots=v",
        "keep-acme certificate c instead-of=b",
        "keep-acme certificate d instead-of=b",
        "redeem t serial=3 key=other",
        "redeem t serial=3 key=k",
    ] {
        same_outcome(&mut state, &mut loaded, line);
    }
}

/// Both go on alike.
fn same_outcome(state: &mut State, loaded: &mut State, line: &str) {
    let (index, envelope) = parse(line, 1 << 64);
    let envelope = Envelope {
        request_id: RequestId::random(),
        ..envelope
    };
    let outcome = state.apply(index, &envelope).outcome;
    assert_eq!(loaded.apply(index, &envelope).outcome, outcome, "{line}");
    assert_eq!(loaded.position(), state.position(), "{line}");
}

/// The state that the commands of a file lead to, the one that its rows make, and their tables.
fn load(file: &str) -> (State, State, Vec<u8>) {
    let golden = read(file);
    let lines: Vec<&str> = golden.commands.iter().map(|(line, _)| *line).collect();
    let (_, state) = apply(&lines);
    let mut tables = Vec::new();
    let mut loader = Loader::default();
    for row in &golden.rows {
        let (key, value) = row.split_once(' ').unwrap();
        let key = unhex(key);
        loader.row(&key, &unhex(value)).unwrap();
        tables.push(key[0]);
    }
    tables.dedup();
    let (revision, sequence, hash) = state.position();
    let position = wire::Position {
        revision: revision.as_u64(),
        sequence: sequence.as_u64(),
        state_hash: hash.as_bytes().to_vec(),
        ..Default::default()
    };
    let position = prost::Message::encode_to_vec(&position);
    loader
        .row(&TableId::Position.row_key(&[]), &position)
        .unwrap();
    let loaded = loader.finish().unwrap();
    assert_eq!(loaded.position(), state.position());
    (state, loaded, tables)
}
