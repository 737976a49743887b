//! `entry show` and `entry count`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::{
        server::entry::v1::{
            CountEntriesRequest, GetEntryRequest, ListEntriesRequest, ListEntriesResponse,
            entry_client::EntryClient, list_entries_request,
        },
        types::Entry,
    },
};

use super::{block::block, filter};
use crate::cli::{api, quantity::quantity, shared_flags::spiffe_id_text};

const PAGE_SIZE: i32 = 500;

pub(super) fn command() -> Command {
    Command {
        words: "entry show",
        synopsis: "Shows registration entries.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            filter::flags(api::flags("entry show")).string("entryID", "", "The entry with this ID.")
        },
        run: |parsed, terminal| Box::pin(show(parsed, terminal)),
    }
}

pub(super) fn count_command() -> Command {
    Command {
        words: "entry count",
        synopsis: "Counts registration entries.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || filter::flags(api::flags("entry count")),
        run: |parsed, terminal| Box::pin(count(parsed, terminal)),
    }
}

async fn show(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("entryID");
    anyhow::ensure!(
        id.is_empty() || !filter::is_set(parsed),
        "the -entryID flag can't be combined with others"
    );
    let mut entries = if id.is_empty() {
        let filter = filter::filter(parsed)?;
        list(parsed, &filter)
            .await
            .context("error fetching entries")?
    } else {
        let entry = one(parsed, id).await;
        vec![entry.with_context(|| format!("error fetching entry ID {id}"))?]
    };
    entries.sort_by_cached_key(reading_order);
    match format {
        OutputFormat::Json => {
            let response = ListEntriesResponse {
                entries,
                next_page_token: String::new(),
            };
            terminal.line(&json::render_message(&response)?);
        }
        OutputFormat::Pretty => {
            terminal.line(&format!(
                "Found {}",
                quantity(entries.len(), "entry", "entries")
            ));
            for entry in &entries {
                terminal.print(&block(entry));
            }
        }
    }
    Ok(())
}

async fn one(parsed: &Parsed, id: &str) -> anyhow::Result<Entry> {
    let mut client = EntryClient::new(api::connect(parsed).await?);
    let request = GetEntryRequest {
        id: id.to_owned(),
        output_mask: None,
    };
    Ok(api::answer(client.get_entry(request).await)?)
}

async fn list(
    parsed: &Parsed,
    filter: &list_entries_request::Filter,
) -> anyhow::Result<Vec<Entry>> {
    let mut client = EntryClient::new(api::connect(parsed).await?);
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListEntriesRequest {
            filter: Some(filter.clone()),
            output_mask: None,
            page_size: PAGE_SIZE,
            page_token: page_token.clone(),
        };
        let page = api::answer(client.list_entries(request).await)?;
        entries.extend(page.entries);
        match api::next_page(&page_token, page.next_page_token)? {
            Some(next) => page_token = next,
            None => return Ok(entries),
        }
    }
}

/// People look for a workload by its name.
fn reading_order(entry: &Entry) -> (String, String, Vec<(String, String)>) {
    let selectors = entry.selectors.iter();
    (
        spiffe_id_text(entry.spiffe_id.as_ref()),
        spiffe_id_text(entry.parent_id.as_ref()),
        selectors
            .map(|selector| (selector.r#type.clone(), selector.value.clone()))
            .collect(),
    )
}

async fn count(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let filter = filter::count_filter(parsed)?;
    let mut client = EntryClient::new(api::connect(parsed).await?);
    let request = CountEntriesRequest {
        filter: Some(filter),
    };
    let response = api::answer(client.count_entries(request).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let count = usize::try_from(response.count).unwrap_or(0);
            terminal.line(&quantity(
                count,
                "registration entry",
                "registration entries",
            ));
        }
    }
    Ok(())
}
