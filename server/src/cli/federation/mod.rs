//! `federation`: relationships with other trust domains.

mod block;
mod change;
mod delete;
mod description;
mod document;
mod refresh;
mod show;

use daemon::command_line::Command;

pub(super) fn commands() -> [Command; 6] {
    [
        change::create_command(),
        delete::command(),
        show::list_command(),
        refresh::command(),
        show::command(),
        change::update_command(),
    ]
}

#[cfg(feature = "fuzzing")]
pub(super) fn reads(document: &[u8]) -> bool {
    document::relationships(document).is_ok()
}
