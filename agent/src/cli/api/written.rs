//! Received X.509-SVIDs as files.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use daemon::command_line::{Terminal, path_error_text};
use identity::pem::{encode_certificates, encode_private_key};

use super::received::ReceivedSvids;

const READABLE_BY_ALL: u32 = 0o644;
const READABLE_BY_OWNER: u32 = 0o600;

/// Writes `svid.N.pem`, `svid.N.key`, `bundle.N.pem` and `federated_bundle.N.M.pem` and tells of each.
pub(super) fn write_all(
    received: &ReceivedSvids,
    folder: &Path,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    for (n, svid) in received.svids.iter().enumerate() {
        let chain = encode_certificates(svid.svid.chain());
        let path = folder.join(format!("svid.{n}.pem"));
        terminal.line(&format!("Writing SVID #{n} to file {}.", path.display()));
        write(&path, chain.as_bytes(), READABLE_BY_ALL)?;

        let key = encode_private_key(svid.svid.key());
        let path = folder.join(format!("svid.{n}.key"));
        terminal.line(&format!("Writing key #{n} to file {}.", path.display()));
        write(&path, key.expose(), READABLE_BY_OWNER)?;

        let bundle = encode_certificates(&svid.bundle.ders);
        let path = folder.join(format!("bundle.{n}.pem"));
        terminal.line(&format!("Writing bundle #{n} to file {}.", path.display()));
        write(&path, bundle.as_bytes(), READABLE_BY_ALL)?;

        for (m, (trust_domain, bundle)) in received.federated_bundles.iter().enumerate() {
            let bundle = encode_certificates(&bundle.ders);
            let path = folder.join(format!("federated_bundle.{n}.{m}.pem"));
            terminal.line(&format!(
                "Writing federated bundle #{m} for trust domain {trust_domain} to file {}.",
                path.display()
            ));
            write(&path, bundle.as_bytes(), READABLE_BY_ALL)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    write_file(path, content, mode)
        .map_err(|error| anyhow::Error::msg(path_error_text("open", path, &error)))
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // The mode above is for a new file only.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)
}
