//! `cluster rotate-seal`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{conclave::cluster::v1::RotateSealRequest, json};

use super::connect;
use crate::cli::{api, quantity::quantity};

pub(super) fn rotate_command() -> Command {
    Command {
        words: "cluster rotate-seal",
        synopsis: "Seals every stored secret with a new data key and drops the old ones.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("cluster rotate-seal"),
        run: |parsed, terminal| Box::pin(rotate(parsed, terminal)),
    }
}

async fn rotate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = connect(parsed).await?;
    let response = api::answer(client.rotate_seal(RotateSealRequest {}).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
            terminal.line(&format!(
                "Data key {} is in use: {} sealed anew, {} dropped.",
                response.data_key,
                quantity(count(response.resealed), "secret", "secrets"),
                quantity(count(response.removed_data_keys), "old key", "old keys"),
            ));
        }
    }
    Ok(())
}
