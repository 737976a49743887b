//! `cluster`: making, growing, watching and mending a cluster.
//!
//! What asks a running member goes through its Unix socket; `init`, `join`, `restore` and `recover` work on the data
//! directory of a server that does not run.

mod backup;
mod change;
mod invite;
mod leadership;
mod membership;
mod restore;
mod seal;
mod start;
mod status;
mod table;

use daemon::{command_line::Command, flags::Parsed};
use proto::conclave::cluster::v1::cluster_client::ClusterClient;
use tonic::transport::Channel;

use super::api;

pub(super) fn commands() -> [Command; 12] {
    [
        backup::command(),
        invite::command(),
        leadership::transfer_command(),
        membership::leave_command(),
        membership::remove_command(),
        restore::recover_command(),
        restore::restore_command(),
        seal::rotate_command(),
        start::init_command(),
        start::join_command(),
        status::command(),
        status::members_command(),
    ]
}

async fn connect(parsed: &Parsed) -> anyhow::Result<ClusterClient<Channel>> {
    Ok(ClusterClient::new(api::connect(parsed).await?))
}

/// A member's id from a flag, if the flag was given.
fn member_id(parsed: &Parsed, flag: &str) -> anyhow::Result<Option<u64>> {
    if !parsed.is_set(flag) {
        return Ok(None);
    }
    let id = u64::try_from(parsed.integer(flag));
    let id = id.ok().filter(|id| *id > 0);
    let id = id.ok_or_else(|| {
        anyhow::anyhow!(
            "-{flag} {} is no member's id; cluster members lists them",
            parsed.integer(flag)
        )
    })?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use daemon::flags::FlagSet;

    use super::*;

    #[test]
    fn only_a_positive_number_is_a_members_id() {
        let parse = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
            let flags = FlagSet::new("x").integer("id", 0, "");
            member_id(&flags.parse(&arguments).unwrap(), "id")
        };
        assert_eq!(parse(&[]).unwrap(), None);
        assert_eq!(parse(&["--id", "7"]).unwrap(), Some(7));
        for wrong in ["0", "-1"] {
            let error = parse(&["-id", wrong]).unwrap_err().to_string();
            let expected = format!("-id {wrong} is no member's id; cluster members lists them");
            assert_eq!(error, expected);
        }
    }
}
