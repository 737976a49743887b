//! The services that every plugin has.

use std::sync::Arc;

use daemon::router::Router;
use daemon::supervisor::Shutdown;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use proto::grpc::health::v1::health_server::{Health, HealthServer};
use proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use proto::plugin::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};
use proto::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use proto::plugin::grpc_stdio_server::{GrpcStdio, GrpcStdioServer};
use proto::plugin::{ConnInfo, Empty, StdioData};
use proto::spire::service::common::config::v1::config_server::{Config, ConfigServer};
use proto::spire::service::common::config::v1::{
    ConfigureRequest, ConfigureResponse, ValidateRequest, ValidateResponse,
};
use proto::spire::service::private::init::v1::init_server::{Init, InitServer};
use proto::spire::service::private::init::v1::{
    DeinitRequest, DeinitResponse, InitRequest, InitResponse,
};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// What a plugin knows.
#[derive(Clone)]
pub(super) struct State {
    services: Vec<String>,
    configured: Arc<Mutex<String>>,
    host: watch::Sender<Option<String>>,
    end: Shutdown,
}

impl State {
    pub(super) fn new(services: Vec<String>) -> Self {
        Self {
            services,
            configured: Arc::default(),
            host: watch::Sender::new(None),
            end: Shutdown::new(),
        }
    }

    pub(super) fn end(&self) -> Shutdown {
        self.end.clone()
    }

    /// The last configuration: trust domain, space, text; and whether another one was refused since.
    pub(super) fn configured(&self) -> String {
        self.configured.lock().clone()
    }

    /// The process that runs this plugin, once the broker has named it.
    pub(super) async fn host(&self) -> Result<Channel, Status> {
        let mut host = self.host.subscribe();
        let path = host.wait_for(Option::is_some).await;
        let path = path.ok().and_then(|path| path.clone()).unwrap_or_default();
        let channel = daemon::unix::connect(path.as_ref()).await;
        channel.map_err(|error| Status::internal(error.to_string()))
    }
}

pub(super) fn add(router: Router, state: &State) -> Router {
    router
        .with(InitServer::new(state.clone()))
        .with(ConfigServer::new(state.clone()))
        .with(GrpcBrokerServer::new(state.clone()))
        .with(GrpcControllerServer::new(state.clone()))
        .with(GrpcStdioServer::new(state.clone()))
        .with(HealthServer::new(state.clone()))
}

#[tonic::async_trait]
impl Init for State {
    async fn init(&self, _: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        Ok(Response::new(InitResponse {
            plugin_service_names: self.services.clone(),
        }))
    }

    async fn deinit(&self, _: Request<DeinitRequest>) -> Result<Response<DeinitResponse>, Status> {
        Ok(Response::new(DeinitResponse {}))
    }
}

#[tonic::async_trait]
impl Config for State {
    async fn configure(
        &self,
        request: Request<ConfigureRequest>,
    ) -> Result<Response<ConfigureResponse>, Status> {
        let request = request.into_inner();
        if request.hcl_configuration.contains("bad") {
            self.configured.lock().push_str(", then refused");
            return Err(Status::invalid_argument("configuration is bad"));
        }
        let core = request.core_configuration.unwrap_or_default();
        let text = format!("{} {}", core.trust_domain, request.hcl_configuration);
        *self.configured.lock() = text.trim().to_owned();
        Ok(Response::new(ConfigureResponse {}))
    }

    async fn validate(
        &self,
        request: Request<ValidateRequest>,
    ) -> Result<Response<ValidateResponse>, Status> {
        let is_bad = request.into_inner().hcl_configuration.contains("bad");
        Ok(Response::new(ValidateResponse {
            valid: !is_bad,
            notes: is_bad
                .then(|| "configuration is bad".to_owned())
                .into_iter()
                .collect(),
        }))
    }
}

#[tonic::async_trait]
impl GrpcBroker for State {
    type StartStreamStream = BoxStream<'static, Result<ConnInfo, Status>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let mut infos = request.into_inner();
        // As a plugin in Go: nothing is answered, not even that the stream is open.
        while let Some(info) = infos.message().await? {
            if info.service_id == 1 && info.network == "unix" {
                self.host.send_replace(Some(info.address));
            }
        }
        Ok(Response::new(Box::pin(stream::empty())))
    }
}

#[tonic::async_trait]
impl GrpcController for State {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.end.request();
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl GrpcStdio for State {
    type StreamStdioStream = BoxStream<'static, Result<StdioData, Status>>;

    async fn stream_stdio(
        &self,
        _: Request<()>,
    ) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(Box::pin(stream::pending())))
    }
}

#[tonic::async_trait]
impl Health for State {
    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}
