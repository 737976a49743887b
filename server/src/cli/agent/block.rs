//! An attested agent as a block of labelled lines.

use std::fmt::Write as _;

use daemon::command_line::utc_text;
use proto::spire::api::types::Agent;

use crate::cli::shared_flags::spiffe_id_text;

/// The block, closed by an empty line. A banned agent has no serial number.
pub(super) fn block(agent: &Agent) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "{label:18}: {value}").expect("a String takes every write");
    };
    line("SPIFFE ID", &spiffe_id_text(agent.id.as_ref()));
    line("Attestation type", &agent.attestation_type);
    line("Expiration time", &utc_text(agent.x509svid_expires_at));
    if agent.banned {
        line("Banned", "true");
    } else {
        line("Serial number", &agent.x509svid_serial_number);
    }
    line("Can re-attest", &agent.can_reattest.to_string());
    if !agent.agent_version.is_empty() {
        line("Agent version", &agent.agent_version);
    }
    text.push('\n');
    text
}

/// A line for each of the agent's selectors.
pub(super) fn selector_lines(agent: &Agent) -> String {
    let mut text = String::new();
    for selector in &agent.selectors {
        writeln!(
            text,
            "{:18}: {}:{}",
            "Selectors", selector.r#type, selector.value
        )
        .expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use proto::spire::api::types::{Selector, Spiffeid};

    use super::*;

    fn agent() -> Agent {
        Agent {
            id: Some(Spiffeid {
                trust_domain: "example.org".to_owned(),
                path: "/spire/agent/a".to_owned(),
            }),
            attestation_type: "join_token".to_owned(),
            x509svid_serial_number: "42".to_owned(),
            x509svid_expires_at: 4_102_444_800,
            agent_version: "1.2".to_owned(),
            ..Agent::default()
        }
    }

    #[test]
    fn an_agent_shows_its_serial_number() {
        let expected = "\
SPIFFE ID         : spiffe://example.org/spire/agent/a
Attestation type  : join_token
Expiration time   : 2100-01-01 00:00:00 +0000 UTC
Serial number     : 42
Can re-attest     : false
Agent version     : 1.2

";
        assert_eq!(block(&agent()), expected);
    }

    #[test]
    fn a_banned_agent_shows_that_instead() {
        let banned = Agent {
            banned: true,
            can_reattest: true,
            agent_version: String::new(),
            ..agent()
        };
        let expected = "\
SPIFFE ID         : spiffe://example.org/spire/agent/a
Attestation type  : join_token
Expiration time   : 2100-01-01 00:00:00 +0000 UTC
Banned            : true
Can re-attest     : true

";
        assert_eq!(block(&banned), expected);
    }

    #[test]
    fn selectors_have_a_line_each() {
        let selector = |value: &str| Selector {
            r#type: "x509pop".to_owned(),
            value: value.to_owned(),
        };
        let agent = Agent {
            selectors: vec![selector("a"), selector("b:c")],
            ..agent()
        };
        assert_eq!(
            selector_lines(&agent),
            "Selectors         : x509pop:a\nSelectors         : x509pop:b:c\n"
        );
    }
}
