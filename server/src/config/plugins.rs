//! The `plugins` block of a server: what is built in is explained, what is not there yet is refused.
//!
//! The block is optional: without it, and beside it, join tokens, the replicated store and built-in keys
//! are what there is.

use daemon::config::{Findings, Plugin, PluginProblem, PluginProblems, UnknownPlugin};

use plugin_host::{Kind, Settings as Program};

use super::{node_attestor, upstream_authority};
use crate::attest::NodeAttestorSettings;
use crate::upstream::UpstreamSettings;

/// The kinds of SPIRE's server.
pub(super) const KINDS: [&str; 7] = [
    "BundlePublisher",
    "CredentialComposer",
    "DataStore",
    "KeyManager",
    "NodeAttestor",
    "Notifier",
    "UpstreamAuthority",
];

/// The settings of the plugins that have any.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Node attestors beside join tokens.
    pub(super) node_attestors: Vec<NodeAttestorSettings>,
    /// Who signs this server's intermediates, if not a root of its own.
    pub(super) upstream: Option<UpstreamSettings>,
}

/// Judges every plugin and returns the settings.
///
/// # Errors
/// [`UnknownPlugin`] at the first name that SPIRE does not have either, else [`PluginProblems`] with all
/// that is wrong.
pub(super) fn check(plugins: &[Plugin], findings: &mut Findings) -> anyhow::Result<Settings> {
    let mut problems = Vec::new();
    let mut settings = Settings::default();
    for plugin in plugins {
        if let Some(reason) = &plugin.data_problem {
            problems.push(plugin.problem(reason));
            continue;
        }
        match verdict(plugin)? {
            Verdict::Used => {}
            Verdict::Attestor(Ok(attestor)) => settings.node_attestors.push(*attestor),
            Verdict::Upstream(Ok(upstream)) => settings.upstream = Some(upstream),
            Verdict::Attestor(Err(reasons)) | Verdict::Upstream(Err(reasons)) => {
                problems.extend(reasons.into_iter().map(|reason| plugin.problem(reason)));
            }
            Verdict::Explained(reason) => {
                findings.note(format!(
                    "{} is accepted and ignored: {reason}",
                    plugin.title()
                ));
            }
            Verdict::Later => problems.push(plugin.problem("not supported yet")),
        }
    }
    for (kind, expected) in [
        ("DataStore", "exactly"),
        ("KeyManager", "exactly"),
        ("UpstreamAuthority", "at most"),
    ] {
        let count = plugins.iter().filter(|plugin| plugin.kind == kind).count();
        if count > 1 {
            problems.push(PluginProblem {
                plugin: kind.to_owned(),
                reason: format!("constraint not satisfied: expected {expected} 1 but got {count}"),
            });
        }
    }
    problems.extend(given_twice(plugins));
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(PluginProblems(problems).into()),
    }
}

/// An agent names the attestor that it means, so there must be one of that name.
fn given_twice(plugins: &[Plugin]) -> impl Iterator<Item = PluginProblem> {
    let is_twice = |(at, plugin): &(usize, &Plugin)| {
        let same = |other: &Plugin| other.kind == plugin.kind && other.name == plugin.name;
        plugin.kind == "NodeAttestor" && plugins[..*at].iter().any(same)
    };
    plugins
        .iter()
        .enumerate()
        .filter(is_twice)
        .map(|(_, plugin)| plugin.problem("configured twice"))
}

enum Verdict {
    Used,
    Attestor(Result<Box<NodeAttestorSettings>, Vec<String>>),
    Upstream(Result<UpstreamSettings, Vec<String>>),
    Explained(&'static str),
    Later,
}

fn verdict(plugin: &Plugin) -> Result<Verdict, UnknownPlugin> {
    let name = plugin.name.as_str();
    Ok(match plugin.kind {
        "NodeAttestor"
            if let Some(program) = Program::from_config(plugin, Kind::ServerNodeAttestor) =>
        {
            let program = program.map(NodeAttestorSettings::Plugin);
            Verdict::Attestor(program.map(Box::new).map_err(|reason| vec![reason]))
        }
        "UpstreamAuthority"
            if let Some(program) = Program::from_config(plugin, Kind::UpstreamAuthority) =>
        {
            let program = program.map(UpstreamSettings::Plugin);
            Verdict::Upstream(program.map_err(|reason| vec![reason]))
        }
        "KeyManager" if plugin.program.is_some() => Verdict::Explained(
            "its program is not run, authority keys are kept sealed in the replicated store; an \
             UpstreamAuthority keeps the root's key elsewhere",
        ),
        _ if plugin.program.is_some() => Verdict::Later,
        "DataStore" if name == "sql" => Verdict::Explained("the store is built in and replicated"),
        "KeyManager" if KEY_MANAGERS.contains(&name) => {
            Verdict::Explained("authority keys are kept sealed in the replicated store")
        }
        "NodeAttestor" if name == "join_token" => Verdict::Used,
        "NodeAttestor" if let Some(settings) = node_attestor::take(plugin) => {
            Verdict::Attestor(settings.map(Box::new))
        }
        "UpstreamAuthority" if let Some(settings) = upstream_authority::take(plugin) => {
            Verdict::Upstream(settings)
        }
        kind if later_names(kind).contains(&name) => Verdict::Later,
        kind => {
            let name = name.to_owned();
            return Err(UnknownPlugin { kind, name });
        }
    })
}

const KEY_MANAGERS: [&str; 6] = [
    "aws_kms",
    "azure_key_vault",
    "disk",
    "gcp_kms",
    "hashicorp_vault",
    "memory",
];

/// The built-in plugins of SPIRE that are not there yet.
fn later_names(kind: &str) -> &'static [&'static str] {
    match kind {
        "BundlePublisher" => &[
            "aws_rolesanywhere_trustanchor",
            "aws_s3",
            "gcp_cloudstorage",
            "k8s_configmap",
        ],
        "CredentialComposer" => &["uniqueid"],
        "NodeAttestor" => &[
            "aws_iid",
            "azure_imds",
            "azure_msi",
            "gcp_iit",
            "http_challenge",
            "k8s_psat",
            "k8s_sat",
            "sshpop",
            "tpm_devid",
        ],
        "Notifier" => &["gcs_bundle", "k8sbundle"],
        "UpstreamAuthority" => &[
            "aws_pca",
            "awssecret",
            "cert-manager",
            "ejbca",
            "gcp_cas",
            "vault",
        ],
        _ => &[],
    }
}
