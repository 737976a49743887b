//! `jwt mint`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Readers, Terminal, rfc3339_text, write_file},
    flags::Parsed,
};
use identity::clock::{Clock as _, SystemClock, UnixTime};
use proto::{
    json,
    spire::api::server::svid::v1::{
        MintJwtsvidRequest, MintJwtsvidResponse, svid_client::SvidClient,
    },
};
use std::{path::Path, time::Duration};

use super::{api, shared_flags::spiffe_id};

pub(super) fn mint_command() -> Command {
    Command {
        words: "jwt mint",
        synopsis: "Issues a JWT-SVID, without any entry.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("jwt mint")
                .string("spiffeID", "", "SPIFFE ID for the SVID.")
                .list("audience", "Whom the SVID is for. May be repeated.")
                .duration(
                    "ttl",
                    Duration::ZERO,
                    "Lifetime of the SVID; 0 for the server's default.",
                )
                .string("write", "", "File to write the token to.")
        },
        run: |parsed, terminal| Box::pin(mint(parsed, terminal)),
    }
}

async fn mint(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("spiffeID");
    anyhow::ensure!(!id.is_empty(), "spiffeID must be specified");
    let audience = parsed.list("audience").to_vec();
    anyhow::ensure!(
        !audience.is_empty(),
        "at least one audience must be specified"
    );
    let ttl = parsed.duration("ttl");
    let request = MintJwtsvidRequest {
        id: Some(spiffe_id(id)?),
        audience,
        ttl: whole_seconds(ttl)?,
    };
    let asked_at = SystemClock.now();
    let response = request_svid(parsed, request)
        .await
        .context("unable to mint SVID")?;
    let svid = response
        .svid
        .as_ref()
        .context("server response missing SVID")?;
    anyhow::ensure!(!svid.token.is_empty(), "server response missing token");
    if is_capped(asked_at, ttl, svid.expires_at) {
        terminal.error_line(&format!(
            "JWT-SVID lifetime was capped shorter than specified ttl; expires {:?}",
            rfc3339_text(svid.expires_at)
        ));
    }
    match (format, parsed.string("write")) {
        (OutputFormat::Json, _) => terminal.line(&json::render_message(&response)?),
        (OutputFormat::Pretty, "") => terminal.line(&svid.token),
        (OutputFormat::Pretty, path) => {
            write_file(Path::new(path), svid.token.as_bytes(), Readers::Owner)
                .context("unable to write token")?;
            terminal.line(&format!("JWT-SVID written to {path}"));
        }
    }
    Ok(())
}

async fn request_svid(
    parsed: &Parsed,
    request: MintJwtsvidRequest,
) -> anyhow::Result<MintJwtsvidResponse> {
    let mut client = SvidClient::new(api::connect(parsed).await?);
    Ok(api::answer(client.mint_jwtsvid(request).await)?)
}

/// A lifetime as the API takes it; a part of a second counts as a whole one.
pub(super) fn whole_seconds(ttl: Duration) -> anyhow::Result<i32> {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    i32::try_from(seconds)
        .ok()
        .context("the value of -ttl is too large")
}

/// Whether an SVID asked for at `asked_at` ends before its asked lifetime does; none asked is never capped.
pub(super) fn is_capped(asked_at: UnixTime, ttl: Duration, expires_at: i64) -> bool {
    !ttl.is_zero() && UnixTime::from_secs(expires_at) < asked_at.saturating_add(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_end_than_asked_for_is_capped() {
        let asked_at = UnixTime::from_secs(1000);
        let minute = Duration::from_secs(60);
        assert!(!is_capped(asked_at, minute, 1060));
        assert!(is_capped(asked_at, minute, 1059));
        assert!(!is_capped(asked_at, Duration::ZERO, 1));
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        assert_eq!(whole_seconds(Duration::from_millis(1)).unwrap(), 1);
        assert_eq!(whole_seconds(Duration::from_secs(60)).unwrap(), 60);
        assert!(whole_seconds(Duration::from_secs(u64::from(u32::MAX))).is_err());
    }
}
