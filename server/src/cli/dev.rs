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
        synopsis: "Runs one or more servers, an agent and an entry for the calling user, without a config file.",
        error_prefix: "Error: ",
        deadline: None,
        flags: || {
            FlagSet::new("dev")
                .string("trustDomain", "example.org", "Trust domain of the server.")
                .integer("port", 0, "Port of the server's TCP listener on the loopback; 0 for a free one.")
                .integer("replicas", 1, "How many servers to run; 3 make a cluster that bears the loss of one.")
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
    let replicas = u8::try_from(parsed.integer("replicas"));
    let folder = parsed.string("dataDir");
    let options = Options {
        trust_domain: TrustDomain::parse(parsed.string("trustDomain"))?,
        port: port.map_err(|_range| anyhow::anyhow!("-port must be a number up to 65535"))?,
        replicas: replicas
            .map_err(|_range| anyhow::anyhow!("-replicas must be 1 to {}", dev::MAX_REPLICAS))?,
        folder: (!folder.is_empty()).then(|| folder.into()),
    };
    dev::run(options, terminal).await
}
