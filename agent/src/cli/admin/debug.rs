//! `debug getinfo`.

use std::fmt::Write as _;
use std::time::Duration;

use daemon::command_line::{Command, OutputFormat, RpcError, Terminal, rfc3339_text};
use daemon::duration::format_go;
use daemon::flags::Parsed;
use proto::json;
use proto::spire::agent::debug::v1::debug_client::DebugClient;
use proto::spire::agent::debug::v1::{GetInfoRequest, GetInfoResponse};

use super::{ERROR_PREFIX, connect, flags};
use crate::cli::DEADLINE;

pub(super) fn command() -> Command {
    Command {
        words: "debug getinfo",
        synopsis: "Prints what the agent holds and when it last heard from a server.",
        error_prefix: ERROR_PREFIX,
        deadline: DEADLINE,
        flags: || flags("debug getinfo"),
        run: |parsed, terminal| Box::pin(get_info(parsed, terminal)),
    }
}

async fn get_info(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let mut client = DebugClient::new(connect(parsed).await?);
    let answer = client.get_info(GetInfoRequest {}).await;
    let info = answer.map_err(RpcError::from)?.into_inner();
    match OutputFormat::chosen(parsed)? {
        OutputFormat::Json => terminal.line(&json::render_message(&info)?),
        OutputFormat::Pretty => terminal.print(&pretty(&info)),
    }
    Ok(())
}

fn pretty(info: &GetInfoResponse) -> String {
    let uptime = Duration::from_secs(u64::try_from(info.uptime).unwrap_or(0));
    let last_sync = match info.last_sync_success {
        0 => "(never)".to_owned(),
        at => rfc3339_text(at),
    };
    let mut text = format!(
        "Agent Debug Info:\n\
         \x20 Uptime:                          {}\n\
         \x20 Last Sync Success:               {last_sync}\n\
         \x20 Cached X.509 SVIDs:              {}\n\
         \x20 Cached JWT SVIDs:                {}\n\
         \x20 Cached SVID Store X.509 SVIDs:   {}\n",
        format_go(uptime),
        info.cached_x509_svids_count,
        info.cached_jwt_svids_count,
        info.cached_svidstore_x509_svids_count
    );
    if !info.svid_chain.is_empty() {
        text.push_str("  SVID Chain:\n");
    }
    for (place, certificate) in info.svid_chain.iter().enumerate() {
        let id = certificate.id.as_ref().map_or_else(
            || "(none)".to_owned(),
            |id| format!("spiffe://{}{}", id.trust_domain, id.path),
        );
        let written = write!(
            text,
            "    [{place}] SPIFFE ID:  {id}\n\
             \x20       Subject:    {}\n\
             \x20       Expires At: {}\n",
            certificate.subject,
            rfc3339_text(certificate.expires_at)
        );
        written.expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use proto::spire::agent::debug::v1::get_info_response::Cert;
    use proto::spire::api::types::Spiffeid;

    use super::*;

    #[test]
    fn info_is_printed_as_operators_know_it() {
        let info = GetInfoResponse {
            uptime: 65,
            last_sync_success: 1_700_000_000,
            cached_x509_svids_count: 5,
            cached_jwt_svids_count: 4,
            svid_chain: vec![
                Cert {
                    id: Some(Spiffeid {
                        trust_domain: "example.org".to_owned(),
                        path: "/spire/agent/x".to_owned(),
                    }),
                    expires_at: 1_700_000_000,
                    subject: "O=SPIRE,C=US".to_owned(),
                },
                Cert::default(),
            ],
            ..GetInfoResponse::default()
        };
        assert_eq!(
            pretty(&info),
            "Agent Debug Info:
  Uptime:                          1m5s
  Last Sync Success:               2023-11-14T22:13:20Z
  Cached X.509 SVIDs:              5
  Cached JWT SVIDs:                4
  Cached SVID Store X.509 SVIDs:   0
  SVID Chain:
    [0] SPIFFE ID:  spiffe://example.org/spire/agent/x
        Subject:    O=SPIRE,C=US
        Expires At: 2023-11-14T22:13:20Z
    [1] SPIFFE ID:  (none)
        Subject:    
        Expires At: 1970-01-01T00:00:00Z
"
        );
        let never = GetInfoResponse::default();
        assert!(pretty(&never).contains("Last Sync Success:               (never)\n"));
    }
}
