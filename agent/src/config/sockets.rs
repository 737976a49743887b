//! What is served on the agent's two sockets.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use daemon::config::Findings;

use super::{Sds, file::File, file::SdsTexts};

const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-agent/public/api.sock";

/// The checked settings of both sockets.
pub(super) struct Sockets {
    pub(super) socket_path: PathBuf,
    pub(super) admin_socket_path: Option<PathBuf>,
    pub(super) sds: Sds,
}

pub(super) fn check(file: &mut File, findings: &mut Findings) -> anyhow::Result<Sockets> {
    let socket_path = file.texts.socket_path.take();
    let socket_path = PathBuf::from(socket_path.unwrap_or_else(|| DEFAULT_SOCKET_PATH.to_owned()));
    let admin_socket_path = file.admin_socket_path.take();
    let admin_socket_path = admin_socket_path
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    match &admin_socket_path {
        Some(path) if !(file.disable_workload_api && file.disable_sds_api) => {
            check_apart(path, &socket_path)?;
        }
        None if !file.authorized_delegates.is_empty() => findings.note(
            "agent.authorized_delegates has no effect: admin_socket_path is not configured, so there is no socket for delegates",
        ),
        Some(_) | None => {}
    }
    Ok(Sockets {
        socket_path,
        admin_socket_path,
        sds: sds(std::mem::take(&mut file.sds), findings),
    })
}

/// The folder of the Workload API is given to workloads, as a whole.
fn check_apart(admin_socket: &Path, socket: &Path) -> anyhow::Result<()> {
    let whole = |path: &Path, key: &str| {
        let path = std::path::absolute(path);
        let path = path.with_context(|| format!("failed to get absolute path for {key}"))?;
        Ok::<_, anyhow::Error>(without_dots(&path))
    };
    let admin_socket = whole(admin_socket, "admin_socket_path")?;
    let socket = whole(socket, "socket_path")?;
    let folder = socket.parent().unwrap_or_else(|| Path::new("/"));
    ensure!(
        !admin_socket.starts_with(folder),
        "admin socket cannot be in the same directory or a subdirectory as that containing the Workload API socket"
    );
    Ok(())
}

/// An absolute path without `..`.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            // Above the root there is the root.
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
        whole
    })
}

fn sds(texts: SdsTexts, findings: &mut Findings) -> Sds {
    let name = |text: Option<String>, default: &str| {
        let text = text.filter(|text| !text.is_empty());
        text.unwrap_or_else(|| default.to_owned())
    };
    let sds = Sds {
        default_svid_name: name(texts.default_svid_name, "default"),
        default_bundle_name: name(texts.default_bundle_name, "ROOTCA"),
        default_all_bundles_name: name(texts.default_all_bundles_name, "ALL"),
        disable_spiffe_cert_validation: texts.disable_spiffe_cert_validation,
    };
    if sds.default_bundle_name == sds.default_all_bundles_name {
        findings.note(
            "The \"default_bundle_name\" and \"default_all_bundles_name\" configurables have the same value. \"default_all_bundles_name\" will be ignored; use distinct values or the defaults",
        );
    }
    sds
}
