//! `api fetch x509`, and `api fetch` for short.

use std::{path::Path, time::Duration};

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use identity::clock::{Clock as _, SystemClock};
use proto::json;
use tokio::time::Instant;

use super::{
    received::ReceivedSvids,
    report::{Hints, report},
    workload, written,
};

pub(super) fn command(words: &'static str) -> Command {
    Command {
        words,
        synopsis: "Fetches X.509-SVIDs.",
        error_prefix: "",
        deadline: None,
        flags: || {
            workload::flags("fetch x509")
                .boolean("silent", "Print nothing.")
                .string(
                    "write",
                    "",
                    "Folder to write certificates, keys and bundles to.",
                )
        },
        run: |parsed, terminal| Box::pin(fetch(parsed, terminal)),
    }
}

async fn fetch(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let started = Instant::now();
    let answer = workload::within_timeout(parsed, async {
        let mut client = workload::connect(parsed).await?;
        Ok(workload::first_x509_svids(&mut client).await?)
    });
    let response = answer.await?;
    let waited: Duration = started.elapsed();
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let received = ReceivedSvids::parse(response, SystemClock.now())?;
            if !parsed.boolean("silent") {
                terminal.print(&report(&received, waited, Hints::Shown));
            }
            let folder = parsed.string("write");
            if !folder.is_empty() {
                written::write_all(&received, Path::new(folder), terminal)?;
            }
        }
    }
    Ok(())
}
