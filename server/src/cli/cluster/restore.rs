//! `cluster restore` and `cluster recover`: from what is left to a new cluster of one. The server does not run.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use daemon::{
    command_line::{Command, Terminal, utc_text},
    flags::Parsed,
};
use identity::clock::{Clock as _, SystemClock};
use raft_store::{
    FileSeal,
    backup::{self, NewHome, Restore, Restored},
    recover::{self, Plan, Recovery},
};

use super::run_flags;
use crate::{
    cli::{api, quantity::quantity},
    cluster::cluster_id_text,
    config::{self, Config, LoadArgs},
    domain_pin, peers,
};

pub(super) fn restore_command() -> Command {
    Command {
        words: "cluster restore",
        synopsis: "Makes a new cluster of one from a backup, in an empty data directory.",
        error_prefix: api::ERROR_PREFIX,
        deadline: None,
        flags: || run_flags("cluster restore").string("file", "", "The backup to restore from."),
        run: |parsed, terminal| Box::pin(restore(parsed, terminal)),
    }
}

pub(super) fn recover_command() -> Command {
    Command {
        words: "cluster recover",
        synopsis: "Makes a new cluster of one from a member that is left, when the majority is lost for good.",
        error_prefix: api::ERROR_PREFIX,
        deadline: None,
        flags: || {
            run_flags("cluster recover")
                .boolean(
                    "dryRun",
                    "Tell what is there and what may be lost; change nothing.",
                )
                .boolean(
                    UNDERSTOOD,
                    "Go ahead, although what only lost members had acknowledged is lost.",
                )
        },
        run: |parsed, terminal| Box::pin(recover(parsed, terminal)),
    }
}

const UNDERSTOOD: &str = "iUnderstandDataLoss";

async fn restore(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let file = PathBuf::from(parsed.string("file"));
    ensure!(!file.as_os_str().is_empty(), "-file is required");
    let arguments = LoadArgs::from_flags(parsed);
    let config = config::load(&arguments)?;
    daemon::process::make_data_dir(&config.data_dir)?;
    let place = Place::of(&config);
    let restored = tokio::task::spawn_blocking(move || {
        let restored = backup::restore(Restore {
            file: &file,
            data_dir: &place.store,
            seal: &place.seal,
            home: place.home,
            now: SystemClock.now(),
        })?;
        anyhow::Ok(restored)
    });
    let restored = restored.await??;
    peers::forget_identity(&config)?;
    terminal.print(&done("restored", &restored, &config, &arguments.path));
    Ok(())
}

async fn recover(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let arguments = LoadArgs::from_flags(parsed);
    let config = config::load(&arguments)?;
    let place = Place::of(&config);
    let planned = tokio::task::spawn_blocking(move || {
        let read = domain_pin::pinned;
        let (plan, pinned) = recover::plan_and_read(&place.store, &place.seal, read)?;
        anyhow::Ok((plan, pinned, place))
    });
    let (plan, pinned, place) = planned.await??;
    if let Some(pinned) = pinned {
        domain_pin::ensure_own(&pinned, &config)?;
    }
    terminal.print(&pretty(&plan));
    if parsed.boolean("dryRun") {
        return Ok(());
    }
    ensure!(
        parsed.boolean(UNDERSTOOD),
        "nothing was changed; give -{UNDERSTOOD} to go ahead"
    );
    let recovered = tokio::task::spawn_blocking(move || {
        let recovered = recover::apply(Recovery {
            data_dir: &place.store,
            seal: &place.seal,
            home: place.home,
            now: SystemClock.now(),
        })?;
        anyhow::Ok(recovered)
    });
    let recovered = recovered.await??;
    peers::forget_identity(&config)?;
    terminal.print("\n");
    terminal.print(&done("recovered", &recovered, &config, &arguments.path));
    Ok(())
}

/// Where the new cluster is to be, by the config.
struct Place {
    store: PathBuf,
    seal: FileSeal,
    home: NewHome,
}

impl Place {
    fn of(config: &Config) -> Self {
        let cluster = config.cluster.as_ref();
        let text = |text: fn(&config::Cluster) -> &str| cluster.map_or("", text).into();
        Self {
            store: peers::store_folder(&config.data_dir),
            seal: FileSeal::at(&config.seal_key_path),
            home: NewHome {
                peer_address: text(|cluster| &cluster.peer_address),
                api_address: text(|cluster| &cluster.api_address),
                program_version: env!("CARGO_PKG_VERSION").into(),
            },
        }
    }
}

fn done(how: &str, made: &Restored, config: &Config, path: &Path) -> String {
    let mut text = format!(
        "The new cluster {} has one member, {}, with everything that was {how}, at revision {}. Start it with\n\
         \n\
         \x20 conclave-server run -config {}\n",
        cluster_id_text(&made.cluster_id),
        made.member_id,
        made.revision,
        path.display(),
    );
    if config.cluster.is_some() {
        text.push_str(
            "\nand invite further members, each with an empty data directory. No member of the old cluster may run \
             beside it.\n",
        );
    }
    text
}

fn pretty(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label:15}: {value}").expect("a String takes every write");
    };
    line("Cluster", &cluster_id_text(&plan.cluster_id));
    line("Survivor", &format!("member {}", plan.member_id));
    line(
        "Log",
        &format!(
            "up to entry {} of term {}, known to be acknowledged up to {}",
            plan.last_index, plan.last_term, plan.committed_index
        ),
    );
    if let Some(at) = plan.last_change_at {
        line("Last change", &utc_text(at.as_secs()));
    }
    line("Revision", &plan.revision.to_string());
    line("State hash", &plan.state_hash.to_string());
    let entries = quantity(plan.entries, "registration entry", "registration entries");
    let agents = quantity(plan.agents, "agent", "agents");
    line("Holds", &format!("{entries}, {agents}"));
    text.push_str("\nWhat may be lost, or must be done again:\n");
    for loss in plan.losses() {
        writeln!(text, "- {loss}").expect("a String takes every write");
    }
    for change in &plan.undecided {
        let at = utc_text(change.at.as_secs());
        writeln!(text, "  entry {}: {} of {at}", change.index, change.command)
            .expect("a String takes every write");
    }
    text.push_str(
        "\nIf several members are left, recover the one whose log has the highest term, and of those the longest.\n",
    );
    text
}
