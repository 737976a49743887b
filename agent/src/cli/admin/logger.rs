//! `logger get`, `logger set` and `logger reset`.

use anyhow::Context as _;
use daemon::command_line::{Command, OutputFormat, RpcError, Terminal};
use daemon::flags::Parsed;
use daemon::log::Level;
use proto::json;
use proto::spire::api::agent::logger::v1::logger_client::LoggerClient;
use proto::spire::api::agent::logger::v1::{
    GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest,
};
use proto::spire::api::types::{LogLevel, Logger};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::{ERROR_PREFIX, connect, flags};
use crate::cli::DEADLINE;

pub(super) fn commands() -> [Command; 3] {
    [
        Command {
            words: "logger get",
            synopsis: "Prints the level of the agent's log.",
            error_prefix: ERROR_PREFIX,
            deadline: DEADLINE,
            flags: || flags("logger get"),
            run: |parsed, terminal| Box::pin(get(parsed, terminal)),
        },
        Command {
            words: "logger set",
            synopsis: "Sets the level of the agent's log until it stops.",
            error_prefix: ERROR_PREFIX,
            deadline: DEADLINE,
            flags: || {
                flags("logger set").string(
                    "level",
                    "",
                    "The new level: panic, fatal, error, warn, info, debug or trace.",
                )
            },
            run: |parsed, terminal| Box::pin(set(parsed, terminal)),
        },
        Command {
            words: "logger reset",
            synopsis: "Sets the level of the agent's log back to that of its start.",
            error_prefix: ERROR_PREFIX,
            deadline: DEADLINE,
            flags: || flags("logger reset"),
            run: |parsed, terminal| Box::pin(reset(parsed, terminal)),
        },
    ]
}

async fn get(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let mut client = client(parsed).await.context("error fetching logger")?;
    let answer = client.get_logger(GetLoggerRequest {}).await;
    show(parsed, terminal, answer, "error fetching logger")
}

async fn set(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let text = parsed.string("level");
    anyhow::ensure!(!text.is_empty(), "a value (-level) must be set");
    let level: Result<Level, _> = text.parse();
    let Ok(level) = level else {
        anyhow::bail!("the value {text:?} is not a valid setting");
    };
    let mut client = client(parsed).await.context("failed to set log level")?;
    let request = SetLogLevelRequest {
        new_level: wire(level).into(),
    };
    let answer = client.set_log_level(request).await;
    show(parsed, terminal, answer, "failed to set log level")
}

async fn reset(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let mut client = client(parsed).await.context("failed to reset logger")?;
    let answer = client.reset_log_level(ResetLogLevelRequest {}).await;
    show(parsed, terminal, answer, "failed to reset logger")
}

async fn client(parsed: &Parsed) -> Result<LoggerClient<Channel>, RpcError> {
    Ok(LoggerClient::new(connect(parsed).await?))
}

fn show(
    parsed: &Parsed,
    terminal: &mut Terminal,
    answer: Result<Response<Logger>, Status>,
    failure: &'static str,
) -> anyhow::Result<()> {
    let logger = answer.map_err(RpcError::from).context(failure)?;
    let logger = logger.into_inner();
    match OutputFormat::chosen(parsed)? {
        OutputFormat::Json => terminal.line(&json::render_message(&logger)?),
        OutputFormat::Pretty => terminal.print(&format!(
            "Logger Level : {}\nLaunch Level : {}\n\n",
            name(logger.current_level()),
            name(logger.launch_level())
        )),
    }
    Ok(())
}

fn name(level: LogLevel) -> String {
    match Level::ALL.into_iter().find(|one| wire(*one) == level) {
        Some(level) => level.to_string(),
        None => format!("unknown ({})", level.as_str_name()),
    }
}

fn wire(level: Level) -> LogLevel {
    match level {
        Level::Panic => LogLevel::Panic,
        Level::Fatal => LogLevel::Fatal,
        Level::Error => LogLevel::Error,
        Level::Warn => LogLevel::Warn,
        Level::Info => LogLevel::Info,
        Level::Debug => LogLevel::Debug,
        Level::Trace => LogLevel::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_of_log_lines() {
        assert_eq!(name(LogLevel::Warn), "warning");
        assert_eq!(name(LogLevel::Trace), "trace");
        assert_eq!(name(LogLevel::Unspecified), "unknown (UNSPECIFIED)");
    }
}
