//! Owns the Logger service: the level of this server's own log. Members of a cluster each have one.

use daemon::log::{Level, LogControl};
use proto::spire::api::server::logger::v1::logger_server::Logger;
use proto::spire::api::server::logger::v1::{
    GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest,
};
use proto::spire::api::types;
use proto::spire::api::types::LogLevel;
use tonic::{Request, Response, Status};

use crate::api::{audit, status};

/// The Logger service.
#[derive(Clone, Debug)]
pub struct LoggerApi {
    log: LogControl,
}

impl LoggerApi {
    /// The service over `log`.
    pub fn new(log: LogControl) -> Self {
        Self { log }
    }

    fn state(&self) -> Response<types::Logger> {
        Response::new(types::Logger {
            current_level: wire_level(self.log.level()).into(),
            launch_level: wire_level(self.log.launch_level()).into(),
        })
    }
}

#[tonic::async_trait]
impl Logger for LoggerApi {
    async fn get_logger(
        &self,
        _request: Request<GetLoggerRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        tracing::info!(subsystem_name = SUBSYSTEM, "GetLogger Called");
        Ok(self.state())
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        audit::note(&request, |request| {
            [("new_log_level", request.new_level().as_str_name().into())]
        });
        let level = LogLevel::try_from(request.get_ref().new_level)
            .map_err(|_unknown| status::no_log_level("unsupported log level"))?;
        let level = level_of(level)
            .ok_or_else(|| status::no_log_level("newLevel value cannot be LogLevel_UNSPECIFIED"))?;
        tracing::info!(
            new_log_level = level.as_str(),
            subsystem_name = SUBSYSTEM,
            "SetLogLevel Called"
        );
        self.log.set_level(level);
        Ok(self.state())
    }

    async fn reset_log_level(
        &self,
        _request: Request<ResetLogLevelRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        let level = self.log.launch_level();
        tracing::info!(
            launch_log_level = level.as_str(),
            subsystem_name = SUBSYSTEM,
            "ResetLogLevel Called"
        );
        self.log.set_level(level);
        Ok(self.state())
    }
}

const SUBSYSTEM: &str = "api";

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

fn level_of(wire: LogLevel) -> Option<Level> {
    Some(match wire {
        LogLevel::Unspecified => return None,
        LogLevel::Panic => Level::Panic,
        LogLevel::Fatal => Level::Fatal,
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
    })
}
