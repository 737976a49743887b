//! The `plugins` block of a server: what is built in is explained, what is not there yet is refused.
//!
//! The block is optional: without it, and beside it, join tokens, the replicated store and built-in keys
//! are what there is.

use daemon::config::{Findings, Plugin, PluginProblem, PluginProblems, UnknownPlugin};

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

/// Judges every plugin.
///
/// # Errors
/// [`UnknownPlugin`] at the first name that SPIRE does not have either, else [`PluginProblems`] with all
/// that is wrong.
pub(super) fn check(plugins: &[Plugin], findings: &mut Findings) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for plugin in plugins {
        match verdict(plugin)? {
            Verdict::Used => {}
            Verdict::Explained(reason) => {
                findings.note(format!(
                    "{} is accepted and ignored: {reason}",
                    plugin.title()
                ));
            }
            Verdict::Later => problems.push(plugin.problem("not supported yet")),
        }
    }
    for kind in ["DataStore", "KeyManager"] {
        let count = plugins.iter().filter(|plugin| plugin.kind == kind).count();
        if count > 1 {
            problems.push(PluginProblem {
                plugin: kind.to_owned(),
                reason: format!("constraint not satisfied: expected exactly 1 but got {count}"),
            });
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(PluginProblems(problems).into()),
    }
}

enum Verdict {
    Used,
    Explained(&'static str),
    Later,
}

fn verdict(plugin: &Plugin) -> Result<Verdict, UnknownPlugin> {
    let name = plugin.name.as_str();
    Ok(match plugin.kind {
        _ if plugin.is_external => Verdict::Later,
        "DataStore" if name == "sql" => Verdict::Explained("the store is built in and replicated"),
        "KeyManager" if KEY_MANAGERS.contains(&name) => {
            Verdict::Explained("authority keys are kept sealed in the replicated store")
        }
        "NodeAttestor" if name == "join_token" => Verdict::Used,
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
            "x509pop",
        ],
        "Notifier" => &["gcs_bundle", "k8sbundle"],
        "UpstreamAuthority" => &[
            "aws_pca",
            "awssecret",
            "cert-manager",
            "disk",
            "ejbca",
            "gcp_cas",
            "spire",
            "vault",
        ],
        _ => &[],
    }
}
