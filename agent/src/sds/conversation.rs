//! The state of one stream of secrets: versions, nonces, and what was asked for last. No I/O.
//!
//! A request acknowledges, refuses or changes what came before, or is late (xDS protocol, "ACK/NACK
//! and resource type instance version"); only the first one and one with other names get an answer
//! of their own. Every change of the workload gets one.

use std::collections::BTreeSet;

use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::DiscoveryRequest;
use tracing::{debug, error, warn};

/// What was said on a stream so far.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Counts the changes of the workload.
    version: u64,
    /// Of the last answer.
    nonce: Option<String>,
    wanted: Option<Wanted>,
    node: Option<Node>,
    is_due: bool,
}

#[derive(Debug)]
struct Wanted {
    names: BTreeSet<String>,
    type_url: String,
}

/// What an answer is made from.
#[derive(Debug)]
pub(super) struct Due<'a> {
    /// The names that were asked for last; empty for all.
    pub(super) names: &'a BTreeSet<String>,
    /// The type of resource, as it was asked for.
    pub(super) type_url: &'a str,
    /// The Envoy, if it told.
    pub(super) node: Option<&'a Node>,
    /// The version of the answer.
    pub(super) version: u64,
}

impl Conversation {
    /// Takes in a request.
    pub(super) fn hear(&mut self, request: DiscoveryRequest) {
        let names = request.resource_names;
        let version = request.version_info;
        debug!(
            resource_names = ?names,
            version_info = version,
            nonce = request.response_nonce,
            "Received StreamSecrets request"
        );
        if let Some(problem) = &request.error_detail {
            error!(
                resource_names = ?names,
                error = problem.message,
                "Envoy reported errors applying secrets"
            );
        }
        if let Some(expected) = &self.nonce {
            if *expected != request.response_nonce {
                warn!(
                    nonce = request.response_nonce,
                    expect = expected,
                    "Received unexpected nonce; ignoring request"
                );
                return;
            }
            if version != self.version.to_string() {
                error!(
                    version_info = version,
                    expect = self.version,
                    "Client rejected expected version and rolled back"
                );
            }
        }
        if request.node.is_some() {
            self.node = request.node;
        }
        let names = names_of(names);
        self.is_due |= self.wanted.as_ref().is_none_or(|held| held.names != names);
        self.wanted = Some(Wanted {
            names,
            type_url: request.type_url,
        });
    }

    /// Notes that the workload has changed.
    pub(super) fn change(&mut self) {
        self.version += 1;
        self.is_due = true;
    }

    /// The answer that is due, once something was asked for and the workload is known.
    pub(super) fn due(&self) -> Option<Due<'_>> {
        let wanted = self.wanted.as_ref()?;
        (self.is_due && self.version > 0).then_some(Due {
            names: &wanted.names,
            type_url: &wanted.type_url,
            node: self.node.as_ref(),
            version: self.version,
        })
    }

    /// Notes that the answer went out with this nonce.
    pub(super) fn answered(&mut self, nonce: &str) {
        self.nonce = Some(nonce.to_owned());
        self.is_due = false;
    }
}

/// The names of a request; an empty one stands for nothing.
pub(super) fn names_of(names: Vec<String>) -> BTreeSet<String> {
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(names: &[&str], version: &str, nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: version.to_owned(),
            response_nonce: nonce.to_owned(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..DiscoveryRequest::default()
        }
    }

    /// The version and names that are answered now with this nonce, if any.
    fn answer(conversation: &mut Conversation, nonce: &str) -> Option<(u64, String)> {
        let due = conversation.due()?;
        let names: Vec<_> = due.names.iter().map(String::as_str).collect();
        let answer = (due.version, names.join(" "));
        conversation.answered(nonce);
        Some(answer)
    }

    fn opened() -> Conversation {
        let mut conversation = Conversation::default();
        conversation.change();
        conversation.hear(request(&["a"], "", ""));
        let first = answer(&mut conversation, "n1");
        assert_eq!(first, Some((1, "a".to_owned())));
        conversation
    }

    #[test]
    fn nothing_is_due_before_both_the_request_and_the_workload_are_known() {
        let mut conversation = Conversation::default();
        conversation.hear(request(&["a"], "", ""));
        assert_eq!(answer(&mut conversation, "n1"), None);
        conversation.hear(request(&["b", "", "b"], "", ""));
        conversation.change();
        assert_eq!(answer(&mut conversation, "n1"), Some((1, "b".to_owned())));
        assert_eq!(answer(&mut conversation, "n2"), None);
    }

    #[test]
    fn acknowledgement_refusal_and_the_same_names_get_no_answer() {
        let mut conversation = opened();
        conversation.hear(request(&["a"], "1", "n1"));
        assert_eq!(answer(&mut conversation, "x"), None);
        conversation.hear(request(&["a"], "", "n1"));
        assert_eq!(answer(&mut conversation, "x"), None);
    }

    #[test]
    fn other_names_are_answered_at_once_even_with_a_refusal() {
        let mut conversation = opened();
        conversation.hear(request(&["b"], "1", "n1"));
        assert_eq!(answer(&mut conversation, "n2"), Some((1, "b".to_owned())));
        conversation.hear(request(&["b", "a"], "", "n2"));
        assert_eq!(answer(&mut conversation, "n3"), Some((1, "a b".to_owned())));
    }

    #[test]
    fn late_request_is_ignored_with_its_names() {
        let mut conversation = opened();
        conversation.change();
        assert!(answer(&mut conversation, "n2").is_some());
        conversation.hear(request(&["b"], "1", "n1"));
        conversation.hear(request(&["c"], "", ""));
        assert_eq!(answer(&mut conversation, "x"), None);
        conversation.change();
        assert_eq!(answer(&mut conversation, "n3"), Some((3, "a".to_owned())));
    }

    #[test]
    fn node_is_remembered() {
        let mut conversation = opened();
        let node = Node {
            id: "envoy".to_owned(),
            ..Node::default()
        };
        let mut with_node = request(&["b"], "1", "n1");
        with_node.node = Some(node.clone());
        conversation.hear(with_node);
        assert!(answer(&mut conversation, "n2").is_some());
        conversation.hear(request(&["c"], "1", "n2"));
        assert_eq!(conversation.due().unwrap().node, Some(&node));
    }
}
