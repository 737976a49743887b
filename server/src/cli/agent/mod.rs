//! `agent`: attested agents.

mod block;
mod filter;
mod list;
mod purge;
mod remove;

use daemon::command_line::Command;

pub(super) fn commands() -> [Command; 6] {
    [
        list::command(),
        list::show_command(),
        list::count_command(),
        remove::ban_command(),
        remove::evict_command(),
        purge::command(),
    ]
}
