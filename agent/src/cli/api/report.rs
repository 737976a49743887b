//! Received X.509-SVIDs for people.

use std::{fmt::Write as _, time::Duration};

use daemon::{command_line::utc_text, duration::format_go};
use identity::x509::CertificateInfo;

use super::received::{ReceivedSvid, ReceivedSvids};

/// Whether hints are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hints {
    /// As when SVIDs are fetched.
    Shown,
    /// As when they are watched.
    Hidden,
}

/// The report, closed by an empty line.
pub(super) fn report(received: &ReceivedSvids, waited: Duration, hints: Hints) -> String {
    let count = received.svids.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!(
        "Received {count} svid{plural} after {}\n",
        format_go(waited)
    );
    for svid in &received.svids {
        text.push('\n');
        describe(&mut text, svid, hints);
        for (trust_domain, bundle) in &received.federated_bundles {
            for (number, authority) in (1..).zip(&bundle.infos) {
                lifetime(
                    &mut text,
                    &format!("[{trust_domain}] CA #{number}"),
                    authority,
                );
            }
        }
    }
    text.push('\n');
    text
}

fn describe(text: &mut String, received: &ReceivedSvid, hints: Hints) {
    let write = "a String takes every write";
    writeln!(text, "SPIFFE ID:\t\t{}", received.svid.spiffe_id()).expect(write);
    if hints == Hints::Shown && !received.hint.is_empty() {
        writeln!(text, "Hint:\t\t\t{}", received.hint).expect(write);
    }
    lifetime(text, "SVID", received.svid.leaf());
    for (number, intermediate) in (1..).zip(received.svid.chain().iter().skip(1)) {
        if let Ok(intermediate) = CertificateInfo::parse(intermediate) {
            lifetime(text, &format!("Intermediate #{number}"), &intermediate);
        }
    }
    for (number, authority) in (1..).zip(&received.bundle.infos) {
        lifetime(text, &format!("CA #{number}"), authority);
    }
}

fn lifetime(text: &mut String, what: &str, certificate: &CertificateInfo) {
    let (from, until) = (certificate.not_before, certificate.not_after);
    for (edge, time) in [("After", from), ("Until", until)] {
        writeln!(text, "{what} Valid {edge}:\t{}", utc_text(time.as_secs()))
            .expect("a String takes every write");
    }
}
