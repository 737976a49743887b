//! From the file's words to settings.

use std::{path::PathBuf, time::Duration};

use acme::settings::{Settings, check_domain};
use anyhow::{Context as _, bail, ensure};
use daemon::{duration, log};
use identity::trust_domain::TrustDomain;

use super::{Config, HealthChecks, HttpUrl, Listen, Source, UrlError, file, file::File};
use crate::domains::Domains;

/// Checks the settings against each other.
///
/// # Errors
/// The first rule that is broken, else the keys that are not supported yet.
pub(super) fn check(file: File) -> anyhow::Result<Config> {
    ensure!(
        !file.domains.is_empty(),
        "at least one domain must be configured"
    );
    let domains = Domains::new(&file.domains)?;
    let log = log::Options {
        format: file.log_format.as_deref().unwrap_or("text").parse()?,
        level: file.log_level.as_deref().unwrap_or("info").parse()?,
        file: file.log_path.map(PathBuf::from),
        source_location: false,
    };
    let source = check_source(file.server_api, file.workload_api, file.file);
    let explanations = file.findings.into_explanations()?;
    let others = (
        file.serving_cert_file,
        file.insecure_addr,
        file.listen_socket_path,
    );
    let listen = match file.acme {
        Some(acme) => check_acme(acme, &domains, &others),
        None => check_listen(others),
    }?;
    let (source, poll_interval) = source?;
    let jwt_issuer = file.jwt_issuer.as_deref().map(check_issuer).transpose()?;
    let jwks_uri = file.jwks_uri.as_deref().map(HttpUrl::parse).transpose();
    let mut config = Config {
        log,
        log_requests: file.log_requests,
        domains,
        set_key_use: file.set_key_use,
        allow_insecure_scheme: file.allow_insecure_scheme,
        jwt_issuer,
        jwks_uri: jwks_uri.context("the jwks_uri setting could not be parsed")?,
        server_path_prefix: file.server_path_prefix.unwrap_or_else(|| "/".to_owned()),
        listen,
        source,
        poll_interval,
        health_checks: file.health_checks.map(check_health).transpose()?,
        explanations,
    };
    ensure!(
        config.server_path_prefix.starts_with('/'),
        "server_path_prefix {:?} must begin with a slash",
        config.server_path_prefix
    );
    if config.jwks_uri.is_none() && config.jwt_issuer.is_some() {
        config.explanations.push(
            "jwt_issuer also decides where the keys are said to be, since jwks_uri is not set"
                .to_owned(),
        );
    }
    Ok(config)
}

/// The listeners beside ACME's: with certificate files, in the clear, and on a socket.
type OtherListeners = (
    Option<file::ServingCertFile>,
    Option<String>,
    Option<String>,
);

fn check_acme(
    acme: file::Acme,
    domains: &Domains,
    (serving, insecure_addr, socket): &OtherListeners,
) -> anyhow::Result<Listen> {
    ensure!(
        insecure_addr.is_none(),
        "insecure_addr and the acme section are mutually exclusive"
    );
    ensure!(
        acme.tos_accepted,
        "tos_accepted must be set to true in the acme configuration section"
    );
    let email = acme
        .email
        .context("email must be configured in the acme configuration section")?;
    ensure!(
        serving.is_none(),
        "acme and serving_cert_file are mutually exclusive"
    );
    ensure!(
        socket.is_none(),
        "listen_socket_path and the acme section are mutually exclusive"
    );
    for domain in domains.names() {
        check_domain(domain).context("the acme section cannot be used with all domains")?;
    }
    let directory_url = acme.directory_url.unwrap_or_default();
    let settings = Settings::new(&directory_url, &email, acme.tos_accepted);
    let cache = acme
        .cache_dir
        .unwrap_or_else(|| DEFAULT_CACHE_DIR.to_owned());
    Ok(Listen::Acme {
        address: acme
            .addr
            .unwrap_or_else(|| DEFAULT_HTTPS_ADDRESS.to_owned()),
        settings: settings.context("invalid acme configuration section")?,
        cache: (!cache.is_empty()).then(|| cache.into()),
    })
}

fn check_listen((serving, insecure_addr, socket): OtherListeners) -> anyhow::Result<Listen> {
    match (serving, insecure_addr, socket) {
        (Some(serving), None, None) => check_serving(serving),
        (None, Some(address), None) => Ok(Listen::Insecure { address }),
        (None, None, Some(path)) => Ok(Listen::Socket { path: path.into() }),
        (None, None, None) => bail!(
            "either acme, serving_cert_file, insecure_addr or listen_socket_path must be configured"
        ),
        (Some(_), Some(_), _) => {
            bail!("serving_cert_file and insecure_addr are mutually exclusive")
        }
        (Some(_), None, Some(_)) => {
            bail!("serving_cert_file and listen_socket_path are mutually exclusive")
        }
        (None, Some(_), Some(_)) => {
            bail!("insecure_addr and listen_socket_path are mutually exclusive")
        }
    }
}

fn check_serving(serving: file::ServingCertFile) -> anyhow::Result<Listen> {
    let needed = |path: Option<String>, name: &str| {
        path.map(PathBuf::from).with_context(|| {
            format!("{name} must be configured in the serving_cert_file configuration section")
        })
    };
    let interval = interval(
        serving.file_sync_interval.as_deref(),
        DEFAULT_FILE_SYNC_INTERVAL,
        "file_sync_interval in the serving_cert_file",
    )?;
    Ok(Listen::CertificateFiles {
        certificate: needed(serving.cert_file_path, "cert_file_path")?,
        key: needed(serving.key_file_path, "key_file_path")?,
        address: serving
            .addr
            .unwrap_or_else(|| DEFAULT_HTTPS_ADDRESS.to_owned()),
        sync_interval: interval,
    })
}

fn check_source(
    server_api: Option<file::ServerApi>,
    workload_api: Option<file::WorkloadApi>,
    file: Option<file::BundleFile>,
) -> anyhow::Result<(Source, Duration)> {
    match (server_api, workload_api, file) {
        (Some(api), None, None) => check_server_api(&api),
        (None, Some(api), None) => check_workload_api(api),
        (None, None, Some(file)) => {
            let path = file
                .path
                .context("path must be configured in the file configuration section")?;
            let interval = poll_interval(file.poll_interval.as_deref(), "file")?;
            Ok((Source::File { path: path.into() }, interval))
        }
        (None, None, None) => bail!(
            "exactly one of the server_api, workload_api, or file sections must be configured"
        ),
        _ => bail!("the server_api, workload_api, and file sections are mutually exclusive"),
    }
}

fn check_server_api(api: &file::ServerApi) -> anyhow::Result<(Source, Duration)> {
    let interval = poll_interval(api.poll_interval.as_deref(), "server_api")?;
    let address = api
        .address
        .as_deref()
        .context("address must be configured in the server_api configuration section")?;
    let path = address
        .strip_prefix("unix:")
        .context("address must use the unix name system in the server_api configuration section")?;
    // `unix:PATH` and `unix:///PATH` (gRPC Name Resolution).
    let path = path.strip_prefix("//").unwrap_or(path);
    ensure!(
        !path.is_empty(),
        "address {address:?} names no socket in the server_api configuration section"
    );
    let socket = path.into();
    Ok((Source::ServerApi { socket }, interval))
}

fn check_workload_api(api: file::WorkloadApi) -> anyhow::Result<(Source, Duration)> {
    let trust_domain = api
        .trust_domain
        .context("trust_domain must be configured in the workload_api configuration section")?;
    let trust_domain = TrustDomain::parse(&trust_domain)
        .context("trust_domain in the workload_api configuration section")?;
    let interval = poll_interval(api.poll_interval.as_deref(), "workload_api")?;
    let socket = api
        .socket_path
        .context("socket_path must be configured in the workload_api configuration section")?;
    let source = Source::WorkloadApi {
        socket: socket.into(),
        trust_domain,
    };
    Ok((source, interval))
}

fn check_issuer(text: &str) -> anyhow::Result<HttpUrl> {
    HttpUrl::parse(text).map_err(|error| match error {
        UrlError::Malformed => anyhow::anyhow!("the jwt_issuer url could not be parsed: {text:?}"),
        UrlError::NoScheme => anyhow::anyhow!("the jwt_issuer url must contain a scheme"),
        UrlError::NoHost => anyhow::anyhow!("the jwt_issuer url must contain a host"),
    })
}

fn check_health(health: file::HealthChecks) -> anyhow::Result<HealthChecks> {
    // As in SPIRE, what is no positive number is the default.
    let port = health.bind_port.filter(|port| *port > 0);
    let bind_port = port.map_or(Ok(DEFAULT_HEALTH_PORT), u16::try_from);
    let path = |path: Option<String>, default: &str| path.unwrap_or_else(|| default.to_owned());
    let checked = HealthChecks {
        bind_port: bind_port.context("health_checks.bind_port is no port")?,
        live_path: path(health.live_path, "/live"),
        ready_path: path(health.ready_path, "/ready"),
    };
    for path in [&checked.live_path, &checked.ready_path] {
        ensure!(
            path.starts_with('/'),
            "health_checks path {path:?} must begin with a slash"
        );
    }
    ensure!(
        checked.live_path != checked.ready_path,
        "health_checks.live_path and ready_path must not be the same"
    );
    Ok(checked)
}

fn poll_interval(text: Option<&str>, section: &str) -> anyhow::Result<Duration> {
    interval(
        text,
        DEFAULT_POLL_INTERVAL,
        &format!("poll_interval in the {section}"),
    )
}

/// As in SPIRE, zero is the default.
fn interval(text: Option<&str>, default: Duration, what: &str) -> anyhow::Result<Duration> {
    let Some(text) = text else {
        return Ok(default);
    };
    let interval = duration::parse_go(text)
        .with_context(|| format!("invalid {what} configuration section"))?;
    Ok(match interval.is_zero() {
        true => default,
        false => interval,
    })
}

/// As in SPIRE: where the process was started.
const DEFAULT_CACHE_DIR: &str = "./.acme-cache";
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_FILE_SYNC_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_HTTPS_ADDRESS: &str = ":443";
const DEFAULT_HEALTH_PORT: u16 = 8008;
