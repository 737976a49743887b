//! The settings of upstream authorities: what stands in their `plugin_data`.
//!
//! Everything that is wrong with one is told at once, in SPIRE's words where it has some. Files are not
//! opened here: an upstream reads them when it starts, and again later.

use std::path::PathBuf;

use daemon::config::Plugin;
use daemon::hcl::{DecodeError, Object};
use identity::tls::KeyExchange;

use crate::upstream::{DiskFiles, SpireSettings, UpstreamSettings};

/// Takes the settings of the upstream of `plugin`; `None` if there is no such upstream.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn take(plugin: &Plugin) -> Option<Result<UpstreamSettings, Vec<String>>> {
    let take = match plugin.name.as_str() {
        "disk" => take_disk,
        "spire" => take_spire,
        _ => return None,
    };
    let mut data = plugin.data.clone();
    let mut problems = Vec::new();
    let taken = take(&mut data, &mut problems);
    let taken = taken.map_err(|error| vec![format!("plugin configuration is malformed: {error}")]);
    let unknown: Vec<_> = data.unknown().into_iter().map(|key| key.name).collect();
    if taken.is_ok() && !unknown.is_empty() {
        let unknown = unknown.join(",");
        problems.push(format!("unknown configurations detected: {unknown}"));
    }
    Some(taken.and_then(|settings| match problems.is_empty() {
        true => Ok(settings),
        false => Err(problems),
    }))
}

fn text(data: &mut Object, name: &str) -> Result<Option<String>, DecodeError> {
    Ok(data.take_string(name)?.filter(|text| !text.is_empty()))
}

fn take_disk(
    data: &mut Object,
    problems: &mut Vec<String>,
) -> Result<UpstreamSettings, DecodeError> {
    let certificates = text(data, "cert_file_path")?;
    let key = text(data, "key_file_path")?;
    let bundle = text(data, "bundle_file_path")?;
    if certificates.is_none() || key.is_none() {
        problems.push("'cert_file_path' and 'key_file_path' must be set and not empty".to_owned());
    }
    Ok(UpstreamSettings::Disk(DiskFiles {
        certificates: certificates.unwrap_or_default().into(),
        key: key.unwrap_or_default().into(),
        bundle: bundle.map(PathBuf::from),
    }))
}

fn take_spire(
    data: &mut Object,
    problems: &mut Vec<String>,
) -> Result<UpstreamSettings, DecodeError> {
    let host = text(data, "server_address")?;
    let port = text(data, "server_port")?;
    let socket = text(data, "workload_api_socket")?;
    let mut experimental = data.take_block("experimental")?.unwrap_or_default();
    let pipe = text(&mut experimental, "workload_api_named_pipe_name")?;
    let is_post_quantum = experimental.take_bool("require_pq_kem")?.unwrap_or(false);
    let unknown: Vec<_> = experimental.unknown().into_iter().collect();
    for key in unknown {
        let name = key.name;
        problems.push(format!(
            "unknown configurations detected: experimental.{name}"
        ));
    }
    if host.is_none() {
        problems.push("server_address is required".to_owned());
    }
    if port.is_none() {
        problems.push("server_port is required".to_owned());
    }
    let number = port.as_deref().map(str::parse::<u16>);
    if let (Some(text), Some(Err(_) | Ok(0))) = (&port, &number) {
        problems.push(format!("server_port {text:?} is not a TCP port"));
    }
    if pipe.is_some() {
        problems.push(
            "configuration: workload_api_named_pipe_name is not supported on this platform; please \
             use workload_api_socket instead"
                .to_owned(),
        );
    }
    if socket.is_none() {
        problems.push("workload_api_socket is required".to_owned());
    }
    Ok(UpstreamSettings::Spire(SpireSettings {
        host: host.unwrap_or_default(),
        port: number.and_then(Result::ok).unwrap_or_default(),
        workload_api_socket: socket.unwrap_or_default().into(),
        key_exchange: match is_post_quantum {
            true => KeyExchange::PostQuantum,
            false => KeyExchange::Any,
        },
    }))
}
