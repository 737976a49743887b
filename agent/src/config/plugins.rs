//! The `plugins` block of an agent: what is built in is explained, what is not there yet is refused.
//!
//! Without the block join tokens and the `unix` workload attestor are what there is. With it, it must name
//! what it wants, as SPIRE demands.

use std::path::{Path, PathBuf};

use daemon::config::{Findings, Plugin, PluginProblem, PluginProblems, UnknownPlugin};
use daemon::hcl::{DecodeError, Object};
use plugin_host::{Kind, Settings as Program};

use super::{KeyManager, NodeAttestorSettings, Unix, docker};
use crate::attest::x509pop::{self, Source};
use crate::attestor::docker::{NAME as DOCKER, Settings as Docker};

/// The kinds of SPIRE's agent.
pub(super) const KINDS: [&str; 4] = [
    "KeyManager",
    "NodeAttestor",
    "SVIDStore",
    "WorkloadAttestor",
];

/// The settings of the plugins that have any.
#[derive(Debug)]
pub(super) struct Settings {
    /// The key manager, if one is named.
    pub(super) key_manager: Option<KeyManager>,
    /// The node attestor, if it has settings.
    pub(super) node_attestor: Option<NodeAttestorSettings>,
    /// The `unix` attestor, which is there unless others are named.
    pub(super) unix: Option<Unix>,
    /// The `docker` attestor, if it is named.
    pub(super) docker: Option<Docker>,
    /// The workload attestors that are programs.
    pub(super) workload_attestors: Vec<Program>,
}

/// Judges every plugin and returns the settings. A key manager `disk` without a directory uses `data_dir`.
///
/// # Errors
/// [`UnknownPlugin`] at the first name that SPIRE does not have either, else [`PluginProblems`] with all
/// that is wrong.
pub(super) fn check(
    plugins: &[Plugin],
    data_dir: &Path,
    findings: &mut Findings,
) -> anyhow::Result<Settings> {
    let mut problems: Vec<PluginProblem> = Vec::new();
    let mut settings = Settings {
        key_manager: None,
        node_attestor: None,
        unix: plugins.is_empty().then(Unix::default),
        docker: None,
        workload_attestors: Vec::new(),
    };
    for plugin in plugins {
        if let Some(reason) = &plugin.data_problem {
            problems.push(plugin.problem(reason));
            continue;
        }
        match verdict(plugin)? {
            Verdict::Used => {}
            Verdict::NodePlugin(Ok(program)) => {
                settings.node_attestor = Some(NodeAttestorSettings::Plugin(program));
            }
            Verdict::WorkloadPlugin(Ok(program)) => settings.workload_attestors.push(program),
            Verdict::NodePlugin(Err(reason)) | Verdict::WorkloadPlugin(Err(reason)) => {
                problems.push(plugin.problem(reason));
            }
            Verdict::Docker => match docker::take(plugin) {
                Ok(docker) => settings.docker = Some(docker),
                Err(reasons) => {
                    problems.extend(reasons.into_iter().map(|reason| plugin.problem(reason)));
                }
            },
            Verdict::Unix => settings.unix = Some(take_unix(plugin, findings)?),
            Verdict::DiskKeys => {
                settings.key_manager = Some(take_disk(plugin, data_dir, findings)?);
            }
            Verdict::X509Pop => match take_x509pop(plugin) {
                Ok(source) => {
                    settings.node_attestor = Some(NodeAttestorSettings::X509Pop(source));
                }
                Err(reasons) => {
                    problems.extend(reasons.into_iter().map(|reason| plugin.problem(reason)));
                }
            },
            Verdict::MemoryKeys => settings.key_manager = Some(KeyManager::Memory),
            Verdict::Later => problems.push(plugin.problem("not supported yet")),
        }
    }
    problems.extend(count_problems(plugins));
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(PluginProblems(problems).into()),
    }
}

enum Verdict {
    NodePlugin(Result<Program, String>),
    WorkloadPlugin(Result<Program, String>),
    Used,
    Docker,
    Unix,
    DiskKeys,
    MemoryKeys,
    X509Pop,
    Later,
}

fn verdict(plugin: &Plugin) -> Result<Verdict, UnknownPlugin> {
    let name = plugin.name.as_str();
    Ok(match plugin.kind {
        "NodeAttestor"
            if let Some(program) = Program::from_config(plugin, Kind::AgentNodeAttestor) =>
        {
            Verdict::NodePlugin(program)
        }
        "WorkloadAttestor"
            if let Some(program) = Program::from_config(plugin, Kind::WorkloadAttestor) =>
        {
            Verdict::WorkloadPlugin(program)
        }
        _ if plugin.program.is_some() => Verdict::Later,
        "KeyManager" if name == "disk" => Verdict::DiskKeys,
        "KeyManager" if name == "memory" => Verdict::MemoryKeys,
        "NodeAttestor" if name == "join_token" => Verdict::Used,
        "NodeAttestor" if name == x509pop::NAME => Verdict::X509Pop,
        "WorkloadAttestor" if name == "unix" => Verdict::Unix,
        "WorkloadAttestor" if name == DOCKER => Verdict::Docker,
        kind if later_names(kind).contains(&name) => Verdict::Later,
        kind => {
            let name = name.to_owned();
            return Err(UnknownPlugin { kind, name });
        }
    })
}

/// The source of the certificate, or all that is wrong with the settings.
fn take_x509pop(plugin: &Plugin) -> Result<Source, Vec<String>> {
    let mut data = plugin.data.clone();
    let mut path = |name| {
        let taken = data.take_string(name);
        taken.map(|path| {
            path.filter(|path| !path.trim().is_empty())
                .map(PathBuf::from)
        })
    };
    let mut take = || {
        Ok::<_, DecodeError>([
            path("private_key_path")?,
            path("certificate_path")?,
            path("intermediates_path")?,
            path("spiffe_endpoint_socket")?,
        ])
    };
    let [private_key, certificate, intermediates, socket] =
        take().map_err(|error| vec![format!("unable to decode configuration: {error}")])?;
    let mut problems: Vec<_> = unknown_keys(&data).into_iter().collect();
    let source = match (socket, private_key, certificate) {
        (Some(socket), _, _) => {
            let text = socket.to_string_lossy();
            Source::WorkloadApi(text.strip_prefix("unix:").map_or_else(
                || socket.clone(),
                |path| PathBuf::from(format!("/{}", path.trim_start_matches('/'))),
            ))
        }
        (None, Some(private_key), Some(certificate)) => Source::Files {
            private_key,
            certificate,
            intermediates,
        },
        (None, private_key, certificate) => {
            if private_key.is_none() {
                problems.push("private_key_path is required".to_owned());
            }
            if certificate.is_none() {
                problems.push("certificate_path is required".to_owned());
            }
            return Err(problems);
        }
    };
    match problems.is_empty() {
        true => Ok(source),
        false => Err(problems),
    }
}

/// A complaint about the keys that nobody took, in SPIRE's words.
pub(super) fn unknown_keys(data: &Object) -> Option<String> {
    let unknown: Vec<_> = data.unknown().into_iter().map(|key| key.name).collect();
    let names = unknown.join(",");
    (!unknown.is_empty()).then(|| format!("unknown configurations detected: {names}"))
}

fn take_unix(plugin: &Plugin, findings: &mut Findings) -> anyhow::Result<Unix> {
    let mut data = plugin.data.clone();
    let unix = Unix {
        discover_workload_path: data.take_bool("discover_workload_path")?.unwrap_or(false),
        workload_size_limit: data.take_integer("workload_size_limit")?.unwrap_or(0),
    };
    findings.finish("plugins.WorkloadAttestor.unix.plugin_data", &data);
    Ok(unix)
}

fn take_disk(
    plugin: &Plugin,
    data_dir: &Path,
    findings: &mut Findings,
) -> anyhow::Result<KeyManager> {
    let mut data = plugin.data.clone();
    let directory = data.take_string("directory")?;
    findings.finish("plugins.KeyManager.disk.plugin_data", &data);
    let directory = directory.filter(|directory| !directory.is_empty());
    Ok(KeyManager::Disk {
        directory: directory.map_or_else(|| data_dir.to_owned(), Into::into),
    })
}

/// How many of a kind an agent needs, once plugins are named at all.
fn count_problems(plugins: &[Plugin]) -> Vec<PluginProblem> {
    if plugins.is_empty() {
        return Vec::new();
    }
    let count = |kind: &str| plugins.iter().filter(|plugin| plugin.kind == kind).count();
    let [managers, nodes, workloads] =
        ["KeyManager", "NodeAttestor", "WorkloadAttestor"].map(count);
    [
        ("KeyManager", managers, managers > 1, "exactly 1"),
        ("NodeAttestor", nodes, nodes != 1, "exactly 1"),
        ("WorkloadAttestor", workloads, workloads < 1, "at least 1"),
    ]
    .into_iter()
    .filter(|(_, _, is_wrong, _)| *is_wrong)
    .map(|(kind, count, _, wanted)| PluginProblem {
        plugin: kind.to_owned(),
        reason: format!("constraint not satisfied: expected {wanted} but got {count}"),
    })
    .collect()
}

/// The built-in plugins of SPIRE that are not there yet.
fn later_names(kind: &str) -> &'static [&'static str] {
    match kind {
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
        "SVIDStore" => &["aws_secretsmanager", "gcp_secretmanager"],
        "WorkloadAttestor" => &["k8s", "slurm", "systemd", "windows"],
        _ => &[],
    }
}
