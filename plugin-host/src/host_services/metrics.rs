//! Metrics of plugins. They are taken, as by a SPIRE without a `telemetry` block, and go nowhere: this process
//! has no metrics to add them to.

use proto::spire::hostservice::common::metrics::v1::metrics_server::{Metrics, MetricsServer};
use proto::spire::hostservice::common::metrics::v1::{
    AddSampleRequest, EmitKeyRequest, IncrCounterRequest, MeasureSinceRequest, SetGaugeRequest,
};
use tonic::{Request, Response, Status};

#[derive(Clone, Copy, Debug)]
pub(super) struct Taken;

pub(super) fn server() -> MetricsServer<Taken> {
    MetricsServer::new(Taken)
}

#[tonic::async_trait]
impl Metrics for Taken {
    async fn set_gauge(&self, _: Request<SetGaugeRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn emit_key(&self, _: Request<EmitKeyRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn incr_counter(&self, _: Request<IncrCounterRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn add_sample(&self, _: Request<AddSampleRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn measure_since(&self, _: Request<MeasureSinceRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}
