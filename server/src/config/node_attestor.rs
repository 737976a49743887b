//! The settings of node attestors: what stands in their `plugin_data`.
//!
//! Everything that is wrong with one is told at once, in SPIRE's words where it has some.

use std::path::{Path, PathBuf};

use daemon::config::Plugin;
use daemon::hcl::{DecodeError, Object};

use crate::attest::NodeAttestorSettings;
use crate::attest::x509pop::{
    self, ClientAddress, Settings as X509PopSettings, Trust, parse_path_template, read_authorities,
};

/// Takes the settings of the attestor of `plugin`; `None` if there is no such attestor.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn take(plugin: &Plugin) -> Option<Result<NodeAttestorSettings, Vec<String>>> {
    match plugin.name.as_str() {
        x509pop::NAME => Some(take_x509pop(plugin).map(NodeAttestorSettings::X509Pop)),
        _ => None,
    }
}

/// `plugin_data` of `x509pop`, none of it judged yet.
struct X509PopFile {
    mode: Option<String>,
    spiffe_prefix: Option<String>,
    svid_prefix: Option<String>,
    ca_bundle_path: Option<String>,
    ca_bundle_paths: Vec<String>,
    agent_path_template: Option<String>,
    max_intermediates: Option<i64>,
    max_rsa_key_size: Option<i64>,
    verify_client_ip: bool,
}

impl X509PopFile {
    fn take(data: &mut Object) -> Result<Self, DecodeError> {
        let mut text = |name| {
            let taken = data.take_string(name);
            taken.map(|text| text.filter(|text| !text.is_empty()))
        };
        Ok(Self {
            mode: text("mode")?,
            ca_bundle_path: text("ca_bundle_path")?,
            agent_path_template: text("agent_path_template")?,
            // Empty is a prefix, too.
            spiffe_prefix: data.take_string("spiffe_prefix")?,
            svid_prefix: data.take_string("svid_prefix")?,
            ca_bundle_paths: data.take_list("ca_bundle_paths")?.unwrap_or_default(),
            max_intermediates: data.take_integer("max_intermediates")?,
            max_rsa_key_size: data.take_integer("max_rsa_key_size")?,
            verify_client_ip: data.take_bool("verify_client_ip")?.unwrap_or(false),
        })
    }
}

fn take_x509pop(plugin: &Plugin) -> Result<X509PopSettings, Vec<String>> {
    let mut data = plugin.data.clone();
    let file = X509PopFile::take(&mut data)
        .map_err(|error| vec![format!("unable to decode configuration: {error}")])?;
    let mut problems = Vec::new();
    let unknown: Vec<_> = data.unknown().into_iter().map(|key| key.name).collect();
    if !unknown.is_empty() {
        problems.push(format!(
            "unknown configurations detected: {}",
            unknown.join(",")
        ));
    }
    let trust = trust(&file, &mut problems);
    let template = file.agent_path_template.as_deref().and_then(|text| {
        let parsed = parse_path_template(text);
        parsed
            .map_err(|error| {
                problems.push(format!(
                    "failed to parse agent svid template: {text:?}: {error}"
                ));
            })
            .ok()
    });
    let max_intermediates = positive("max_intermediates", file.max_intermediates, &mut problems);
    let max_rsa_key_size = positive("max_rsa_key_size", file.max_rsa_key_size, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(X509PopSettings {
        trust,
        agent_path_template: template,
        max_intermediates: max_intermediates.map_or(DEFAULT_MAX_INTERMEDIATES, |value| {
            usize::try_from(value).unwrap_or(usize::MAX)
        }),
        max_rsa_key_size_bits: max_rsa_key_size.unwrap_or(DEFAULT_MAX_RSA_KEY_SIZE_BITS),
        client_address: match file.verify_client_ip {
            true => ClientAddress::Verified,
            false => ClientAddress::Ignored,
        },
    })
}

const DEFAULT_MAX_INTERMEDIATES: usize = 4;
const DEFAULT_MAX_RSA_KEY_SIZE_BITS: u32 = 8192;
const DEFAULT_PATH_PREFIX: &str = "/spire-exchange/";

fn positive(name: &str, value: Option<i64>, problems: &mut Vec<String>) -> Option<u32> {
    let value = value?;
    let taken = u32::try_from(value).ok().filter(|value| *value > 0);
    if taken.is_none() {
        problems.push(format!("{name} must be greater than 0"));
    }
    taken
}

fn trust(file: &X509PopFile, problems: &mut Vec<String>) -> Trust {
    let paths = &file.ca_bundle_paths;
    match file.mode.as_deref() {
        None | Some("external_pki") => {
            external_pki(file.ca_bundle_path.as_deref(), paths, problems)
        }
        Some("spiffe") => {
            if file.ca_bundle_path.is_some() || !paths.is_empty() {
                problems.push(
                    "you can not use ca_bundle_path or ca_bundle_paths in spiffe mode".to_owned(),
                );
            }
            spiffe(file, problems)
        }
        Some(_) => {
            problems.push("mode can only be either spiffe or external_pki".to_owned());
            Trust::ExternalPki(Vec::new())
        }
    }
}

fn external_pki(path: Option<&str>, paths: &[String], problems: &mut Vec<String>) -> Trust {
    if path.is_some() && !paths.is_empty() {
        problems.push(
            "only one of ca_bundle_path or ca_bundle_paths can be configured, not both".to_owned(),
        );
    }
    let paths: Vec<PathBuf> = match path {
        Some(path) => vec![path.into()],
        None => paths.iter().map(PathBuf::from).collect(),
    };
    if paths.is_empty() {
        problems.push("one of ca_bundle_path or ca_bundle_paths must be configured".to_owned());
    }
    let read = |path: &PathBuf| read_authorities(Path::new(path)).err();
    problems.extend(paths.iter().filter_map(read).map(|error| error.to_string()));
    Trust::ExternalPki(paths)
}

/// SPIRE's code reads `spiffe_prefix`, its manual says `svid_prefix`.
fn spiffe(file: &X509PopFile, problems: &mut Vec<String>) -> Trust {
    if file.spiffe_prefix.is_some() && file.svid_prefix.is_some() {
        problems.push(
            "spiffe_prefix and svid_prefix are the same, only one can be configured".to_owned(),
        );
    }
    let prefix = file
        .spiffe_prefix
        .as_deref()
        .or(file.svid_prefix.as_deref());
    let mut path_prefix = prefix.unwrap_or(DEFAULT_PATH_PREFIX).to_owned();
    if !path_prefix.ends_with('/') {
        path_prefix.push('/');
    }
    Trust::Spiffe { path_prefix }
}
