//! `cluster rotate-seal`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    conclave::cluster::v1::{RotateSealRequest, RotateSealResponse},
    json,
};

use super::{connect, flags};
use crate::cli::{api, quantity::quantity};

pub(super) fn rotate_command() -> Command {
    Command {
        words: "cluster rotate-seal",
        synopsis: "Seals every stored secret with a new data key and drops the old ones.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("cluster rotate-seal"),
        run: |parsed, terminal| Box::pin(rotate(parsed, terminal)),
    }
}

async fn rotate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = connect(parsed).await?;
    let response = api::answer(client.rotate_seal(RotateSealRequest {}).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => terminal.print(&pretty(&response)),
    }
    Ok(())
}

fn pretty(response: &RotateSealResponse) -> String {
    let mut text = format!(
        "Data key {} is in use: {} sealed anew, {} dropped.\n",
        response.data_key,
        quantity(response.resealed, "secret", "secrets"),
        quantity(response.removed_data_keys.len(), "old key", "old keys"),
    );
    if !response.kept_data_keys.is_empty() {
        let kept = quantity(response.kept_data_keys.len(), "old key", "old keys");
        text.push_str(&format!(
            "{kept} must stay for invitations that are open, and will go with them.\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_has_to_stay_is_told_with_the_reason() {
        let mut response = RotateSealResponse {
            data_key: 3,
            resealed: 4,
            removed_data_keys: vec![1],
            kept_data_keys: Vec::new(),
        };
        let rotated = "Data key 3 is in use: 4 secrets sealed anew, 1 old key dropped.\n";
        assert_eq!(pretty(&response), rotated);
        response.kept_data_keys = vec![2];
        let kept = "1 old key must stay for invitations that are open, and will go with them.\n";
        assert_eq!(pretty(&response), [rotated, kept].concat());
    }
}
