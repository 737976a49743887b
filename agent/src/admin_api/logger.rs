//! The log level of the running agent.

use daemon::log::{Level, LogControl};
use proto::spire::api::agent::logger::v1::logger_server::{Logger, LoggerServer};
use proto::spire::api::agent::logger::v1::{
    GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest,
};
use proto::spire::api::types;
use proto::spire::api::types::LogLevel;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::endpoints::MAX_REQUEST_LEN_BYTES;

pub(super) fn server(log: LogControl) -> LoggerServer<Service> {
    LoggerServer::new(Service(log)).max_decoding_message_size(MAX_REQUEST_LEN_BYTES)
}

pub(super) struct Service(LogControl);

#[tonic::async_trait]
impl Logger for Service {
    async fn get_logger(
        &self,
        _request: Request<GetLoggerRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        info!("GetLogger Called");
        Ok(self.state())
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        let level = level(request.into_inner().new_level)?;
        info!(new_log_level = %level, "SetLogLevel Called");
        self.0.set_level(level);
        Ok(self.state())
    }

    async fn reset_log_level(
        &self,
        _request: Request<ResetLogLevelRequest>,
    ) -> Result<Response<types::Logger>, Status> {
        let level = self.0.launch_level();
        info!(launch_log_level = %level, "ResetLogLevel Called");
        self.0.set_level(level);
        Ok(self.state())
    }
}

impl Service {
    fn state(&self) -> Response<types::Logger> {
        Response::new(types::Logger {
            current_level: wire(self.0.level()).into(),
            launch_level: wire(self.0.launch_level()).into(),
        })
    }
}

fn level(number: i32) -> Result<Level, Status> {
    Ok(match LogLevel::try_from(number) {
        Ok(LogLevel::Unspecified) => {
            return Err(Status::invalid_argument(
                "newLevel value cannot be LogLevel_UNSPECIFIED",
            ));
        }
        Err(_unknown) => return Err(Status::invalid_argument("unsupported log level")),
        Ok(LogLevel::Panic) => Level::Panic,
        Ok(LogLevel::Fatal) => Level::Fatal,
        Ok(LogLevel::Error) => Level::Error,
        Ok(LogLevel::Warn) => Level::Warn,
        Ok(LogLevel::Info) => Level::Info,
        Ok(LogLevel::Debug) => Level::Debug,
        Ok(LogLevel::Trace) => Level::Trace,
    })
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
    fn levels_survive_the_wire_and_others_are_refused() {
        for one in Level::ALL {
            assert_eq!(level(wire(one).into()).unwrap(), one);
        }
        for (number, expected) in [
            (0, "newLevel value cannot be LogLevel_UNSPECIFIED"),
            (8, "unsupported log level"),
            (-1, "unsupported log level"),
        ] {
            assert_eq!(level(number).unwrap_err().message(), expected);
        }
    }
}
