//! `federation show` and `federation list`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::trustdomain::v1::{
        GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
        ListFederationRelationshipsResponse, trust_domain_client::TrustDomainClient,
    },
};

use super::block::block;
use crate::cli::{api, quantity::quantity};

const PAGE_SIZE: i32 = 100;

pub(super) fn command() -> Command {
    Command {
        words: "federation show",
        synopsis: "Shows the relationship with another trust domain.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            let flags = api::flags("federation show");
            flags.string("trustDomain", "", "Name of the trust domain.")
        },
        run: |parsed, terminal| Box::pin(show(parsed, terminal)),
    }
}

pub(super) fn list_command() -> Command {
    Command {
        words: "federation list",
        synopsis: "Lists the relationships with other trust domains.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("federation list"),
        run: |parsed, terminal| Box::pin(list(parsed, terminal)),
    }
}

async fn show(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let trust_domain = parsed.string("trustDomain");
    anyhow::ensure!(!trust_domain.is_empty(), "a trust domain name is required");
    let mut client = TrustDomainClient::new(api::connect(parsed).await?);
    let request = GetFederationRelationshipRequest {
        trust_domain: trust_domain.to_owned(),
        output_mask: None,
    };
    let found = api::answer(client.get_federation_relationship(request).await);
    let found = found.context("error showing federation relationship")?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&found)?),
        OutputFormat::Pretty => {
            terminal.line(&format!(
                "Found a federation relationship with trust domain {trust_domain}:\n"
            ));
            terminal.print(&block(&found));
        }
    }
    Ok(())
}

async fn list(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let all = all(parsed).await;
    let all = all.context("error listing federation relationship")?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&all)?),
        OutputFormat::Pretty => {
            let found = &all.federation_relationships;
            let (one, many) = ("federation relationship", "federation relationships");
            terminal.line(&format!("Found {}", quantity(found.len(), one, many)));
            for relationship in found {
                terminal.line("");
                terminal.print(&block(relationship));
            }
        }
    }
    Ok(())
}

async fn all(parsed: &Parsed) -> anyhow::Result<ListFederationRelationshipsResponse> {
    let mut client = TrustDomainClient::new(api::connect(parsed).await?);
    let mut all = ListFederationRelationshipsResponse::default();
    let mut next = Some(String::new());
    while let Some(page_token) = next {
        let request = ListFederationRelationshipsRequest {
            output_mask: None,
            page_size: PAGE_SIZE,
            page_token: page_token.clone(),
        };
        let page = api::answer(client.list_federation_relationships(request).await)?;
        all.federation_relationships
            .extend(page.federation_relationships);
        next = api::next_page(&page_token, page.next_page_token)?;
    }
    Ok(all)
}
