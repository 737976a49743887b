//! From the file to the settings: every rule that a value must keep.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use daemon::{
    config::{Findings, parse_duration},
    duration::format_go,
};
use identity::{secret::KeyType, spiffe_id::SpiffeId, trust_domain::TrustDomain};

use super::{Config, file::File, plugins};
use crate::endpoints::{Network, TrustedProxies};

pub(super) fn check(mut file: File) -> anyhow::Result<Config> {
    let mut findings = std::mem::take(&mut file.findings);
    let plugins = plugins::check(&file.plugins, &mut findings)?;
    let ca_key_type = key_type("ca_key_type", file.ca_key_type.as_deref())?;
    let jwt_key_type = key_type("jwt_key_type", file.jwt_key_type.as_deref())?;
    let ca_key_type = ca_key_type.unwrap_or(KeyType::EcP256);
    let lifetimes = Lifetimes::of(&file)?;
    lifetimes.warn(&mut findings);
    let data_dir = data_dir(file.data_dir)?;
    let (bind_address, bind_port) = listener(file.bind_address, file.bind_port)?;
    let seal_key_path = file.cluster.seal_key_path.take();
    let cluster = file
        .cluster
        .check((&bind_address, bind_port), &mut findings)?;
    let trust_domain = trust_domain(file.trust_domain.as_deref())?;
    let federation = file.federation.check(&trust_domain, &mut findings)?;
    let prune_for = file.prune_attested_nodes_expired_for.as_deref();
    Ok(Config {
        trust_domain,
        bind_address,
        bind_port,
        socket_path: file
            .socket_path
            .unwrap_or_else(|| DEFAULT_SOCKET_PATH.to_owned())
            .into(),
        log: file.log,
        ca_key_type,
        jwt_key_type: jwt_key_type.unwrap_or(ca_key_type),
        ca_ttl: lifetimes.ca,
        agent_ttl: lifetimes.agent,
        default_x509_svid_ttl: lifetimes.x509_svid,
        default_jwt_svid_ttl: lifetimes.jwt_svid,
        ca_subject: file.ca_subject.unwrap_or_default(),
        jwt_issuer: file.jwt_issuer.filter(|issuer| !issuer.is_empty()),
        disable_jwt_svids: file.disable_jwt_svids,
        admin_ids: admin_ids(&file.admin_ids)?,
        rate_limit: file.rate_limit,
        prune_attested_nodes_expired_for: parse_duration(
            prune_for,
            "prune_attested_nodes_expired_for",
        )?,
        prune_attested_nodes_batch_size: batch_size(file.prune_attested_nodes_batch_size)?,
        prune_tofu_nodes: file.prune_tofu_nodes,
        health_checks: file.health_checks,
        node_attestors: plugins.node_attestors,
        upstream: plugins.upstream,
        agent_id_selector: file.experimental.agent_id_selector,
        key_exchange: file.experimental.key_exchange,
        audit_log: file.audit_log,
        trusted_proxies: trusted_proxies(&file.trusted_proxies)?,
        federation,
        cluster,
        seal_key_path: match seal_key_path {
            Some(path) => path.into(),
            None => data_dir.join("seal.key"),
        },
        data_dir,
        explanations: findings.into_explanations()?,
    })
}

/// The settings of time, which depend on each other.
struct Lifetimes {
    ca: Duration,
    agent: Duration,
    x509_svid: Duration,
    jwt_svid: Duration,
}

impl Lifetimes {
    fn of(file: &File) -> anyhow::Result<Self> {
        let ca = parse_duration(file.ca_ttl.as_deref(), "default CA ttl")?;
        let agent = parse_duration(file.agent_ttl.as_deref(), "agent ttl")?;
        let x509_svid = file.default_x509_svid_ttl.as_deref();
        let x509_svid = parse_duration(x509_svid, "default X509 SVID ttl")?;
        let jwt_svid = file.default_jwt_svid_ttl.as_deref();
        let jwt_svid = parse_duration(jwt_svid, "default JWT SVID ttl")?;
        let x509_svid = x509_svid.unwrap_or(DEFAULT_X509_SVID_TTL);
        Ok(Self {
            ca: ca.unwrap_or(DEFAULT_CA_TTL),
            agent: agent.unwrap_or(x509_svid),
            x509_svid,
            jwt_svid: jwt_svid.unwrap_or(DEFAULT_JWT_SVID_TTL),
        })
    }

    /// An authority stops signing this long before it ends, so only shorter lifetimes are always whole.
    fn warn(&self, findings: &mut Findings) {
        let whole = (self.ca / ACTIVATION_FRACTION).min(ACTIVATION_MAXIMUM);
        for (name, ttl) in [
            ("agent_ttl", self.agent),
            ("default_x509_svid_ttl", self.x509_svid),
            ("default_jwt_svid_ttl", self.jwt_svid),
        ] {
            if ttl <= whole {
                continue;
            }
            let mut cure = format!("set it to {} or less", format_go(whole));
            if ttl <= ACTIVATION_MAXIMUM {
                let enough = format_go(ttl * ACTIVATION_FRACTION);
                cure.push_str(&format!(", or ca_ttl to {enough} or more"));
            }
            findings.note(format!(
                "{name} of {} may be cut short by the end of an authority with ca_ttl {}: {cure}",
                format_go(ttl),
                format_go(self.ca),
            ));
        }
    }
}

const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-server/private/api.sock";
const DEFAULT_CA_TTL: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_X509_SVID_TTL: Duration = Duration::from_secs(3600);
const DEFAULT_JWT_SVID_TTL: Duration = Duration::from_secs(5 * 60);
const DEFAULT_PRUNE_BATCH_SIZE: u32 = 1000;

/// The next authority signs from a sixth of the lifetime, seven days at most, before the last one ends.
const ACTIVATION_FRACTION: u32 = 6;
const ACTIVATION_MAXIMUM: Duration = Duration::from_secs(7 * 24 * 3600);

fn trust_domain(text: Option<&str>) -> anyhow::Result<TrustDomain> {
    let text = text.filter(|text| !text.is_empty());
    let text = text.context("trust_domain must be configured")?;
    TrustDomain::parse(text).with_context(|| format!("could not parse trust_domain {text:?}"))
}

fn data_dir(text: Option<String>) -> anyhow::Result<PathBuf> {
    let text = text.filter(|text| !text.is_empty());
    Ok(text.context("data_dir must be configured")?.into())
}

fn listener(address: Option<String>, port: Option<i64>) -> anyhow::Result<(String, u16)> {
    let address = address.unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = port.unwrap_or(8081);
    ensure!(
        !address.is_empty() && port != 0,
        "bind_address and bind_port must be configured"
    );
    match u16::try_from(port) {
        Ok(port) => Ok((address, port)),
        Err(_) => bail!(
            "could not resolve bind address \"{address}:{port}\": address {port}: invalid port"
        ),
    }
}

fn key_type(key: &str, text: Option<&str>) -> anyhow::Result<Option<KeyType>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let parsed = KeyType::parse(text);
    parsed
        .map(Some)
        .with_context(|| format!("error parsing {key}"))
}

fn admin_ids(texts: &[String]) -> anyhow::Result<Vec<SpiffeId>> {
    let parse = |text: &String| {
        SpiffeId::parse(text).with_context(|| format!("could not parse admin ID {text:?}"))
    };
    texts.iter().map(parse).collect()
}

fn trusted_proxies(texts: &[String]) -> anyhow::Result<TrustedProxies> {
    let networks = texts.iter().map(|text| text.parse::<Network>());
    let networks = networks.collect::<Result<_, _>>();
    networks
        .map(TrustedProxies::new)
        .context("could not parse proxy_protocol_trusted_cidrs")
}

fn batch_size(size: Option<i64>) -> anyhow::Result<u32> {
    match size.unwrap_or(0) {
        0 => Ok(DEFAULT_PRUNE_BATCH_SIZE),
        size => u32::try_from(size)
            .with_context(|| format!("prune_attested_nodes_batch_size {size} is out of range")),
    }
}
