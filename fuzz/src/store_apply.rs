//! Commands and the state: whatever can be read can be applied, with the same effect on every member.
//!
//! Must hold: no command panics, the hash is that of the rows, the rows are the state, and a command that
//! comes again changes nothing.

use raft_store::fuzzing;

use crate::input::{Input, join};
use crate::store_codec::GOLDEN;

/// How many rows there are to begin with, those rows, then commands.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let count = usize::from(input.byte() % 64);
    let rows: Vec<fuzzing::Row> = (0..count)
        .map(|_| (input.piece().to_vec(), input.piece().to_vec()))
        .collect();
    fuzzing::apply(&rows, &input.pieces(COMMANDS));
}

const COMMANDS: usize = 128;

/// Each golden command alone, all of them in turn, and some on the rows of the others.
pub fn seeds() -> Vec<Vec<u8>> {
    let commands = &GOLDEN.commands;
    let mut seeds: Vec<Vec<u8>> = commands.iter().map(|one| join(&[0], [one])).collect();
    seeds.extend(commands.windows(4).map(|some| join(&[0], some)));
    seeds.push(join(&[0], commands));
    let all: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
    // The newest entry of the position's table is the state's own.
    let rows: Vec<fuzzing::Row> = fuzzing::rows_after(&all).into_iter().take(63).collect();
    let count = u8::try_from(rows.len()).expect("it is below 64");
    let rows = rows.iter().flat_map(|(key, value)| [key, value]);
    let begun = join(&[count], rows);
    seeds.extend(commands.windows(2).map(|some| join(&begun, some)));
    seeds
}
