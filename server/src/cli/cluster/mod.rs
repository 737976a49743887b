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

use daemon::{
    command_line::Command,
    flags::{FlagSet, Parsed},
};
use proto::conclave::cluster::v1::cluster_client::ClusterClient;
use tonic::transport::Channel;

use super::api;
use crate::config;

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

/// Flags of a command that asks a member. A word beside them is refused: `leave 3` is not to take out whoever is asked.
fn flags(command: &'static str) -> FlagSet {
    api::flags(command).without_positionals()
}

/// Flags of a command that works on the data directory of a server.
fn run_flags(command: &str) -> FlagSet {
    config::run_flags(command).without_positionals()
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
    use super::*;

    #[test]
    fn no_command_overlooks_a_word_beside_its_flags() {
        for command in commands() {
            let flags = (command.flags)();
            let error = flags.parse(&["3".to_owned()]).unwrap_err().to_string();
            let expected = format!("{} takes flags only, not \"3\"", command.words);
            assert_eq!(error, expected);
        }
    }

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
