//! Received X.509-SVIDs as files.

use std::path::Path;

use daemon::command_line::{Readers, Terminal, write_file};
use identity::pem::{encode_certificates, encode_private_key};

use super::received::ReceivedSvids;

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
        write_file(&path, chain.as_bytes(), Readers::All)?;

        let key = encode_private_key(svid.svid.key());
        let path = folder.join(format!("svid.{n}.key"));
        terminal.line(&format!("Writing key #{n} to file {}.", path.display()));
        write_file(&path, key.expose(), Readers::Owner)?;

        let bundle = encode_certificates(&svid.bundle.ders);
        let path = folder.join(format!("bundle.{n}.pem"));
        terminal.line(&format!("Writing bundle #{n} to file {}.", path.display()));
        write_file(&path, bundle.as_bytes(), Readers::All)?;

        for (m, (trust_domain, bundle)) in received.federated_bundles.iter().enumerate() {
            let bundle = encode_certificates(&bundle.ders);
            let path = folder.join(format!("federated_bundle.{n}.{m}.pem"));
            terminal.line(&format!(
                "Writing federated bundle #{m} for trust domain {trust_domain} to file {}.",
                path.display()
            ));
            write_file(&path, bundle.as_bytes(), Readers::All)?;
        }
    }
    Ok(())
}
