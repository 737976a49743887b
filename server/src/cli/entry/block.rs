//! An entry as a block of labelled lines.

use std::fmt::Write as _;

use daemon::command_line::utc_text;
use proto::spire::api::types::Entry;

use crate::cli::shared_flags::spiffe_id_text;

/// The block, closed by an empty line. Facts that are not set have no line.
pub(super) fn block(entry: &Entry) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label:24}: {value}").expect("a String takes every write");
    };
    let id = if entry.id.is_empty() {
        "(none)"
    } else {
        &entry.id
    };
    line("Entry ID", id);
    line("SPIFFE ID", &spiffe_id_text(entry.spiffe_id.as_ref()));
    line("Parent ID", &spiffe_id_text(entry.parent_id.as_ref()));
    line("Revision", &entry.revision_number.to_string());
    if entry.downstream {
        line("Downstream", "true");
    }
    line("X509-SVID TTL", &ttl(entry.x509_svid_ttl));
    line("JWT-SVID TTL", &ttl(entry.jwt_svid_ttl));
    if entry.expires_at != 0 {
        line("Expiration time", &utc_text(entry.expires_at));
    }
    for selector in &entry.selectors {
        line(
            "Selector",
            &format!("{}:{}", selector.r#type, selector.value),
        );
    }
    for trust_domain in &entry.federates_with {
        line("FederatesWith", trust_domain);
    }
    for dns_name in &entry.dns_names {
        line("DNS name", dns_name);
    }
    if entry.admin {
        line("Admin", "true");
    }
    if entry.store_svid {
        line("StoreSvid", "true");
    }
    if !entry.hint.is_empty() {
        line("Hint", &entry.hint);
    }
    if let Some(attributes) = &entry.additional_attributes {
        if attributes.disable_x509_svid_prefetch {
            line("DisableX509SvidPrefetch", "true");
        }
        if attributes.jwt_svid_include_jti {
            line("JwtSvidIncludeJti", "true");
        }
    }
    text.push('\n');
    text
}

fn ttl(ttl_s: i32) -> String {
    match ttl_s {
        0 => "default".to_owned(),
        _ => ttl_s.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proto::spire::api::types::{Selector, Spiffeid, entry::AdditionalAttributes};

    use super::*;

    fn id(path: &str) -> Option<Spiffeid> {
        Some(Spiffeid {
            trust_domain: "example.org".to_owned(),
            path: path.to_owned(),
        })
    }

    #[test]
    fn every_fact_that_is_set_has_its_line() {
        let entry = Entry {
            id: "chosen".to_owned(),
            spiffe_id: id("/all"),
            parent_id: id("/host"),
            selectors: vec![Selector {
                r#type: "unix".to_owned(),
                value: "uid:0".to_owned(),
            }],
            x509_svid_ttl: 600,
            federates_with: vec!["fed.test".to_owned()],
            admin: true,
            downstream: true,
            expires_at: 4_102_444_800,
            dns_names: vec!["a.example.org".to_owned()],
            revision_number: 3,
            store_svid: true,
            hint: "h".to_owned(),
            additional_attributes: Some(AdditionalAttributes {
                disable_x509_svid_prefetch: true,
                jwt_svid_include_jti: true,
            }),
            ..Entry::default()
        };
        let expected = "\
Entry ID                : chosen
SPIFFE ID               : spiffe://example.org/all
Parent ID               : spiffe://example.org/host
Revision                : 3
Downstream              : true
X509-SVID TTL           : 600
JWT-SVID TTL            : default
Expiration time         : 2100-01-01 00:00:00 +0000 UTC
Selector                : unix:uid:0
FederatesWith           : fed.test
DNS name                : a.example.org
Admin                   : true
StoreSvid               : true
Hint                    : h
DisableX509SvidPrefetch : true
JwtSvidIncludeJti       : true

";
        assert_eq!(block(&entry), expected);
    }

    #[test]
    fn an_entry_without_anything_still_has_its_five_facts() {
        let expected = "\
Entry ID                : (none)
SPIFFE ID               : (none)
Parent ID               : (none)
Revision                : 0
X509-SVID TTL           : default
JWT-SVID TTL            : default

";
        assert_eq!(block(&Entry::default()), expected);
    }
}
