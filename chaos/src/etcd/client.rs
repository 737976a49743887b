//! The one call of etcd's API that a comparison needs.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::{Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::client::{Outcome, within};

/// A connection to one member.
#[derive(Clone, Debug)]
pub struct Client(Channel);

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`, of which nothing is used.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct PutResponse {}

const PUT: &str = "/etcdserverpb.KV/Put";
const DEADLINE: Duration = Duration::from_secs(30);

impl Client {
    /// Calls through `channel`.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self(channel)
    }

    /// Puts one value under a key.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Outcome<()> {
        let mut client = Grpc::new(self.0.clone());
        let call = async {
            client
                .ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec: ProstCodec<PutRequest, PutResponse> = ProstCodec::default();
            let request = Request::new(PutRequest { key, value });
            client
                .unary(request, PathAndQuery::from_static(PUT), codec)
                .await
        };
        within(DEADLINE, call)
            .await
            .and_then(|_answer| Outcome::Done(()))
    }
}
