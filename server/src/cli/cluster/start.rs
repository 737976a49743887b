//! `cluster init` and `cluster join`: what a member does at its first start, done now and by itself.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use daemon::{
    command_line::{Command, Terminal, path_error_text},
    flags::Parsed,
};
use identity::clock::SystemClock;

use super::run_flags;
use crate::{
    app,
    cli::{api, run},
    cluster::cluster_id_text,
    config::{self, Config, LoadArgs},
    peers,
};

pub(super) fn init_command() -> Command {
    Command {
        words: "cluster init",
        synopsis: "Makes the first member of a new cluster, ready to run.",
        error_prefix: api::ERROR_PREFIX,
        deadline: None,
        flags: || run_flags("cluster init"),
        run: |parsed, terminal| Box::pin(init(parsed, terminal)),
    }
}

pub(super) fn join_command() -> Command {
    Command {
        words: "cluster join",
        synopsis: "Makes this host a member of a cluster with an invitation.",
        error_prefix: api::ERROR_PREFIX,
        deadline: None,
        flags: || {
            run_flags("cluster join")
                .string(
                    "invite",
                    "",
                    "The invitation, as cluster invite printed it.",
                )
                .string(
                    "inviteFile",
                    "",
                    "File that holds the invitation instead; - for the standard input.",
                )
                .boolean("run", "Run the server as soon as it has joined.")
        },
        run: |parsed, terminal| Box::pin(join(parsed, terminal)),
    }
}

async fn init(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let arguments = LoadArgs::from_flags(parsed);
    let config = member_config(&arguments)?;
    let cluster_id = app::init(&config, &SystemClock).await?;
    terminal.print(&format!(
        "Made the first member of the new cluster {cluster}. Start it, then invite the others:\n\
         \n\
         \x20 conclave-server run -config {path}\n\
         \x20 conclave-server cluster invite -socketPath {socket}\n\
         \n\
         Keep a copy of {seal} apart from the data and its backups, which open with it alone.\n",
        cluster = cluster_id_text(&cluster_id),
        path = arguments.path.display(),
        socket = config.socket_path.display(),
        seal = config.seal_key_path.display(),
    ));
    Ok(())
}

async fn join(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let arguments = LoadArgs::from_flags(parsed);
    let config = member_config(&arguments)?;
    let invite = invite(parsed, terminal)?;
    let tell = |cause: &str| {
        terminal.error_line(&format!(
            "Not let in yet, trying for up to {} s: {cause}",
            peers::JOIN_WITHIN.as_secs()
        ));
    };
    let joined = peers::join_cluster(&config, &invite, Arc::new(SystemClock), tell).await?;
    terminal.line(&format!(
        "Joined the cluster {cluster} as member {id}.",
        cluster = cluster_id_text(&joined.cluster_id),
        id = joined.member_id,
    ));
    if parsed.boolean("run") {
        return run::serve(config).await;
    }
    terminal.line(&format!(
        "Start it soon: conclave-server run -config {}",
        arguments.path.display()
    ));
    Ok(())
}

fn member_config(arguments: &LoadArgs) -> anyhow::Result<Config> {
    let config = config::load(arguments)?;
    ensure!(
        config.cluster.is_some(),
        "{} has no cluster block with a peer_address, where the other members reach this one: add it, as in \
         deploy/conf/server-cluster.conf",
        arguments.path.display()
    );
    Ok(config)
}

fn invite(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<String> {
    let (text, path) = (parsed.string("invite"), parsed.string("inviteFile"));
    match (text, path) {
        ("", "") => anyhow::bail!(
            "-invite or -inviteFile is required; cluster invite on a member makes an invitation"
        ),
        (text, "") => Ok(text.to_owned()),
        ("", path) => {
            let read = terminal.read_file_or_input(path, MAX_INVITE_LEN_BYTES);
            let read = read.map_err(|error| {
                anyhow::Error::msg(path_error_text("open", Path::new(path), &error))
            })?;
            String::from_utf8(read).context("the file holds no invitation")
        }
        _ => anyhow::bail!("only one of -invite and -inviteFile can be given"),
    }
}

const MAX_INVITE_LEN_BYTES: u64 = 16 << 10;
