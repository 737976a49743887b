//! `bundle show`, `bundle list` and `bundle count`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use identity::trust_domain::TrustDomain;
use proto::{
    json,
    spire::api::server::bundle::v1::{
        CountBundlesRequest, GetBundleRequest, GetFederatedBundleRequest,
        ListFederatedBundlesRequest, ListFederatedBundlesResponse, bundle_client::BundleClient,
    },
};

use super::format::BundleFormat;
use crate::cli::{api, quantity::quantity};

const PAGE_SIZE: i32 = 500;
const RULE: &str = "****************************************";

pub(super) fn command() -> Command {
    Command {
        words: "bundle show",
        synopsis: "Prints the server's own bundle.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || BundleFormat::flag(api::flags("bundle show")),
        run: |parsed, terminal| Box::pin(show(parsed, terminal)),
    }
}

pub(super) fn list_command() -> Command {
    Command {
        words: "bundle list",
        synopsis: "Prints the bundles of other trust domains.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            BundleFormat::flag(api::flags("bundle list")).string(
                "id",
                "",
                "SPIFFE ID of one trust domain.",
            )
        },
        run: |parsed, terminal| Box::pin(list(parsed, terminal)),
    }
}

pub(super) fn count_command() -> Command {
    Command {
        words: "bundle count",
        synopsis: "Counts the bundles, the own one among them.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("bundle count"),
        run: |parsed, terminal| Box::pin(count(parsed, terminal)),
    }
}

async fn show(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let format = BundleFormat::chosen(parsed)?;
    let mut client = BundleClient::new(api::connect(parsed).await?);
    let bundle = api::answer(client.get_bundle(GetBundleRequest::default()).await)?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&bundle)?),
        OutputFormat::Pretty => terminal.print(&format.render(&bundle)?),
    }
    Ok(())
}

async fn list(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    match parsed.string("id") {
        "" => list_all(parsed, terminal).await,
        id => show_one(id, parsed, terminal).await,
    }
}

async fn show_one(id: &str, parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let format = BundleFormat::chosen(parsed)?;
    let request = GetFederatedBundleRequest {
        trust_domain: TrustDomain::parse(id)?.as_str().to_owned(),
        output_mask: None,
    };
    let mut client = BundleClient::new(api::connect(parsed).await?);
    let bundle = api::answer(client.get_federated_bundle(request).await)?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&bundle)?),
        OutputFormat::Pretty => terminal.print(&format.render(&bundle)?),
    }
    Ok(())
}

async fn list_all(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let format = BundleFormat::chosen(parsed)?;
    let mut client = BundleClient::new(api::connect(parsed).await?);
    let mut all = ListFederatedBundlesResponse::default();
    let mut next = Some(String::new());
    while let Some(page_token) = next {
        let request = ListFederatedBundlesRequest {
            output_mask: None,
            page_size: PAGE_SIZE,
            page_token: page_token.clone(),
        };
        let page = api::answer(client.list_federated_bundles(request).await)?;
        all.bundles.extend(page.bundles);
        next = api::next_page(&page_token, page.next_page_token)?;
    }
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&all)?),
        OutputFormat::Pretty => {
            for (index, bundle) in all.bundles.iter().enumerate() {
                let gap = if index == 0 { "" } else { "\n" };
                terminal.print(&format!("{gap}{RULE}\n* {}\n{RULE}\n", bundle.trust_domain));
                terminal.print(&format.render(bundle)?);
            }
        }
    }
    Ok(())
}

async fn count(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = BundleClient::new(api::connect(parsed).await?);
    let response = api::answer(client.count_bundles(CountBundlesRequest {}).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let count = usize::try_from(response.count).unwrap_or(0);
            terminal.line(&quantity(count, "bundle", "bundles"));
        }
    }
    Ok(())
}
