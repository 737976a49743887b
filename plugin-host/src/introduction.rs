//! The first calls to a plugin: what it is, and its configuration.
//!
//! Of the services that it names only those that are known here count; of others a few are told to the log.

use std::time::Duration;

use proto::spire::service::common::config::v1::config_client::ConfigClient;
use proto::spire::service::common::config::v1::{
    ConfigureRequest, CoreConfiguration, ValidateRequest, config_server,
};
use proto::spire::service::private::init::v1::InitRequest;
use proto::spire::service::private::init::v1::init_client::InitClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::warn;

use crate::life::{Host, StartError};
use crate::settings::Kind;

/// A plugin that has said what it is.
pub(crate) struct Introduced {
    channel: Channel,
    has_config: bool,
}

impl Introduced {
    /// Has the plugin at the other end of `channel` begin, and say what it is.
    ///
    /// # Errors
    /// It does not answer, or is of another kind.
    pub(crate) async fn new(channel: Channel, kind: Kind, host: &Host) -> Result<Self, StartError> {
        let request = InitRequest {
            host_service_names: host.services.names(),
        };
        let mut client = InitClient::new(channel.clone());
        let answer = within(host.limits.start, client.init(request)).await;
        let found = answer
            .map_err(StartError::Init)?
            .into_inner()
            .plugin_service_names;
        let wanted = kind.service();
        if !found.iter().any(|name| name == wanted) {
            return Err(StartError::WrongService { wanted, found });
        }
        let has_config = found.iter().any(|name| name == config_server::SERVICE_NAME);
        let known = [wanted, config_server::SERVICE_NAME];
        let others = found.iter().filter(|name| !known.contains(&name.as_str()));
        for name in others.take(MAX_TOLD) {
            warn!(plugin_service = %name, "Unsupported plugin service found");
        }
        Ok(Self {
            channel,
            has_config,
        })
    }

    /// The connection.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Has the plugin take `data`, which nothing but the plugin understands.
    ///
    /// # Errors
    /// The plugin cannot be configured, or does not like it.
    pub(crate) async fn configure(
        &self,
        data: Option<&str>,
        host: &Host,
    ) -> Result<(), StartError> {
        let text = match (self.has_config, data) {
            (false, None) => return Ok(()),
            (false, Some(_)) => return Err(StartError::NoConfig),
            (true, data) => data.unwrap_or_default(),
        };
        let request = ConfigureRequest {
            core_configuration: Some(core(host)),
            hcl_configuration: text.to_owned(),
        };
        let mut client = ConfigClient::new(self.channel());
        let answer = within(host.limits.start, client.configure(request)).await;
        answer.map(drop).map_err(StartError::Configure)
    }

    /// What the plugin has to say against `data`, without taking it.
    ///
    /// # Errors
    /// The plugin cannot be configured, or does not answer.
    pub(crate) async fn validate(
        &self,
        data: Option<&str>,
        host: &Host,
    ) -> Result<Vec<String>, StartError> {
        if !self.has_config {
            return match data {
                None => Ok(Vec::new()),
                Some(_) => Err(StartError::NoConfig),
            };
        }
        let request = ValidateRequest {
            core_configuration: Some(core(host)),
            hcl_configuration: data.unwrap_or_default().to_owned(),
        };
        let mut client = ConfigClient::new(self.channel());
        match within(host.limits.start, client.validate(request)).await {
            Ok(answer) => Ok(answer.into_inner().notes),
            Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
            Err(status) => Err(StartError::Configure(status)),
        }
    }
}

fn core(host: &Host) -> CoreConfiguration {
    CoreConfiguration {
        trust_domain: host.trust_domain.clone(),
    }
}

/// The answer to a call, or that there was none in time.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Status::deadline_exceeded(format!(
            "no answer within {limit:?}"
        ))),
    }
}

/// Services of which nobody here knows that are told of.
const MAX_TOLD: usize = 16;
