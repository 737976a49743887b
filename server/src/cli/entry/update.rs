//! `entry update`: replaces all of an entry.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::{
        server::entry::v1::{BatchUpdateEntryRequest, GetEntryRequest, entry_client::EntryClient},
        types::{Entry, EntryMask},
    },
};
use tonic::transport::Channel;

use super::{
    description::{self, Parent},
    results,
};
use crate::cli::{api, status_text::is_ok};

pub(super) fn command() -> Command {
    Command {
        words: "entry update",
        synopsis: "Replaces registration entries.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || description::flags(api::flags("entry update")),
        run: |parsed, terminal| Box::pin(update(parsed, terminal)),
    }
}

async fn update(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let document = description::from_document(parsed, terminal)?;
    let described = match document {
        Some(_) => None,
        None => Some(from_flags(parsed)?),
    };
    let mut client = EntryClient::new(api::connect(parsed).await?);
    let entries = match described {
        Some(entry) => vec![with_kept_attributes(entry, parsed, &mut client).await?],
        None => document.unwrap_or_default(),
    };
    let request = BatchUpdateEntryRequest {
        entries: entries.clone(),
        input_mask: None,
        output_mask: None,
    };
    let mut response = api::answer(client.batch_update_entry(request).await)?;
    for (result, entry) in response.results.iter_mut().zip(entries) {
        if !is_ok(result.status.as_ref()) {
            result.entry = Some(entry);
        }
    }
    match format {
        OutputFormat::Json => {
            terminal.line(&json::render_message(&response)?);
            Ok(())
        }
        OutputFormat::Pretty => {
            let results = response.results.iter();
            let results = results.map(|result| (result.status.as_ref(), result.entry.as_ref()));
            results::print("update", results, terminal)
        }
    }
}

fn from_flags(parsed: &Parsed) -> anyhow::Result<Entry> {
    anyhow::ensure!(!parsed.string("entryID").is_empty(), "entry ID is required");
    description::check(parsed)?;
    anyhow::ensure!(
        !parsed.string("parentID").is_empty(),
        "a parent ID is required"
    );
    anyhow::ensure!(
        !parsed.string("spiffeID").is_empty(),
        "a SPIFFE ID is required"
    );
    description::check_times(parsed)?;
    description::from_flags(parsed, &Parent::Named)
}

/// One attribute's flag leaves the other attribute as it is.
async fn with_kept_attributes(
    entry: Entry,
    parsed: &Parsed,
    client: &mut EntryClient<Channel>,
) -> anyhow::Result<Entry> {
    if !description::names_attributes(parsed) {
        return Ok(entry);
    }
    let request = GetEntryRequest {
        id: entry.id.clone(),
        output_mask: Some(EntryMask {
            additional_attributes: true,
            ..EntryMask::default()
        }),
    };
    let before = api::answer(client.get_entry(request).await)
        .with_context(|| format!("error fetching entry ID {}", entry.id))?;
    let before = before.additional_attributes.unwrap_or_default();
    Ok(Entry {
        additional_attributes: description::attributes(parsed, before),
        ..entry
    })
}
