//! `entry`: registration entries.

mod block;
mod create;
mod delete;
mod description;
mod document;
mod filter;
mod results;
mod show;
mod update;

use daemon::command_line::Command;

pub(super) fn commands() -> [Command; 5] {
    [
        create::command(),
        update::command(),
        show::command(),
        delete::command(),
        show::count_command(),
    ]
}

#[cfg(feature = "fuzzing")]
pub(super) fn reads(document: &[u8]) -> [bool; 2] {
    [
        document::entries(document).is_ok(),
        document::ids(document).is_ok(),
    ]
}
