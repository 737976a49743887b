//! `debug getinfo`.

use std::time::Duration;

use daemon::{
    command_line::{Command, OutputFormat, Terminal, rfc3339_text},
    duration::format_go,
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::debug::v1::{GetInfoRequest, GetInfoResponse, debug_client::DebugClient},
};

use super::{api, shared_flags::spiffe_id_text};

pub(super) fn command() -> Command {
    Command {
        words: "debug getinfo",
        synopsis: "Tells how long the server runs, how much it holds and who vouches for it.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("debug getinfo"),
        run: |parsed, terminal| Box::pin(get(parsed, terminal)),
    }
}

async fn get(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = DebugClient::new(api::connect(parsed).await?);
    let info = api::answer(client.get_info(GetInfoRequest {}).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&info)?),
        OutputFormat::Pretty => terminal.print(&text(&info)),
    }
    Ok(())
}

fn text(info: &GetInfoResponse) -> String {
    let uptime = Duration::from_secs(u64::try_from(info.uptime).unwrap_or(0));
    let mut lines = vec![
        "Server Debug Info:".to_owned(),
        format!("  Uptime:                  {}", format_go(uptime)),
        format!("  Registered Agents:       {}", info.agents_count),
        format!("  Registration Entries:    {}", info.entries_count),
        format!(
            "  Federated Bundles:       {}",
            info.federated_bundles_count
        ),
    ];
    if !info.svid_chain.is_empty() {
        lines.push("  SVID Chain:".to_owned());
    }
    for (at, certificate) in info.svid_chain.iter().enumerate() {
        let id = spiffe_id_text(certificate.id.as_ref());
        let expires_at = rfc3339_text(certificate.expires_at);
        lines.push(format!("    [{at}] SPIFFE ID:  {id}"));
        lines.push(format!("        Subject:    {}", certificate.subject));
        lines.push(format!("        Expires At: {expires_at}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use proto::spire::api::server::debug::v1::get_info_response::Cert;

    use super::*;
    use crate::cli::shared_flags::spiffe_id;

    #[test]
    fn the_table_is_spires() {
        let info = GetInfoResponse {
            uptime: 3_661,
            agents_count: 1,
            entries_count: 2,
            federated_bundles_count: 3,
            svid_chain: vec![
                Cert {
                    id: Some(spiffe_id("spiffe://example.org/spire/server").unwrap()),
                    expires_at: 1_800_000_000,
                    subject: "O=SPIRE,C=US".to_owned(),
                },
                Cert::default(),
            ],
        };
        assert_eq!(
            text(&info),
            "Server Debug Info:
  Uptime:                  1h1m1s
  Registered Agents:       1
  Registration Entries:    2
  Federated Bundles:       3
  SVID Chain:
    [0] SPIFFE ID:  spiffe://example.org/spire/server
        Subject:    O=SPIRE,C=US
        Expires At: 2027-01-15T08:00:00Z
    [1] SPIFFE ID:  (none)
        Subject:    
        Expires At: 1970-01-01T00:00:00Z
"
        );
    }
}
