//! What became of a batch of entries, as `entry create` and `entry update` print it.

use daemon::command_line::Terminal;
use proto::spire::api::types::{Entry, Status};

use super::block::block;
use crate::cli::status_text::{code_and_message, is_ok};

/// How one entry fared: as stored, or as asked for if it was refused.
pub(super) type Fared<'a> = (Option<&'a Status>, Option<&'a Entry>);

/// Prints what went well, then what did not.
///
/// # Errors
/// Something did not.
pub(super) fn print<'a>(
    verb: &str,
    results: impl Iterator<Item = Fared<'a>>,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let (done, refused): (Vec<_>, Vec<_>) = results.partition(|(status, _)| is_ok(*status));
    for (_, entry) in done {
        terminal.print(&entry.map(block).unwrap_or_default());
    }
    for (status, entry) in &refused {
        terminal.error_line(&format!(
            "Failed to {verb} the following entry ({}):",
            code_and_message(*status)
        ));
        terminal.error_print(&entry.map(block).unwrap_or_default());
    }
    anyhow::ensure!(refused.is_empty(), "failed to {verb} one or more entries");
    Ok(())
}
