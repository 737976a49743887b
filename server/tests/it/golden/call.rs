//! One gRPC call of any method, made through the compiled descriptors.

use std::time::Duration;

use anyhow::Context as _;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

const CALL_TIME: Duration = Duration::from_secs(10);
/// How long a stream may be silent before it counts as one that stays open.
const SILENCE: Duration = Duration::from_secs(1);

/// The services by their names in scripts.
const SERVICES: [(&str, &str); 13] = [
    ("Entry", "spire.api.server.entry.v1.Entry"),
    ("Agent", "spire.api.server.agent.v1.Agent"),
    ("SVID", "spire.api.server.svid.v1.SVID"),
    ("Bundle", "spire.api.server.bundle.v1.Bundle"),
    ("TrustDomain", "spire.api.server.trustdomain.v1.TrustDomain"),
    (
        "LocalAuthority",
        "spire.api.server.localauthority.v1.LocalAuthority",
    ),
    ("Logger", "spire.api.server.logger.v1.Logger"),
    ("Debug", "spire.api.server.debug.v1.Debug"),
    ("Health", "grpc.health.v1.Health"),
    ("Workload", "SpiffeWorkloadAPI"),
    ("AgentDebug", "spire.agent.debug.v1.Debug"),
    ("AgentLogger", "spire.api.agent.logger.v1.Logger"),
    (
        "Delegated",
        "spire.api.agent.delegatedidentity.v1.DelegatedIdentity",
    ),
];

/// What a call brought, in order.
pub(crate) enum Event {
    /// An answer.
    Message(DynamicMessage),
    /// The end by a failure.
    Failed(Status),
    /// The stream ended well or stays open; scripts do not tell the two apart.
    Open,
}

/// The method that a script names, as in `Entry.GetEntry`.
pub(crate) fn method(name: &str) -> anyhow::Result<MethodDescriptor> {
    let (service, method) = name.split_once('.').context("a method is Service.Method")?;
    let (_, full_name) = SERVICES
        .iter()
        .find(|(short, _)| *short == service)
        .with_context(|| format!("unknown service {service}"))?;
    proto::descriptors::pool()
        .get_service_by_name(full_name)
        .and_then(|service| service.methods().find(|found| found.name() == method))
        .with_context(|| format!("unknown method {name}"))
}

/// Makes the call. Of a client stream, each request is sent after the answer to the one before.
pub(crate) async fn call(
    channel: Channel,
    method: &MethodDescriptor,
    metadata: MetadataMap,
    requests: Vec<DynamicMessage>,
) -> anyhow::Result<Vec<Event>> {
    let mut client = Client {
        grpc: Grpc::new(channel),
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        codec: DynamicCodec(method.output()),
        metadata,
    };
    let ready = timeout(CALL_TIME, client.grpc.ready()).await?;
    if let Err(error) = ready {
        return Ok(vec![Event::Failed(Status::from_error(Box::new(error)))]);
    }
    if method.is_client_streaming() {
        return client.exchange(requests).await;
    }
    let request = requests.into_iter().next().context("one request")?;
    if method.is_server_streaming() {
        return client.listen(request).await;
    }
    Ok(vec![client.unary(request).await?])
}

struct Client {
    grpc: Grpc<Channel>,
    path: String,
    codec: DynamicCodec,
    metadata: MetadataMap,
}

impl Client {
    async fn unary(mut self, request: DynamicMessage) -> anyhow::Result<Event> {
        let request = self.request(request);
        let path = self.path.try_into()?;
        let answer = timeout(CALL_TIME, self.grpc.unary(request, path, self.codec)).await?;
        Ok(match answer {
            Ok(answer) => Event::Message(answer.into_inner()),
            Err(status) => Event::Failed(status),
        })
    }

    async fn listen(mut self, request: DynamicMessage) -> anyhow::Result<Vec<Event>> {
        let request = self.request(request);
        let path = self.path.try_into()?;
        let answer = self.grpc.server_streaming(request, path, self.codec);
        let mut stream = match timeout(CALL_TIME, answer).await? {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Ok(vec![Event::Failed(status)]),
        };
        let mut events = vec![next(&mut stream, CALL_TIME).await];
        drain(&mut stream, &mut events).await;
        Ok(events)
    }

    async fn exchange(mut self, requests: Vec<DynamicMessage>) -> anyhow::Result<Vec<Event>> {
        let (sender, receiver) = mpsc::channel(1);
        let mut requests = requests.into_iter();
        sender.send(requests.next().context("one request")?).await?;
        let request = self.request(ReceiverStream::new(receiver));
        let path = self.path.try_into()?;
        let answer = self.grpc.streaming(request, path, self.codec);
        let mut stream = match timeout(CALL_TIME, answer).await? {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Ok(vec![Event::Failed(status)]),
        };
        let mut events = vec![next(&mut stream, CALL_TIME).await];
        for request in requests {
            if !matches!(events.last(), Some(Event::Message(_))) {
                return Ok(events);
            }
            // A server that has ended the stream takes no more; its end is what the next read tells.
            sender.send(request).await.ok();
            events.push(next(&mut stream, CALL_TIME).await);
        }
        drop(sender);
        drain(&mut stream, &mut events).await;
        Ok(events)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }
}

async fn drain(stream: &mut Streaming<DynamicMessage>, events: &mut Vec<Event>) {
    while matches!(events.last(), Some(Event::Message(_))) {
        events.push(next(stream, SILENCE).await);
    }
}

async fn next(stream: &mut Streaming<DynamicMessage>, silence: Duration) -> Event {
    match timeout(silence, stream.message()).await {
        Ok(Ok(Some(message))) => Event::Message(message),
        Ok(Err(status)) => Event::Failed(status),
        Ok(Ok(None)) | Err(_) => Event::Open,
    }
}

/// Encodes any message, and decodes messages of the given kind.
#[derive(Clone)]
struct DynamicCodec(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = Self;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

struct DynamicEncoder;

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item.encode_to_vec());
        Ok(())
    }
}

impl Decoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        DynamicMessage::decode(self.0.clone(), bytes)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
