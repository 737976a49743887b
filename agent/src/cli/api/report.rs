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

#[cfg(test)]
mod tests {
    use identity::{
        clock::{Clock as _, SystemClock, UnixTime},
        testing::TestAuthority,
        x509_svid::X509Svid,
    };
    use proto::workload::{X509svid, X509svidResponse};

    use super::*;

    const START: i64 = 4_102_444_800;

    fn response(authority: &TestAuthority, svid: &X509Svid, hint: &str) -> X509svidResponse {
        let bundle = authority.bundle();
        let bundle = bundle.x509_authorities.iter();
        X509svidResponse {
            svids: vec![X509svid {
                spiffe_id: svid.spiffe_id().to_string(),
                x509_svid: svid.chain().iter().flat_map(|der| der.to_vec()).collect(),
                x509_svid_key: svid.key().pkcs8().expose().to_vec(),
                bundle: bundle
                    .flat_map(|authority| authority.certificate.to_vec())
                    .collect(),
                hint: hint.to_owned(),
            }],
            ..X509svidResponse::default()
        }
    }

    fn without_authorities(report: &str) -> String {
        let lines = report
            .lines()
            .filter(|line| !line.starts_with("CA #") && !line.starts_with("Intermediate #"));
        lines.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn an_svid_is_told_with_its_lifetime() {
        let authority = TestAuthority::at("example.org", UnixTime::from_secs(START));
        let svid = authority.x509_svid_between(
            "/web",
            UnixTime::from_secs(START),
            UnixTime::from_secs(START + 60),
        );
        let received = ReceivedSvids::parse(
            response(&authority, &svid, "h1"),
            UnixTime::from_secs(START + 1),
        )
        .unwrap();
        let waited = Duration::from_millis(3);
        let shown = report(&received, waited, Hints::Shown);
        assert_eq!(
            without_authorities(&shown),
            "Received 1 svid after 3ms\n\nSPIFFE ID:\t\tspiffe://example.org/web\nHint:\t\t\th1\n\
             SVID Valid After:\t2100-01-01 00:00:00 +0000 UTC\n\
             SVID Valid Until:\t2100-01-01 00:01:00 +0000 UTC\n\n"
        );
        assert!(shown.contains("CA #1 Valid After:\t"), "{shown}");
        assert!(!report(&received, waited, Hints::Hidden).contains("Hint"));
    }

    #[test]
    fn an_answer_that_a_workload_could_not_use_is_refused() {
        let authority = TestAuthority::new("example.org");
        let svid = authority.x509_svid("/web");
        let other_key = authority
            .x509_svid("/other")
            .key()
            .pkcs8()
            .expose()
            .to_vec();
        let mut wrong_key = response(&authority, &svid, "");
        wrong_key.svids[0].x509_svid_key = other_key;
        let mut wrong_id = response(&authority, &svid, "");
        wrong_id.svids[0].spiffe_id = "spiffe://example.org/other".to_owned();
        let mut no_bundle = response(&authority, &svid, "");
        no_bundle.svids[0].bundle.clear();
        let stranger = TestAuthority::new("example.org");
        let wrong_bundle = response(&stranger, &svid, "");
        for (broken, expected) in [
            (X509svidResponse::default(), "contains no svids"),
            (
                wrong_key,
                "svid entry 0 for spiffe id \"spiffe://example.org/web\": leaf certificate does not match",
            ),
            (wrong_id, "the certificate is for spiffe://example.org/web"),
            (no_bundle, "failed to parse trust bundle"),
            (wrong_bundle, "SVID failed verification against bundle"),
        ] {
            let Err(error) = ReceivedSvids::parse(broken, SystemClock.now()) else {
                panic!("taken, instead of: {expected}");
            };
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
