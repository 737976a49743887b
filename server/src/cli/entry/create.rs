//! `entry create`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::{
        server::entry::v1::{
            BatchCreateEntryRequest, BatchCreateEntryResponse, entry_client::EntryClient,
        },
        types::Entry,
    },
};

use super::{
    description::{self, Parent},
    results,
};
use crate::cli::{api, status_text::is_ok};

pub(super) fn command() -> Command {
    Command {
        words: "entry create",
        synopsis: "Creates registration entries.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            description::flags(api::flags("entry create"))
                .boolean("node", "The entry groups agents: its parent is the server.")
        },
        run: |parsed, terminal| Box::pin(create(parsed, terminal)),
    }
}

async fn create(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let entries = match description::from_document(parsed, terminal)? {
        Some(entries) => entries,
        None => vec![from_flags(parsed)?],
    };
    let request = BatchCreateEntryRequest {
        entries: entries.clone(),
        output_mask: None,
    };
    let mut client = EntryClient::new(api::connect(parsed).await?);
    let mut response = api::answer(client.batch_create_entry(request).await)?;
    show_refused_as_asked(&mut response, &entries);
    match format {
        OutputFormat::Json => {
            terminal.line(&json::render_message(&response)?);
            Ok(())
        }
        OutputFormat::Pretty => {
            let results = response.results.iter();
            let results = results.map(|result| (result.status.as_ref(), result.entry.as_ref()));
            results::print("create", results, terminal)
        }
    }
}

fn from_flags(parsed: &Parsed) -> anyhow::Result<Entry> {
    let node = parsed.boolean("node");
    description::check(parsed)?;
    anyhow::ensure!(
        node || !parsed.string("parentID").is_empty(),
        "a parent ID is required if the node flag is not set"
    );
    anyhow::ensure!(
        !parsed.string("spiffeID").is_empty(),
        "a SPIFFE ID is required"
    );
    anyhow::ensure!(
        !node || parsed.list("federatesWith").is_empty(),
        "node entries can not federate"
    );
    description::check_times(parsed)?;
    let parent = if node { Parent::Server } else { Parent::Named };
    description::from_flags(parsed, &parent)
}

/// The operator sees what was refused, not what stood in its way.
fn show_refused_as_asked(response: &mut BatchCreateEntryResponse, asked: &[Entry]) {
    for (result, entry) in response.results.iter_mut().zip(asked) {
        if !is_ok(result.status.as_ref()) {
            result.entry = Some(entry.clone());
        }
    }
}
