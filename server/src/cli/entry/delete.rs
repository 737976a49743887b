//! `entry delete`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::entry::v1::{
        BatchDeleteEntryRequest, BatchDeleteEntryResponse, entry_client::EntryClient,
    },
};

use super::{description::read_document, document};
use crate::cli::{
    api,
    status_text::{code_and_message, is_ok},
};

pub(super) fn command() -> Command {
    Command {
        words: "entry delete",
        synopsis: "Deletes registration entries.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("entry delete")
                .string("entryID", "", "ID of the entry.")
                .string(
                    "file",
                    "",
                    "File with the ids of entries in JSON, {\"ids\":[…]}; - for standard input.",
                )
        },
        run: |parsed, terminal| Box::pin(delete(parsed, terminal)),
    }
}

async fn delete(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let ids = match (parsed.string("file"), parsed.string("entryID")) {
        ("", "") => Vec::new(),
        ("", id) => vec![id.to_owned()],
        (path, _) => document::ids(&read_document(path, terminal)?)?,
    };
    anyhow::ensure!(!ids.is_empty(), "an entry ID is required");
    let mut client = EntryClient::new(api::connect(parsed).await?);
    let request = BatchDeleteEntryRequest { ids };
    let response = api::answer(client.batch_delete_entry(request).await)?;
    match format {
        OutputFormat::Json => {
            terminal.line(&json::render_message(&response)?);
            Ok(())
        }
        OutputFormat::Pretty => print(&response, terminal),
    }
}

fn print(response: &BatchDeleteEntryResponse, terminal: &mut Terminal) -> anyhow::Result<()> {
    let (deleted, refused): (Vec<_>, Vec<_>) = response
        .results
        .iter()
        .partition(|result| is_ok(result.status.as_ref()));
    for result in &deleted {
        terminal.line(&format!("Deleted entry with ID: {}", result.id));
    }
    if !deleted.is_empty() {
        terminal.print("\n\n");
    }
    for result in &refused {
        terminal.error_line(&format!(
            "Failed to delete entry with ID {} ({})",
            result.id,
            code_and_message(result.status.as_ref())
        ));
    }
    if refused.is_empty() {
        terminal.print(&format!("Deleted {} entries successfully", deleted.len()));
        return Ok(());
    }
    terminal.print("\n\n");
    terminal.print(&match deleted.len() {
        0 => format!("Failed to delete {} entries", refused.len()),
        count => format!(
            "Deleted {count} entries successfully, but failed to delete {} entries",
            refused.len()
        ),
    });
    anyhow::bail!("failed to delete one or more entries")
}
