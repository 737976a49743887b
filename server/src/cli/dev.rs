//! `dev`.

use daemon::{
    command_line::{Command, Terminal},
    flags::{FlagSet, Parsed},
};
use identity::trust_domain::TrustDomain;

use crate::dev::{self, Options};

pub(super) fn command() -> Command {
    Command {
        words: "dev",
        synopsis: "Runs a server, an agent and an entry for the calling user, without a config file.",
        error_prefix: "Error: ",
        deadline: None,
        flags: || {
            FlagSet::new("dev")
                .string("trustDomain", "example.org", "Trust domain of the server.")
                .integer("port", 0, "Port of the server's TCP listener on the loopback; 0 for a free one.")
                .string(
                    "dataDir",
                    "",
                    "Folder to keep everything in; without it, a temporary one that goes at the end.",
                )
        },
        run: |parsed, terminal| Box::pin(run(parsed, terminal)),
    }
}

async fn run(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let port = u16::try_from(parsed.integer("port"));
    let folder = parsed.string("dataDir");
    let options = Options {
        trust_domain: TrustDomain::parse(parsed.string("trustDomain"))?,
        port: port.map_err(|_range| anyhow::anyhow!("-port must be a number up to 65535"))?,
        folder: (!folder.is_empty()).then(|| folder.into()),
    };
    dev::run(options, terminal).await
}
