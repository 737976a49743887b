//! `localauthority`: rotation of X.509 and JWT authorities by hand.

mod block;
mod jwt;
mod show;
mod x509;

use daemon::{
    command_line::Command,
    flags::{FlagSet, Parsed},
};

use super::api;

pub(super) fn commands() -> [Command; 10] {
    [
        x509::show(),
        x509::prepare(),
        x509::activate(),
        x509::taint(),
        x509::revoke(),
        jwt::show(),
        jwt::prepare(),
        jwt::activate(),
        jwt::taint(),
        jwt::revoke(),
    ]
}

/// The flags of a command on one authority.
fn flags_with_id(command: &'static str) -> FlagSet {
    let flags = api::flags(command);
    flags.string(
        "authorityID",
        "",
        "ID of the authority, as `show` tells it.",
    )
}

/// The authority that the flags name.
fn authority_id(parsed: &Parsed) -> anyhow::Result<String> {
    let id = parsed.string("authorityID");
    anyhow::ensure!(!id.is_empty(), "an authority ID is required");
    Ok(id.to_owned())
}

/// A command that moves one authority: what it asks for, the call, and the part of the answer that
/// it prints under a title.
macro_rules! step {
    (
        $name:ident: $words:literal, $synopsis:literal, $flags:expr,
        $call:ident($parsed:ident => $request:expr) -> $part:ident,
        $title:literal, $failure:literal
    ) => {
        pub(super) fn $name() -> daemon::command_line::Command {
            async fn run(
                $parsed: &daemon::flags::Parsed,
                terminal: &mut daemon::command_line::Terminal,
            ) -> anyhow::Result<()> {
                use anyhow::Context as _;
                let output = daemon::command_line::OutputFormat::chosen($parsed)?;
                let request = $request;
                let mut client = LocalAuthorityClient::new(api::connect($parsed).await?);
                let response = api::answer(client.$call(request).await).context($failure)?;
                match output {
                    daemon::command_line::OutputFormat::Json => {
                        terminal.line(&proto::json::render_message(&response)?);
                    }
                    daemon::command_line::OutputFormat::Pretty => {
                        let authority = response.$part.as_ref();
                        let authority = authority.context("server response missing authority")?;
                        terminal.line($title);
                        terminal.print(&BLOCK.of(authority));
                    }
                }
                Ok(())
            }
            daemon::command_line::Command {
                words: $words,
                synopsis: $synopsis,
                error_prefix: api::ERROR_PREFIX,
                deadline: api::DEADLINE,
                flags: || $flags($words),
                run: |parsed, terminal| Box::pin(run(parsed, terminal)),
            }
        }
    };
}

use step;
