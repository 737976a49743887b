//! Recorded conversations with SPIRE, held against the built binaries.
//!
//! Each fixture (`tests/golden/`) is run against a fresh server, and an agent where it needs one; its
//! answers must be those recorded, but for the differences that `differences.txt` lists with a reason.

mod answer;
mod call;
mod certificate;
mod channel;
mod command_mask;
mod commands;
mod differences;
mod fixture;
mod mask;
mod material;
mod render;
mod report;
mod script;
pub(crate) mod world;

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use commands::Commands;
use differences::Differences;
use fixture::Fixture;
use report::Report;
use script::Script;
use world::World;

/// How much longer than its `wait` says a recorded answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn authorization_is_as_recorded() {
    hold(script("00-authz.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_service_answers_as_recorded() {
    hold(script("10-entry.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_service_answers_as_recorded() {
    hold(script("20-agent.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn svid_service_answers_as_recorded() {
    hold(script("30-svid.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_service_answers_as_recorded() {
    hold(script("40-bundle.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_domain_service_answers_as_recorded() {
    hold(script("50-trustdomain.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_authority_service_answers_as_recorded() {
    hold(script("60-localauthority.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logger_debug_and_health_answer_as_recorded() {
    hold(script("70-logger-debug-health.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_api_answers_as_recorded() {
    hold(script("80-workload.script").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_commands_print_as_recorded() {
    hold(commands("c1-entry.cli").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_token_and_bundle_commands_print_as_recorded() {
    hold(commands("c2-agent-token-bundle.cli").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_authority_and_logger_commands_print_as_recorded() {
    hold(commands("c3-federation-authority-logger.cli").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_commands_print_as_recorded() {
    hold(commands("c4-workload.cli").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn config_files_are_judged_as_recorded() {
    hold(commands("c5-config.cli").await);
}

/// Whatever was recorded is answered so by a member that does not lead.
#[tokio::test(flavor = "multi_thread")]
async fn follower_answers_as_recorded() {
    for name in [
        "00-authz.script",
        "10-entry.script",
        "20-agent.script",
        "30-svid.script",
        "40-bundle.script",
        "50-trustdomain.script",
        "60-localauthority.script",
        "70-logger-debug-health.script",
        "80-workload.script",
    ] {
        hold(script_in(name, World::of_a_follower().await).await);
    }
    for name in [
        "c1-entry.cli",
        "c2-agent-token-bundle.cli",
        "c3-federation-authority-logger.cli",
        "c4-workload.cli",
    ] {
        hold(commands_in(name, World::of_a_follower().await).await);
    }
}

#[expect(
    clippy::panic,
    reason = "a test fails by panicking, here with a text for people"
)]
fn hold(outcome: anyhow::Result<()>) {
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// Runs a `*.script`. Without an agent its waits are skipped: nothing in the server may need them.
async fn script(name: &str) -> anyhow::Result<()> {
    script_in(name, World::new()).await
}

async fn script_in(name: &str, world: anyhow::Result<World>) -> anyhow::Result<()> {
    let mut world = world?;
    let (fixture, differences) = load(name, &world)?;
    world.start_server().await?;
    let has_agent = name.contains("workload");
    if has_agent {
        world.start_agent().await?;
    }
    let mut script = Script::new(&world, differences.dropped_certificates);
    let mut report = Report::default();
    let mut deadline = None;
    for step in &fixture.steps {
        if has_agent {
            deadline = wait(&step.line).or(deadline);
        }
        let run = async || script.line(&step.line).await;
        let answer = until_expected(&step.answer, deadline, run)
            .await
            .with_context(|| format!("{}\n{}", step.line, world.logs()))?;
        report.add(step, &answer);
    }
    report.finish(name)
}

/// Runs a `*.cli`.
async fn commands(name: &str) -> anyhow::Result<()> {
    commands_in(name, World::new()).await
}

async fn commands_in(name: &str, world: anyhow::Result<World>) -> anyhow::Result<()> {
    let mut commands = Commands::new(world?);
    let (fixture, _) = load(name, &commands.world)?;
    let mut report = Report::default();
    let mut deadline = None;
    for step in &fixture.steps {
        deadline = wait(&step.line).or(deadline);
        let run = async || commands.step(step).await;
        let answer = until_expected(&step.answer, deadline, run)
            .await
            .with_context(|| format!("{}\n{}", step.line, commands.world.logs()))?;
        report.add(step, &answer);
    }
    report.finish(name)
}

fn load(name: &str, world: &World) -> anyhow::Result<(Fixture, Differences)> {
    let mut fixture = Fixture::load(name)?;
    let differences = Differences::load(name, world.is_follower())?;
    differences.apply(&mut fixture)?;
    Ok((fixture, differences))
}

/// Until when the effects of what was done before a `wait` may still be on their way.
fn wait(line: &str) -> Option<Instant> {
    let seconds: u64 = line
        .strip_prefix("wait ")?
        .trim_end_matches('s')
        .parse()
        .ok()?;
    Some(Instant::now() + Duration::from_secs(seconds) + PATIENCE)
}

/// Asks again until the answer is the expected one or the deadline has passed.
async fn until_expected(
    expected: &[String],
    deadline: Option<Instant>,
    mut run: impl AsyncFnMut() -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Vec<String>> {
    loop {
        let answer = run().await?;
        if answer == expected || deadline.is_none_or(|deadline| Instant::now() > deadline) {
            return Ok(answer);
        }
        sleep(Duration::from_millis(100)).await;
    }
}
