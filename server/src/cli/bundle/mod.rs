//! `bundle`: the own and federated trust bundles.

mod delete;
mod format;
mod set;
mod show;

use daemon::command_line::Command;

pub(super) use self::format::BundleFormat;

pub(super) fn commands() -> [Command; 5] {
    [
        show::command(),
        show::list_command(),
        show::count_command(),
        set::command(),
        delete::command(),
    ]
}
