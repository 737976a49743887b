//! `logger`: the level of the server's log.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
    log::Level,
};
use proto::{
    json,
    spire::api::{
        server::logger::v1::{
            GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest, logger_client::LoggerClient,
        },
        types::{LogLevel, Logger},
    },
};
use tonic::transport::Channel;

use super::api;

pub(super) fn commands() -> [Command; 3] {
    [get_command(), set_command(), reset_command()]
}

fn get_command() -> Command {
    Command {
        words: "logger get",
        synopsis: "Tells the level of the server's log.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("logger get"),
        run: |parsed, terminal| Box::pin(get(parsed, terminal)),
    }
}

fn set_command() -> Command {
    Command {
        words: "logger set",
        synopsis: "Sets the level of the server's log.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("logger set").string(
                "level",
                "",
                "The new level: panic, fatal, error, warn, info, debug or trace.",
            )
        },
        run: |parsed, terminal| Box::pin(set(parsed, terminal)),
    }
}

fn reset_command() -> Command {
    Command {
        words: "logger reset",
        synopsis: "Sets the level of the server's log to that of its start.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("logger reset"),
        run: |parsed, terminal| Box::pin(reset(parsed, terminal)),
    }
}

async fn get(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = client(parsed).await.context(NOT_FETCHED)?;
    let logger = api::answer(client.get_logger(GetLoggerRequest {}).await);
    print(format, &logger.context(NOT_FETCHED)?, terminal)
}

async fn set(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let level = parsed.string("level");
    anyhow::ensure!(!level.is_empty(), "a value (-level) must be set");
    let Ok(parsed_level) = level.parse::<Level>() else {
        anyhow::bail!("the value {level:?} is not a valid setting");
    };
    let request = SetLogLevelRequest {
        new_level: wire_level(parsed_level).into(),
    };
    let mut client = client(parsed).await.context(NOT_SET)?;
    let logger = api::answer(client.set_log_level(request).await);
    print(format, &logger.context(NOT_SET)?, terminal)
}

async fn reset(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = client(parsed).await.context(NOT_RESET)?;
    let logger = api::answer(client.reset_log_level(ResetLogLevelRequest {}).await);
    print(format, &logger.context(NOT_RESET)?, terminal)
}

const NOT_FETCHED: &str = "error fetching logger";
const NOT_SET: &str = "failed to set log level";
const NOT_RESET: &str = "failed to reset logger";

async fn client(parsed: &Parsed) -> anyhow::Result<LoggerClient<Channel>> {
    Ok(LoggerClient::new(api::connect(parsed).await?))
}

fn print(format: OutputFormat, logger: &Logger, terminal: &mut Terminal) -> anyhow::Result<()> {
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(logger)?),
        OutputFormat::Pretty => {
            let current = level_text(logger.current_level())?;
            let launch = level_text(logger.launch_level())?;
            terminal.line(&format!("Logger Level : {current}"));
            terminal.line(&format!("Launch Level : {launch}"));
            terminal.line("");
        }
    }
    Ok(())
}

fn level_text(level: LogLevel) -> anyhow::Result<&'static str> {
    let all = Level::ALL.into_iter();
    let found = all
        .map(|known| (wire_level(known), known))
        .find(|(wire, _)| *wire == level);
    match found {
        Some((_, known)) => Ok(known.as_str()),
        None => anyhow::bail!("the server answered without a log level"),
    }
}

fn wire_level(level: Level) -> LogLevel {
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
