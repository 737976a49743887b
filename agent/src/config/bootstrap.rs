//! How the first server is trusted, and when a changed one is trusted anew.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use daemon::config::{Findings, parse_duration};

use super::{Bootstrap, BundleFormat, Rebootstrap, file::File, flags::Texts};

pub(super) fn check(
    file: &File,
    findings: &mut Findings,
) -> anyhow::Result<(Bootstrap, Option<Rebootstrap>)> {
    let bootstrap = bootstrap(file)?;
    let rebootstrap = rebootstrap(&file.texts, findings)?;
    ensure!(
        rebootstrap.is_none() || bootstrap != Bootstrap::Insecure,
        "insecure_bootstrap option can not be used with rebootstrapping"
    );
    Ok((bootstrap, rebootstrap))
}

fn bootstrap(file: &File) -> anyhow::Result<Bootstrap> {
    let texts = &file.texts;
    let given = [
        ("insecure_bootstrap", file.insecure_bootstrap),
        ("trust_bundle_url", texts.trust_bundle_url.is_some()),
        ("trust_bundle_path", texts.trust_bundle_path.is_some()),
        (
            "trust_bundle_spiffe_workload_api",
            texts.trust_bundle_spiffe_workload_api.is_some(),
        ),
    ];
    let given: Vec<&str> = given
        .into_iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(key, _)| key)
        .collect();
    match given.as_slice() {
        [] => bail!(
            "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be configured unless insecure_bootstrap is set"
        ),
        [_] => {}
        [one, another] => bail!("only one of {one} or {another} can be specified, not both"),
        [several @ .., last] => bail!(
            "only one of {}, or {last} can be specified, not the {} options",
            several.join(", "),
            if several.len() == 2 { "three" } else { "four" }
        ),
    }
    let format = bundle_format(texts.trust_bundle_format.as_deref())?;
    if let Some(endpoint) = &texts.trust_bundle_spiffe_workload_api {
        ensure!(
            texts.trust_bundle_unix_socket.is_none(),
            "trust_bundle_unix_socket can not be used with trust_bundle_spiffe_workload_api"
        );
        return workload_api(endpoint);
    }
    match (&texts.trust_bundle_url, &texts.trust_bundle_unix_socket) {
        (None, Some(_)) => {
            bail!("if trust_bundle_unix_socket is specified, so must be trust_bundle_url")
        }
        (Some(url), Some(socket)) => bundle_socket(url, socket.into(), format),
        (Some(url), None) => {
            ensure!(
                url.starts_with("https://"),
                "trust bundle URL must start with https://"
            );
            let url = url.clone();
            Ok(Bootstrap::BundleUrl { url, format })
        }
        (None, None) => Ok(match &texts.trust_bundle_path {
            Some(path) => Bootstrap::BundleFile {
                path: path.into(),
                format,
            },
            None => Bootstrap::Insecure,
        }),
    }
}

/// What is asked for over a socket gets parameters that say why; their names are not for others.
fn bundle_socket(url: &str, socket: PathBuf, format: BundleFormat) -> anyhow::Result<Bootstrap> {
    ensure!(
        url.starts_with("http://"),
        "trust bundle URL must start with http:// when used with trust bundle unix socket"
    );
    let (_, query) = url.split_once('?').unwrap_or_default();
    for parameter in query.split('&') {
        for prefix in ["spiffe-", "spire-"] {
            ensure!(
                !parameter.starts_with(prefix),
                "trust_bundle_url query params can not start with {prefix}"
            );
        }
    }
    let url = url.to_owned();
    Ok(Bootstrap::BundleSocket {
        socket,
        url,
        format,
    })
}

fn workload_api(endpoint: &str) -> anyhow::Result<Bootstrap> {
    let path = endpoint.strip_prefix("unix:");
    let path = path.map(|path| format!("/{}", path.trim_start_matches('/')));
    match path.filter(|path| path.len() > 1) {
        Some(path) => Ok(Bootstrap::WorkloadApi {
            socket: path.into(),
        }),
        None => bail!(
            "trust_bundle_spiffe_workload_api is not a valid SPIFFE Workload API endpoint address: it must be unix:// and the path of a socket"
        ),
    }
}

fn bundle_format(text: Option<&str>) -> anyhow::Result<BundleFormat> {
    match text {
        None | Some("pem") => Ok(BundleFormat::Pem),
        Some("spiffe") => Ok(BundleFormat::Spiffe),
        Some(_) => {
            bail!("invalid value for trust_bundle_format, expected \"pem\" or \"spiffe\"")
        }
    }
}

fn rebootstrap(texts: &Texts, findings: &mut Findings) -> anyhow::Result<Option<Rebootstrap>> {
    let delay = parse_duration(texts.rebootstrap_delay.as_deref(), "rebootstrap_delay")?;
    let is_required = match texts.rebootstrap_mode.as_deref() {
        None | Some("never") => {
            if delay.is_some() {
                findings.note(
                    "agent.rebootstrap_delay is accepted and ignored: rebootstrap_mode is never",
                );
            }
            return Ok(None);
        }
        Some("auto") => false,
        Some("always") => true,
        Some(mode) => bail!("unknown rebootstrap mode specified: {mode}"),
    };
    Ok(Some(Rebootstrap {
        delay: delay.unwrap_or(DEFAULT_DELAY),
        is_required,
    }))
}

const DEFAULT_DELAY: Duration = Duration::from_secs(10 * 60);
