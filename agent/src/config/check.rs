//! From the file to the settings: every rule that a value must keep.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use daemon::{bounded_file, config::parse_duration, duration::format_go};
use identity::{secret::KeyType, spiffe_id::SpiffeId, tls::KeyExchange, trust_domain::TrustDomain};

use super::{
    Config, JoinToken, KeyManager, bootstrap,
    file::{Experimental, File, RATE_LIMITED},
    flags::Texts,
    plugins, sockets,
};
use crate::endpoints::CallsPerSecond;

pub(super) fn check(mut file: File) -> anyhow::Result<Config> {
    let mut findings = std::mem::take(&mut file.findings);
    let server_addresses = server_addresses(&file)?;
    let trust_domain = trust_domain(&file.texts)?;
    let data_dir = file.texts.data_dir.take();
    let data_dir = PathBuf::from(data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.to_owned()));
    let settings = plugins::check(&file.plugins, &data_dir, &mut findings)?;
    let (bootstrap, rebootstrap) = bootstrap::check(&file, &mut findings)?;
    let sockets = sockets::check(&mut file, &mut findings)?;
    let experimental = std::mem::take(&mut file.experimental);
    let sync_interval = experimental.sync_interval.as_deref();
    let sync_interval = parse_duration(sync_interval, "synchronization interval")?;
    let jwt_svid_cache_hit_timeout = cache_hit_timeout(&experimental)?;
    Ok(Config {
        authorized_delegates: delegate_ids(&file.authorized_delegates, &trust_domain)?,
        bootstrap,
        rebootstrap,
        join_token: join_token(&mut file.texts)?,
        sync_interval: sync_interval.unwrap_or(DEFAULT_SYNC_INTERVAL),
        x509_svid_cache_max_size: cache_size(
            "x509_svid_cache_max_size",
            file.x509_svid_cache_max_size,
        )?,
        jwt_svid_cache_max_size: cache_size(
            "jwt_svid_cache_max_size",
            file.jwt_svid_cache_max_size,
        )?,
        jwt_svid_cache_hit_timeout,
        rate_limits: rate_limits(&experimental)?,
        key_exchange: match experimental.require_pq_kem {
            true => KeyExchange::PostQuantum,
            false => KeyExchange::Any,
        },
        workload_x509_svid_key_type: key_type(file.workload_x509_svid_key_type.as_deref())?,
        availability_target: availability_target(file.availability_target.as_deref())?,
        node_attestor: settings.node_attestor,
        trust_domain,
        server_addresses,
        socket_path: sockets.socket_path,
        disable_workload_api: file.disable_workload_api,
        disable_sds_api: file.disable_sds_api,
        sds: sockets.sds,
        admin_socket_path: sockets.admin_socket_path,
        key_manager: settings.key_manager.unwrap_or_else(|| KeyManager::Disk {
            directory: data_dir.clone(),
        }),
        data_dir,
        log_selectors: file.log_selectors,
        log: file.log,
        allow_unauthenticated_verifiers: file.allow_unauthenticated_verifiers,
        allowed_foreign_jwt_claims: file.allowed_foreign_jwt_claims,
        unix: settings.unix,
        docker: settings.docker,
        workload_attestors: settings.workload_attestors,
        health_checks: file.health_checks,
        explanations: findings.into_explanations()?,
    })
}

const DEFAULT_DATA_DIR: &str = ".";
const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_CACHE_SIZE: usize = 1000;
const CACHE_HIT_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
const MINIMUM_AVAILABILITY_TARGET: Duration = Duration::from_secs(24 * 3600);

/// No join token is longer; a file that is was named by mistake.
const MAX_TOKEN_LEN_BYTES: usize = 4096;

fn trust_domain(texts: &Texts) -> anyhow::Result<TrustDomain> {
    let text = texts.trust_domain.as_deref();
    let text = text.context("trust_domain must be configured")?;
    TrustDomain::parse(text).with_context(|| format!("could not parse trust_domain {text:?}"))
}

/// Either SPIRE's address and port, or a list of addresses with ports.
fn server_addresses(file: &File) -> anyhow::Result<Vec<(String, u16)>> {
    let address = file.texts.server_address.as_deref();
    let port = file.server_port.filter(|port| *port != 0);
    if file.server_addresses.is_empty() {
        let address = address.context("server_address must be configured")?;
        let port = port.context("server_port must be configured")?;
        let port =
            u16::try_from(port).with_context(|| format!("server_port {port} is out of range"))?;
        return Ok(vec![(address.to_owned(), port)]);
    }
    ensure!(
        address.is_none() && port.is_none(),
        "only one of server_addresses or server_address with server_port can be specified, not both"
    );
    file.server_addresses
        .iter()
        .map(|address| host_and_port(address))
        .collect()
}

fn host_and_port(address: &str) -> anyhow::Result<(String, u16)> {
    let malformed = || format!("server_addresses: {address:?} must be formatted as host:port");
    let (host, port) = address.rsplit_once(':').with_context(malformed)?;
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.with_context(malformed)?;
    let unbracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = unbracketed.unwrap_or(host);
    let is_bare_ipv6 = unbracketed.is_none() && host.contains(':');
    ensure!(!host.is_empty() && !is_bare_ipv6, malformed());
    Ok((host.to_owned(), port))
}

fn join_token(texts: &mut Texts) -> anyhow::Result<Option<JoinToken>> {
    match (texts.join_token.take(), texts.join_token_file.take()) {
        (Some(_), Some(_)) => {
            bail!("only one of join_token or join_token_file can be specified, not both")
        }
        (Some(token), None) => Ok(Some(JoinToken::new(token))),
        (None, Some(path)) => read_join_token(Path::new(&path)).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_join_token(path: &Path) -> anyhow::Result<JoinToken> {
    let describe = || format!("unable to read join token file {path:?}");
    let text = bounded_file::read_text(path, MAX_TOKEN_LEN_BYTES).with_context(describe)?;
    let token = text.trim();
    ensure!(!token.is_empty(), "join token file {path:?} is empty");
    Ok(JoinToken::new(token.to_owned()))
}

fn delegate_ids(texts: &[String], own: &TrustDomain) -> anyhow::Result<Vec<SpiffeId>> {
    let parse = |text: &String| {
        let describe = || format!("error validating authorized delegate {text:?}");
        let id = SpiffeId::parse(text).with_context(describe)?;
        ensure!(
            id.is_member_of(own),
            "{}: not a member of trust domain \"{own}\"",
            describe()
        );
        Ok(id)
    };
    texts.iter().map(parse).collect()
}

fn cache_size(key: &str, size: Option<i64>) -> anyhow::Result<usize> {
    match size.unwrap_or(0) {
        0 => Ok(DEFAULT_CACHE_SIZE),
        size => usize::try_from(size).with_context(|| format!("{key} must not be negative")),
    }
}

fn cache_hit_timeout(experimental: &Experimental) -> anyhow::Result<Duration> {
    let text = experimental.jwt_svid_cache_hit_timeout.as_deref();
    let timeout = parse_duration(text, "jwt_svid_cache_hit_timeout")?;
    let timeout = timeout.unwrap_or(CACHE_HIT_TIMEOUTS.0);
    let (least, most) = CACHE_HIT_TIMEOUTS;
    let shown = format_go(timeout);
    ensure!(
        timeout >= least,
        "jwt_svid_cache_hit_timeout ({shown}) must be greater than {}",
        format_go(least)
    );
    ensure!(
        timeout <= most,
        "jwt_svid_cache_hit_timeout ({shown}) must be less than {}",
        format_go(most)
    );
    Ok(timeout)
}

fn rate_limits(experimental: &Experimental) -> anyhow::Result<CallsPerSecond> {
    let mut limits = CallsPerSecond::new();
    for (key, limit) in &experimental.rate_limits {
        ensure!(
            *limit >= 0,
            "experimental.ratelimit.{key} must not be negative"
        );
        let limit = u32::try_from(*limit)
            .with_context(|| format!("experimental.ratelimit.{key} is out of range"))?;
        let method = RATE_LIMITED.iter().find(|(name, _)| name == key);
        limits.extend(
            method
                .map(|(_, method)| *method)
                .zip(NonZeroU32::new(limit)),
        );
    }
    Ok(limits)
}

fn key_type(text: Option<&str>) -> anyhow::Result<KeyType> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(KeyType::EcP256);
    };
    match KeyType::parse(text) {
        Ok(found @ (KeyType::Rsa2048 | KeyType::EcP256 | KeyType::EcP384)) => Ok(found),
        Ok(KeyType::Rsa4096) | Err(_) => bail!(
            "error parsing workload_x509_svid_key_type: key type {text:?} is unknown; must be one of [rsa-2048, ec-p256, ec-p384]"
        ),
    }
}

fn availability_target(text: Option<&str>) -> anyhow::Result<Option<Duration>> {
    let target = parse_duration(text, "availability_target")?;
    ensure!(
        target.is_none_or(|target| target >= MINIMUM_AVAILABILITY_TARGET),
        "availability_target must be at least 24h0m0s"
    );
    Ok(target)
}
