//! Runs the lines of a `*.script`: gRPC calls as callers of every kind.
//!
//! ```text
//! as unix | tcp | agent NAME | mint /path | foreign /path | workload | agent-socket | agent-admin
//! call Service.Method {json}      a JSON array for the requests of a client stream
//! keep NAME a.0.b                 keeps a value of the last answer as ${NAME}
//! wait 6s                         what follows may take that long to come true
//! ```

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use prost_reflect::{DynamicMessage, MethodDescriptor};
use proto::spire::api::server::agent::v1 as agent;
use proto::spire::api::server::svid::v1 as svid;
use proto::spire::api::types;
use serde_json::Value;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;

use super::answer;
use super::call::{self, Event};
use super::channel::{self, ClientCertificate};
use super::mask::Mask;
use super::material;
use super::world::World;

const TRUST_DOMAIN: &str = "example.org";

/// The state of a running script.
pub(crate) struct Script<'a> {
    world: &'a World,
    admin: Channel,
    channel: Channel,
    metadata: MetadataMap,
    agents: BTreeMap<String, Channel>,
    authorities: BTreeMap<String, String>,
    mask: Mask,
    last: Option<Value>,
}

impl<'a> Script<'a> {
    /// A script that begins as the local administrator.
    pub(crate) fn new(world: &'a World, dropped_certificates: Vec<String>) -> Self {
        let admin = channel::unix(&world.server_socket());
        Self {
            world,
            channel: admin.clone(),
            admin,
            metadata: MetadataMap::new(),
            agents: BTreeMap::new(),
            authorities: BTreeMap::new(),
            mask: Mask {
                dropped_certificates,
                ..Mask::default()
            },
            last: None,
        }
    }

    /// Carries out a line; returns the answer's lines.
    pub(crate) async fn line(&mut self, line: &str) -> anyhow::Result<Vec<String>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "as" => self.become_caller(rest).await.map(|()| Vec::new()),
            "call" => self.call(rest).await,
            "keep" => Ok(self.keep(rest)),
            "#" | "wait" => Ok(Vec::new()),
            _ => bail!("unknown line"),
        }
    }

    async fn become_caller(&mut self, caller: &str) -> anyhow::Result<()> {
        let (kind, argument) = caller.split_once(' ').unwrap_or((caller, ""));
        self.metadata = MetadataMap::new();
        self.channel = match kind {
            "unix" => self.admin.clone(),
            "tcp" => channel::tls(self.world.port, None)?,
            "agent" => self.agent(argument).await?,
            "mint" => self.minted(argument).await?,
            "foreign" => self.foreign(argument)?,
            "workload" => {
                let yes = MetadataValue::from_static("true");
                self.metadata.insert("workload.spiffe.io", yes);
                channel::unix(&self.world.agent_socket())
            }
            "agent-socket" => channel::unix(&self.world.agent_socket()),
            "agent-admin" => channel::unix(&self.world.path("admin/api.sock")),
            _ => bail!("unknown caller"),
        };
        Ok(())
    }

    /// The connection of an agent, which is attested by join token when it is first named.
    async fn agent(&mut self, name: &str) -> anyhow::Result<Channel> {
        if let Some(channel) = self.agents.get(name) {
            return Ok(channel.clone());
        }
        let token = agent::agent_client::AgentClient::new(self.admin.clone())
            .create_join_token(agent::CreateJoinTokenRequest {
                ttl: 60,
                ..Default::default()
            })
            .await?
            .into_inner();
        let (svid, certificate) = attest(self.world.port, token.value).await?;
        let id = svid.id.context("an SVID has an ID")?;
        let channel = channel::tls(self.world.port, Some(certificate))?;
        self.mask.agents.insert(name.to_owned(), id.path);
        self.agents.insert(name.to_owned(), channel.clone());
        Ok(channel)
    }

    async fn minted(&self, path: &str) -> anyhow::Result<Channel> {
        let key = material::key()?;
        let csr = material::request(&key, &format!("spiffe://{TRUST_DOMAIN}{path}"))?;
        let minted = svid::svid_client::SvidClient::new(self.admin.clone())
            .mint_x509svid(svid::MintX509svidRequest { csr, ttl: 3600 })
            .await?
            .into_inner();
        let svid = minted.svid.context("an answer has an SVID")?;
        channel::tls(self.world.port, Some((svid.cert_chain, key)))
    }

    fn foreign(&self, path: &str) -> anyhow::Result<Channel> {
        let id = format!("spiffe://{TRUST_DOMAIN}{path}");
        let (certificate, key) = material::foreign_certificate(TRUST_DOMAIN, &id)?;
        channel::tls(self.world.port, Some((vec![certificate], key)))
    }

    async fn call(&mut self, rest: &str) -> anyhow::Result<Vec<String>> {
        let (name, body) = rest.split_once(' ').unwrap_or((rest, "{}"));
        let method = call::method(name)?;
        let body: Value = serde_json::from_str(&self.expand(body).await?)?;
        let requests = requests(&method, body)
            .into_iter()
            .map(|request| decode(&method, request))
            .collect::<anyhow::Result<_>>()?;
        let channel = self.channel.clone();
        let events = call::call(channel, &method, self.metadata.clone(), requests).await?;
        let mut lines = Vec::new();
        for event in events {
            match event {
                Event::Message(message) => {
                    let value = answer::json(&message)?;
                    lines.extend(answer::message_lines(&self.mask, value.clone()));
                    self.last = Some(value);
                }
                Event::Failed(status) => {
                    lines.extend(answer::failure_lines(&self.mask, &status)?);
                    self.last = None;
                }
                Event::Open => lines.push("  (stream stays open)".to_owned()),
            }
        }
        Ok(lines)
    }

    fn keep(&mut self, rest: &str) -> Vec<String> {
        let (name, path) = rest.split_once(' ').unwrap_or((rest, ""));
        let pointer = format!("/{}", path.replace('.', "/"));
        let found = self.last.as_ref().and_then(|last| last.pointer(&pointer));
        let kept = found.and_then(Value::as_str).map(str::to_owned);
        let lines = match kept {
            Some(_) => Vec::new(),
            None => vec![format!("  (nothing to keep at {path})")],
        };
        let value = kept.unwrap_or_else(|| format!("missing-{name}"));
        self.mask.kept.insert(name.to_owned(), value);
        lines
    }

    /// Fills in what stands between `${` and `}`.
    async fn expand(&mut self, text: &str) -> anyhow::Result<String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').context("a name ends with }")?;
            expanded.push_str(before);
            expanded.push_str(&self.named(name).await?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    async fn named(&mut self, name: &str) -> anyhow::Result<String> {
        let (kind, argument) = name.split_once(':').unwrap_or((name, ""));
        Ok(match kind {
            "csr" => material::base64(&material::request(&material::key()?, argument)?),
            "csr-badsig" => material::base64(&material::request_with_bad_signature(argument)?),
            "pubkey" => material::base64(&material::public_key()?),
            "ca" => {
                if !self.authorities.contains_key(argument) {
                    let authority = material::base64(&material::authority(argument)?);
                    self.authorities.insert(argument.to_owned(), authority);
                }
                self.authorities[argument].clone()
            }
            "agent" => {
                self.agent(argument).await?;
                self.mask.agents[argument].clone()
            }
            "x" => "x".repeat(argument.parse()?),
            _ => self
                .mask
                .kept
                .get(name)
                .with_context(|| format!("unknown name {name}"))?
                .clone(),
        })
    }
}

/// Attests a new agent by its token.
async fn attest(port: u16, token: String) -> anyhow::Result<(types::X509svid, ClientCertificate)> {
    let key = material::key()?;
    let params = agent::attest_agent_request::Params {
        data: Some(types::AttestationData {
            r#type: "join_token".to_owned(),
            payload: token.into_bytes(),
        }),
        params: Some(agent::AgentX509svidParams {
            csr: material::request(&key, "")?,
        }),
    };
    let request = agent::AttestAgentRequest {
        step: Some(agent::attest_agent_request::Step::Params(params)),
    };
    let answer = agent::agent_client::AgentClient::new(channel::tls(port, None)?)
        .attest_agent(tokio_stream::iter([request]))
        .await?
        .into_inner()
        .message()
        .await?;
    let Some(agent::attest_agent_response::Step::Result(result)) =
        answer.and_then(|answer| answer.step)
    else {
        bail!("attestation brought no result");
    };
    let svid = result.svid.context("a result has an SVID")?;
    let chain = svid.cert_chain.clone();
    Ok((svid, (chain, key)))
}

/// The requests that a body stands for: several only of a client stream.
fn requests(method: &MethodDescriptor, body: Value) -> Vec<Value> {
    match body {
        Value::Array(items) if method.is_client_streaming() => items,
        other => vec![other],
    }
}

fn decode(method: &MethodDescriptor, request: Value) -> anyhow::Result<DynamicMessage> {
    Ok(DynamicMessage::deserialize(method.input(), request)?)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::golden::fixture::{Fixture, folder};

    #[test]
    fn every_call_of_the_fixtures_can_be_made() {
        let placeholder = Regex::new(r"\$\{[^}]*\}").unwrap();
        let mut calls = 0;
        for file in std::fs::read_dir(folder()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".script") {
                continue;
            }
            for step in Fixture::load(&name).unwrap().steps {
                let Some(call) = step.line.strip_prefix("call ") else {
                    continue;
                };
                let (method, body) = call.split_once(' ').unwrap_or((call, "{}"));
                let method = call::method(method).unwrap();
                // Good as base64 and as a number.
                let body = placeholder.replace_all(body, "1111");
                for request in requests(&method, serde_json::from_str(&body).unwrap()) {
                    decode(&method, request).unwrap();
                }
                calls += 1;
            }
        }
        assert!(calls > 400, "{calls}");
    }
}
